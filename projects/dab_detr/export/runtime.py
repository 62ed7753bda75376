"""One interface to all runtimes: images and sizes in, boxes, scores, labels and numbers out."""

import os
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np

from .metadata import INPUTS, KEY, OUTPUTS, Metadata


class ExportedModel:
    """An exported file in the runtime that its suffix asks for: .onnx, .xml (OpenVINO) or .pt2 (torch.export).

    Raises ValueError for a file that is damaged or was not exported by this project, and ImportError if the runtime is
    not installed.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        if not Path(path).is_file():
            raise ValueError(f"{path} does not exist")
        load = RUNTIMES[Path(path).suffix]
        try:
            self.run, text = load(self.path)
        except ImportError as error:
            extra = "openvino" if load is openvino else "onnx"
            raise ImportError(f"{path} needs {error.name}: pip install 'dab_detr[{extra}]'") from error
        except Exception as error:  # each runtime has exceptions of its own
            cause = str(error).strip().partition("\n")[0]
            raise ValueError(f"{path} cannot be loaded, it may be damaged or incomplete: {cause}") from error
        self.metadata = Metadata.from_json(text, self.path)

    def __call__(self, images: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
        """Detections in images (B, 3, H, W) of these sizes (B, 2), by the names of `DetectionGraph`'s outputs.

        Raises ValueError for inputs of the wrong shape or type.
        """
        images, sizes = np.asarray(images), np.asarray(sizes)
        wanted = self.metadata.image_type
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != wanted or not images.size:
            raise ValueError(f"images must be (B, 3, H, W) {wanted} in RGB, got {images.shape} {images.dtype}")
        if sizes.shape != (len(images), 2) or sizes.dtype.kind not in "iu":
            raise ValueError(f"sizes must be ({len(images)}, 2) int64, got {sizes.shape} {sizes.dtype}")
        if (sizes < 1).any() or (sizes > images.shape[2:]).any():
            raise ValueError(
                f"sizes must be from 1 to {images.shape[2:]}, height and width of the batch; got {sizes.tolist()}"
            )
        try:
            found = self.run(images, sizes.astype(np.int64))
        except Exception as error:  # each runtime has exceptions of its own
            cause = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"{self.path} cannot take a batch of {images.shape}; it may be exported for another size, or too small "
                f"for it: {cause}"
            ) from error
        return dict(zip(OUTPUTS, found, strict=True))


def onnx(path: str):
    """Run a file by onnxruntime, on the CPU; returns the function that runs it and its metadata."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map.get(KEY)
    return lambda images, sizes: session.run(list(OUTPUTS), dict(zip(INPUTS, (images, sizes), strict=True))), metadata


def openvino(path: str, precision: str = "f32"):
    """Run a file by OpenVINO, on the CPU. Without the precision, some CPUs would compute in bf16."""
    core = openvino_core()
    model = core.read_model(path)
    metadata = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})

    def run(images: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
        found = compiled(dict(zip(INPUTS, (images, sizes), strict=True)))
        return [found[name].copy() for name in OUTPUTS]

    return run, metadata


_once = Lock()


def openvino_core():
    """OpenVINO's Core, the same until this process ends.

    Its CPU plugin gives the thread that loads it another signal stack, and frees that stack with itself. If another
    thread did this (Python collects garbage in any), the next signal would end the process: SIGCHLD for example, which
    torch handles as soon as a loader has had workers.
    """
    with _once:  # two threads must not make two
        return _core()


@cache
def _core():
    from openvino import Core

    return Core()


def torch(path: str):
    """Run a file by torch."""
    import torch

    extra = {KEY: ""}
    module = torch.export.load(path, extra_files=extra).module()

    def run(images: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [x.numpy() for x in module(torch.from_numpy(images), torch.from_numpy(sizes))]

    return run, extra[KEY]


RUNTIMES = {".onnx": onnx, ".xml": openvino, ".pt2": torch}


def is_exported(path: str | os.PathLike) -> bool:
    """Whether a file name belongs to an exported file."""
    return Path(path).suffix in RUNTIMES
