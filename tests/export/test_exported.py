"""Exported files: in every runtime they detect what the detector detects, for any batch, size and padding."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from detectron2.structures import Instances

from dab_detr.detector import DABDETR
from dab_detr.export.detector import ExportedDetector
from dab_detr.export.graph import DetectionGraph
from dab_detr.export.metadata import OUTPUTS, Metadata
from dab_detr.export.runtime import ExportedModel
from dab_detr.export.writing import store_in_fp16, write, write_openvino
from dab_detr.models import MODELS
from samples import random_input
from tiny import shrink, shrink_levels, tell_apart

ALL = os.environ.get("DAB_DETR_EXPORT_ALL")
# Every member takes minutes. By default, one member with deformable attention is exported, which also has two stages
# and exact padding, and DETR, which has no anchors. The checkpoint of conftest.py is a DAB-DETR.
MEMBERS = sorted(MODELS) if ALL else ["detr", "efficient_detr"]
NAMES = list("abcdefg")


@cache
def small(name: str) -> DABDETR:
    """The same weights in every worker; by default with fewer levels and layers, because each costs
    seconds."""
    node = shrink(MODELS[name]())
    node = node if ALL else shrink_levels(node)
    node.num_classes = len(NAMES)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return tell_apart(instantiate(node)).eval()


def test_an_exported_file_wants_its_own_classes_in_their_order(exported):
    detector = ExportedDetector(exported("checkpoint", "onnx")[1])
    names = list(detector.metadata.class_names)
    detector.check_classes(names)
    detector.check_classes(None)
    for other in (names[::-1], [*names, "another"], ["a cat", *names[1:]]):
        with pytest.raises(ValueError, match=r"model.onnx and dataset.val have other classes \(.*export"):
            detector.check_classes(other)


def metadata(**options) -> Metadata:
    values = {"class_names": NAMES, "category_ids": None, "short_side": 64, "max_size": 128, "threshold": 0.0}
    return Metadata(**(values | {"image_type": "uint8", "precision": "fp32"} | options))


@pytest.fixture
def exported(deployed, written_once) -> Callable[[str, str], tuple[DABDETR, Path]]:
    """A function of a member's name, or "checkpoint", and a format: the detector and its exported file."""

    def make(name: str, to: str) -> tuple[DABDETR, Path]:
        if name == "checkpoint":
            model, source = deployed.model, deployed.folder / "model.onnx"
        else:
            model = small(name)
            folder = written_once(name, lambda x: write(DetectionGraph(model), x / "model.onnx", metadata(), to="onnx"))
            source = folder / "model.onnx"
        if to == "onnx":
            return model, source
        folder = written_once(f"{name}-openvino", lambda x: write_openvino(source, x / "model.xml", metadata()))
        return model, folder / "model.xml"

    return make


