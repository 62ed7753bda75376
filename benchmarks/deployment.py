"""Ways to serve a detector on a CPU: PyTorch, onnxruntime and OpenVINO, each from images to detections."""

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from dab_detr.detector import DABDETR
from dab_detr.export.detector import ExportedDetector
from dab_detr.export.graph import DetectionGraph
from dab_detr.export.metadata import Metadata
from dab_detr.export.runtime import openvino
from dab_detr.export.writing import SUFFIXES, write, write_openvino
from dab_detr.modeling.onednn import can_run

from .measure import Forms
from .subjects import fast, inputs_for, predicting, with_precision

FILES = {  # name of a form: format, stored precision, precision of OpenVINO's arithmetic
    "onnxruntime": ("onnx", "fp32", None),
    "onnxruntime int8": ("onnx", "int8", None),
    "OpenVINO": ("openvino", "fp32", "f32"),
    "OpenVINO bf16": ("openvino", "fp32", "bf16"),
    "OpenVINO int8": ("openvino", "int8", "f32"),
}


def deployment(model: DABDETR, args: argparse.Namespace) -> Forms:
    """Time PyTorch and the exported files of the same model, from Detectron2's inputs to its instances."""
    inputs, plain = inputs_for(model, args), with_precision(model.eval(), args)
    quick, forms = fast(model, args), {}
    forms["PyTorch"] = predicting(lambda: plain(inputs), args)
    forms["PyTorch optimized"] = predicting(lambda: quick(inputs), args)
    if has_bf16():
        half = argparse.Namespace(**vars(args) | {"precision": "bf16"})
        halved = fast(model, half)
        forms["PyTorch optimized bf16"] = predicting(lambda: halved(inputs), half)
    with TemporaryDirectory() as folder:
        for name, (to, stored, computed) in FILES.items():
            if computed == "bf16" and not has_bf16():
                continue
            detector = exported(model, inputs, Path(folder), to=to, stored=stored, computed=computed)
            forms[name] = running(detector, inputs)
    return forms


def has_bf16() -> bool:
    """Whether this CPU has instructions for bf16. Without them every runtime only emulates it."""
    return can_run(torch.empty(0, dtype=torch.bfloat16))


def exported(
    model: DABDETR, inputs: list[dict], folder: Path, *, to: str, stored: str, computed: str | None
) -> ExportedDetector:
    """Export the model to one of the files. int8 is calibrated on one input, because values do not affect the time."""
    path = folder / f"{stored}{SUFFIXES[to]}"
    source = path.with_suffix(".onnx")
    about = Metadata(
        class_names=[str(i) for i in range(model.num_classes)],
        category_ids=None,
        short_side=None,
        max_size=None,
        threshold=0.0,
        image_type="uint8",
        precision=stored,
    )
    if not source.exists():
        image = inputs[0]["image"][None].numpy()
        batch = (image, np.array([image.shape[2:]], np.int64))
        write(DetectionGraph(model), source, about, to="onnx", calibration=[batch] if stored == "int8" else ())
    if not path.exists():
        write_openvino(source, path, about)
    result = ExportedDetector(path)
    if computed:
        result.exported.run, _ = openvino(str(path), computed)
    return result


def running(detector: ExportedDetector, inputs: list[dict]) -> Callable:
    return lambda: detector(inputs)
