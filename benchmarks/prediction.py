"""Prediction of many pictures: pictures per second, the share of time in which the model waits, and memory."""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from dab_detr.config import load
from dab_detr.inference import Predictor
from dab_detr.inference.recipe import recipe_of

from .measure import resident

SIZES = ((480, 640), (640, 480), (427, 640), (375, 500))  # mixed, as in COCO
FORMS = {"no threads": (0, 1), "4 threads": (4, 1), "4 threads, batch 8": (4, 8)}  # threads and batch size


def prediction(args: argparse.Namespace) -> dict:
    """Time all FORMS on --pictures random pictures, with the model of the config and random weights."""
    model, augmentations = recipe_of(load(args.config_file, args.opts)).build()
    predictor = Predictor(model, augmentations=augmentations, device=args.device)
    with TemporaryDirectory() as folder:
        save_pictures(Path(folder), args.pictures)
        return {"forms": {name: predict(predictor, folder, *form) for name, form in FORMS.items()}}


def save_pictures(folder: Path, number: int) -> None:
    """Write JPEG files of mixed sizes."""
    generator = np.random.default_rng(0)
    for i in range(number):
        height, width = SIZES[i % len(SIZES)]
        coarse = generator.integers(256, size=(12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height)).save(folder / f"{i:06}.jpg")


def predict(predictor: Predictor, folder: str, threads: int, batch_size: int) -> dict[str, float]:
    """Detect in all pictures of a folder. The model waits whenever it does not run."""
    run, busy = type(predictor).run.__get__(predictor), 0.0

    def timed(images):
        nonlocal busy
        start = time.perf_counter()
        found = run(images)
        busy += time.perf_counter() - start
        return found

    predictor.run = timed
    start, memory = time.perf_counter(), []
    for _ in predictor.predict(folder, threads=threads, batch_size=batch_size):
        memory.append(resident("VmRSS"))
    total = time.perf_counter() - start
    settled = memory[len(memory) // 4]
    return {
        "pictures": len(memory),
        "pictures/s": len(memory) / total,
        "share of waiting": 1 - busy / total,
        "MB after a quarter": settled / 2**20,
        "MB at the end": memory[-1] / 2**20,
    }