def batch(size: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of unequal sizes, with noise in the padding."""
    sizes = [[height, width], [height - 11, width // 2], [height // 2, width - 5]][:size]
    return torch.randint(256, (size, 3, height, width), dtype=torch.uint8), torch.tensor(sizes)


def detected(model: DABDETR, images: torch.Tensor, sizes: torch.Tensor) -> list[Instances]:
    """The detector's own answers to the raw images, by the road of training and evaluation."""
    inputs = [{"image": image[:, :height, :width]} for image, (height, width) in zip(images, sizes, strict=True)]
    with torch.no_grad():
        return [x["instances"] for x in model(inputs)]


def check_same(found: dict[str, np.ndarray], expected: list[Instances], side: int) -> None:
    """Equal, except that detections with the same score may change places."""
    for i, instances in enumerate(expected):
        count = int(found["number"][i])
        assert count == len(instances)
        boxes, scores, labels = (torch.as_tensor(found[x][i, :count]) for x in ("boxes", "scores", "labels"))
        assert (scores - instances.scores).abs().max() < 1e-5
        near = (boxes[:, None] - instances.pred_boxes.tensor).abs().amax(-1) < 1e-4 * side
        near &= (scores[:, None] - instances.scores).abs() < 1e-5
        near &= labels[:, None] == instances.pred_classes
        assert near.any(-1).all()


@pytest.mark.parametrize("to", ["onnx", "openvino"])
@pytest.mark.parametrize("name", ["checkpoint", *MEMBERS])
def test_detects_what_the_detector_detects(name, to, exported):
    """Whatever the padding holds; the detector pads with zeros after normalization."""
    detector, path = exported(name, to)
    model = ExportedModel(path)
    for size, height, width in [(1, 96, 128), (2, 97, 131), (3, 160, 71), (1, 40, 200)]:
        images, sizes = batch(size, height, width)
        check_same(model(images.numpy(), sizes.numpy()), detected(detector, images, sizes), max(height, width))


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_fewer_cells_than_queries_give_fewer_queries(to, exported):
    detector, path = exported("efficient_detr", to)
    images, sizes = batch(1, 33, 40)
    assert sum(-(-33 // stride) * -(-40 // stride) for stride in (32, 64)) < detector.queries.num_queries
    check_same(ExportedModel(path)(images.numpy(), sizes.numpy()), detected(detector, images, sizes), 40)


def test_weights_in_fp16_halve_the_file_and_detect_nearly_the_same(exported, tmp_path):
    import onnx

    _, source = exported("checkpoint", "onnx")
    model = onnx.load(source)
    store_in_fp16(model)
    onnx.save(model, tmp_path / "model.onnx")
    images, sizes = batch(2, 96, 128)
    found, expected = (ExportedModel(x)(images.numpy(), sizes.numpy()) for x in (tmp_path / "model.onnx", source))
    weights = [sum(len(x.raw_data) for x in onnx.load(y).graph.initializer) for y in (tmp_path / "model.onnx", source)]
    assert weights[0] < 0.55 * weights[1]
    assert 0 < np.abs(found["scores"] - expected["scores"]).max() < 0.01


@torch.no_grad()
def test_the_number_counts_detections_above_the_threshold(deployed):
    graph = DetectionGraph(deployed.model)
    images, sizes = batch(2, 96, 128)
    _, scores, _, number = graph(images, sizes)
    graph.threshold = scores[0, 4].item()
    counted = graph(images, sizes)[3]
    assert counted[0] == (scores[0] >= graph.threshold).sum() < number[0]


@torch.no_grad()
def test_deformable_attention_by_gathering_is_the_same():
    (images, sizes), model = batch(2, 97, 131), small("efficient_detr")
    found = zip(OUTPUTS, (x.numpy() for x in DetectionGraph(model, gather=True)(images, sizes)), strict=True)
    check_same(dict(found), detected(model, images, sizes), 131)


def test_a_file_stands_in_for_the_detector(exported):
    detector, path = exported("checkpoint", "onnx")
    inputs = [random_input(96, 128), random_input(64, 100) | {"height": 128, "width": 200}]
    with torch.no_grad():
        for ours, theirs in zip(ExportedDetector(path)(inputs), detector(inputs), strict=True):
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
        (np.zeros((1, 3, 64, 64), np.int64), [[64, 64]], "uint8 in RGB"),
        (np.zeros((0, 3, 64, 64), np.uint8), np.zeros((0, 2), int), "must be"),
    ],
)
def test_wrong_inputs_are_named(images, sizes, complaint, exported):
    with pytest.raises(ValueError, match=complaint):
        ExportedModel(exported("checkpoint", "onnx")[1])(images, np.array(sizes))


@pytest.mark.parametrize("to", ["onnx", "openvino"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_is_refused(to, kept, tmp_path, exported):
    source = exported("checkpoint", to)[1]
    if to == "openvino":
        shutil.copy(source.with_suffix(".bin"), tmp_path)
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes()[: int(kept * source.stat().st_size)])
    with pytest.raises(ValueError, match=path.name):
        ExportedModel(path)


def test_weights_of_openvino_that_were_cut_are_refused(tmp_path, exported):
    source = exported("checkpoint", "openvino")[1]
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    weights = source.with_suffix(".bin").read_bytes()
    path.with_suffix(".bin").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match=path.name):
        ExportedModel(path)


FORGET = """
import gc, signal, subprocess, sys, threading
from dab_detr.export.runtime import ExportedModel

models = [ExportedModel(sys.argv[1])]
thread = threading.Thread(target=lambda: (models.clear(), gc.collect()))
thread.start()
thread.join()
signal.signal(signal.SIGCHLD, lambda *_: print("a child ended"))
subprocess.run([sys.executable, "-c", ""])
"""


def test_a_model_of_openvino_may_be_forgotten_in_any_thread(exported):
    """OpenVINO's CPU plugin would leave the main thread without a signal stack, and the next signal ends it."""
    command = [sys.executable, "-c", FORGET, str(exported("checkpoint", "openvino")[1])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "a child ended\n"), done.stderr


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
