"""Exported files: in every runtime they detect what the detector detects, for any batch, size and padding."""

import os
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from detectron2.config import instantiate

from dab_detr.detector import DABDETR
from dab_detr.export.detector import ExportedDetector
from dab_detr.export.graph import DetectionGraph
from dab_detr.export.metadata import Metadata
from dab_detr.export.runtime import ExportedModel
from dab_detr.export.writing import SUFFIXES, write, write_openvino
from dab_detr.models import MODELS
from samples import random_input
from tiny import shrink, tell_apart

ALL = os.environ.get("DAB_DETR_EXPORT_ALL")  # every member takes minutes; CI exports one of each kind of attention
MEMBERS = sorted(MODELS) if ALL else ["dab_detr", "deformable_detr_refine"]
NAMES = list("abcdefg")


@cache
def small(name: str) -> DABDETR:
    node = shrink(MODELS[name]())
    node.num_classes = len(NAMES)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return tell_apart(instantiate(node)).eval()


def metadata(**options) -> Metadata:
    values = {"class_names": NAMES, "category_ids": None, "short_side": 64, "max_size": 128, "threshold": 0.0}
    return Metadata(**(values | {"image_type": "uint8", "precision": "fp32"} | options))


@cache
def exported(name: str, to: str) -> Path:
    """A file of that member, written once for all tests."""
    path = Path(mkdtemp()) / f"{name}{SUFFIXES[to]}"
    if to == "openvino":
        write_openvino(exported(name, "onnx"), path, metadata())
    else:
        write(DetectionGraph(small(name)), path, metadata(), to=to)
    return path


def batch(size: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of unequal sizes, with noise in the padding."""
    sizes = [[height, width], [height - 11, width // 2], [height // 2, width - 5]][:size]
    return torch.randint(256, (size, 3, height, width), dtype=torch.uint8), torch.tensor(sizes)


def check_same(found: dict[str, np.ndarray], expected: tuple[torch.Tensor, ...], side: int) -> None:
    """Equal but for detections of the same score, which may change places."""
    boxes, scores, labels, number = (x.numpy() for x in expected)
    assert np.abs(found["scores"] - scores).max() < 1e-5 and (found["number"] == number).all()
    near = np.abs(found["boxes"][:, :, None] - boxes[:, None]).max(-1) < 1e-4 * side
    near &= np.abs(found["scores"][:, :, None] - scores[:, None]) < 1e-5
    near &= found["labels"][:, :, None] == labels[:, None]
    assert near.any(-1).all()


@torch.no_grad()
@pytest.mark.parametrize("to", ["onnx", "openvino"])
@pytest.mark.parametrize("name", MEMBERS)
def test_detects_what_the_detector_detects(name, to):
    graph, model = DetectionGraph(small(name)), ExportedModel(exported(name, to))
    for size, height, width in [(1, 96, 128), (2, 97, 131), (3, 160, 71), (1, 40, 200)]:
        images, sizes = batch(size, height, width)
        check_same(model(images.numpy(), sizes.numpy()), graph(images, sizes), max(height, width))


@torch.no_grad()
def test_the_graph_detects_what_the_detector_detects_in_a_padded_batch():
    model, sizes = small("dab_detr"), [(96, 128), (64, 100)]
    inputs = [random_input(*size) for size in sizes]
    images = torch.full((2, 3, 96, 128), 255, dtype=torch.uint8)  # what lies in the padding does not matter
    for image, x, (height, width) in zip(images, inputs, sizes, strict=True):
        image[:, :height, :width] = x["image"]
    boxes, scores, _, number = DetectionGraph(model)(images, torch.tensor(sizes))
    for i, x in enumerate(model(inputs)):
        instances = x["instances"]
        assert number[i] == len(instances)
        assert (scores[i] - instances.scores).abs().max() < 1e-5
        assert (boxes[i].sum(0) - instances.pred_boxes.tensor.sum(0)).abs().max() < 0.1


@torch.no_grad()
def test_the_number_counts_detections_above_the_threshold():
    graph = DetectionGraph(small("dab_detr"))
    images, sizes = batch(2, 96, 128)
    _, scores, _, number = graph(images, sizes)
    graph.threshold = scores[0, 4].item()
    counted = graph(images, sizes)[3]
    assert counted[0] == (scores[0] >= graph.threshold).sum() < number[0]


@torch.no_grad()
def test_deformable_attention_by_gathering_is_the_same():
    images, sizes = batch(2, 97, 131)
    plain, gathering = (DetectionGraph(small("deformable_detr_refine"), gather=x) for x in (False, True))
    found = dict(
        zip(("boxes", "scores", "labels", "number"), (x.numpy() for x in gathering(images, sizes)), strict=True)
    )
    check_same(found, plain(images, sizes), 131)


def test_a_file_stands_in_for_the_detector():
    inputs = [random_input(96, 128), random_input(64, 100) | {"height": 128, "width": 200}]
    found = ExportedDetector(exported("dab_detr", "onnx"))(inputs)
    with torch.no_grad():
        for ours, theirs in zip(found, small("dab_detr")(inputs), strict=True):
            ours, theirs = ours["instances"], theirs["instances"]
            assert ours.image_size == theirs.image_size and len(ours) == len(theirs)
            assert (ours.scores - theirs.scores).abs().max() < 1e-5


@pytest.mark.parametrize(
    "images, sizes, complaint",
    [
        (np.zeros((1, 3, 64, 64), np.float32), [[64, 64]], "uint8 in RGB"),
        (np.zeros((1, 64, 64, 3), np.uint8), [[64, 64]], "must be"),
        (np.zeros((3, 64, 64), np.uint8), [[64, 64]], "must be"),
        (np.zeros((1, 3, 64, 64), np.uint8), [[65, 64]], "from 1 to"),
        (np.zeros((1, 3, 64, 64), np.uint8), [[0, 64]], "from 1 to"),
        (np.zeros((2, 3, 64, 64), np.uint8), [[64, 64]], "sizes must be"),
        (np.zeros((1, 3, 64, 64), np.uint8), [[64.0, 64.0]], "sizes must be"),
    ],
)
def test_wrong_inputs_are_named(images, sizes, complaint):
    with pytest.raises(ValueError, match=complaint):
        ExportedModel(exported("dab_detr", "onnx"))(images, np.array(sizes))


@pytest.mark.parametrize("to", ["onnx", "openvino"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_is_refused(to, kept, tmp_path):
    source = exported("dab_detr", to)
    if to == "openvino":
        shutil.copy(source.with_suffix(".bin"), tmp_path)
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes()[: int(kept * source.stat().st_size)])
    with pytest.raises(ValueError, match=path.name):
        ExportedModel(path)


def test_weights_of_openvino_that_were_cut_are_refused(tmp_path):
    source = exported("dab_detr", "openvino")
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    weights = source.with_suffix(".bin").read_bytes()
    path.with_suffix(".bin").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match=path.name):
        ExportedModel(path)


def test_a_file_of_another_model_is_refused(tmp_path):
    import onnx

    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "other", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="was not exported by this project"):
        ExportedModel(tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="does not exist"):
        ExportedModel(tmp_path / "none.onnx")
