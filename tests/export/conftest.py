"""A checkpoint and its exported file, written once for all workers of a test run."""

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from PIL import Image

from dab_detr.detector import DABDETR
from dab_detr.engine.description import plain_lazy
from dab_detr.engine.setup import registered
from described import lazy_config, save
from tools import export_model


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """folder: holds model.pth, model.onnx and picture.png. model: the detector of both files, not optimized."""

    folder: Path
    model: DABDETR


@pytest.fixture(scope="session")
def written_once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A function that returns a folder of that name and has it filled by the first worker that asks for it."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def folder_of(name: str, fill: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def deployed(written_once, tmp_path_factory) -> Deployed:
    """A small DAB-DETR as tools/export_model.py exports it."""
    cfg = lazy_config(tmp_path_factory.mktemp("data"))
    with torch.random.fork_rng():
        torch.manual_seed(0)  # every worker builds the model of the same file
        model = instantiate(cfg.model).eval()
    dataset = registered(cfg.dataset.train)

    def fill(folder: Path) -> None:
        rows = np.arange(90)[:, None, None] * np.ones((1, 70, 3))
        Image.fromarray(rows.astype(np.uint8)).save(folder / "picture.png")
        path = save(model, folder, config=lambda: plain_lazy(cfg), dataset=dataset)
        assert export_model.main(["--checkpoint", str(path), "--to", "onnx", str(folder / "model.onnx")]) == 0

    folder = written_once("deployed", fill)
    model.load_state_dict(torch.load(folder / "model.pth")["model"], strict=False)
    return Deployed(folder=folder, model=model)
