"""Writes a `DetectionGraph` as ONNX, OpenVINO or torch.export file that describes itself."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.export import Dim, ExportedProgram

from .graph import DetectionGraph
from .metadata import INPUTS, KEY, OUTPUTS, Metadata
from .runtime import openvino_core

OPSET = 20
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
PRECISIONS = {"onnx": ("fp32", "fp16", "int8"), "openvino": ("fp32", "fp16", "int8"), "torch": ("fp32",)}
Batch = tuple[np.ndarray, np.ndarray]  # images (B, 3, H, W) and sizes (B, 2)


def write(
    graph: DetectionGraph,
    path: Path,
    metadata: Metadata,
    *,
    to: str,
    shape: tuple[int, int, int] | None = None,
    calibration: Iterable[Batch] = (),
) -> None:
    """Write the graph to `path`. The file appears only when it is complete.

    to: "onnx", "openvino" (two files, .xml and .bin) or "torch".
    shape: batch, height and width if they are fixed; otherwise the file takes any.
    calibration: batches for metadata.precision="int8", which quantizes the convolutions.
    """
    program = capture(graph, metadata.image_type, shape)
    metadata = replace(metadata, opset=None if to == "torch" else OPSET)
    with TemporaryDirectory(dir=path.parent, prefix=".export") as folder:
        temporary = Path(folder) / path.name
        if to == "torch":
            torch.export.save(program, temporary, extra_files={KEY: metadata.to_json()})
        else:
            source = temporary.with_suffix(".onnx")
            stored = to == "openvino" and metadata.precision == "fp16"  # OpenVINO rounds the weights itself
            write_onnx(program, source, replace(metadata, precision="fp32") if stored else metadata, calibration)
            if to == "openvino":
                write_openvino(source, temporary, metadata)
                os.replace(temporary.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(temporary, path)


@torch.no_grad()
def capture(graph: DetectionGraph, image_type: str, shape: tuple[int, int, int] | None) -> ExportedProgram:
    """Record the graph by torch.export, for any batch and size unless `shape` is given."""
    batch, height, width = shape or (2, 224, 288)
    images = torch.zeros(batch, 3, height, width, dtype=getattr(torch, image_type))
    sizes = torch.tensor([[height, width]] * batch)
    any_size = Dim.DYNAMIC
    dynamic = ({0: any_size, 2: any_size, 3: any_size}, {0: any_size})
    return torch.export.export(graph.eval(), (images, sizes), dynamic_shapes=None if shape else dynamic)


def write_onnx(program: ExportedProgram, path: Path, metadata: Metadata, calibration: Iterable[Batch]) -> None:
    """Write ONNX of opset `OPSET`, quantized if the metadata say so."""
    import onnx

    written = torch.onnx.export(
        program,
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    model = written.model_proto
    if metadata.precision == "int8":
        model = quantized(model, path, calibration)
    if metadata.precision == "fp16":
        store_in_fp16(model)
    model.metadata_props.add(key=KEY, value=metadata.to_json())
    onnx.checker.check_model(model)
    onnx.save(model, path)


def store_in_fp16(model) -> None:
    """Store every weight of an ONNX model in fp16, changed in place. The graph casts them to fp32, in which it computes
    everything, boxes and sine embeddings included. Weights beyond fp16's range, and single numbers, stay in fp32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    casts, limit = [], np.finfo(np.float16).max
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        if values.size < 2 or np.abs(values).max() > limit:
            continue
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [f"{name}.fp16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)


def quantized(model, path: Path, calibration: Iterable[Batch]):
    """The model with its convolutions in int8, by onnxruntime's static quantization; the transformer stays in fp32."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    batches = iter([dict(zip(INPUTS, batch, strict=True)) for batch in calibration])

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict | None:
            return next(batches, None)

    source, target = path.with_suffix(".fp32.onnx"), path.with_suffix(".int8.onnx")
    onnx.save(model, source)
    quantize_static(
        source,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return onnx.load(target)


def write_openvino(source: Path, path: Path, metadata: Metadata) -> None:
    """Convert an ONNX file to OpenVINO's two files. With fp16, the weights are stored in fp16."""
    import openvino

    model = openvino_core().read_model(source)
    model.set_rt_info(metadata.to_json(), [KEY])
    openvino.save_model(model, path, compress_to_fp16=metadata.precision == "fp16")
