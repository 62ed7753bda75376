"""The files that transformers needs besides the weights."""

import json

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall, instantiate
from detectron2.data import transforms as T
from transformers import AutoImageProcessor

from dab_detr.checkpoint import conversion
from dab_detr.models import dab_detr


def small():
    node = dab_detr(depth=18)
    node.neck.update(in_channels=512, dim=32)
    node.encoder.update(num_layers=1, heads=4, hidden=64)
    node.decoder.layers.num_layers = 2
    node.decoder.eps = 1e-5
    return node


def size_written(folder, augmentations) -> dict:
    node = small()
    conversion.write(instantiate(node).state_dict(), folder, to="transformers", model=node, augmentations=augmentations)
    return json.loads((folder / "preprocessor_config.json").read_text())


@pytest.mark.parametrize("length", [64, [64], [64, 64]])
@torch.no_grad()
def test_the_processor_resizes_as_the_test_does(length, tmp_path):
    augmentations = [LazyCall(T.ResizeShortestEdge)(short_edge_length=length, sample_style="choice", max_size=100)]
    size_written(tmp_path / "x", augmentations)
    processor = AutoImageProcessor.from_pretrained(tmp_path / "x")
    for shape in ((60, 90, 3), (200, 90, 3), (20, 300, 3)):
        image = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
        ours = T.AugInput(image)
        instantiate(augmentations[0])(ours)
        theirs = processor([image], return_tensors="pt")["pixel_values"]
        assert np.abs(np.array(theirs.shape[2:]) - ours.image.shape[:2]).max() <= 1  # rounded up here, down there


@pytest.mark.parametrize(
    ("augmentations", "expected"),
    [
        ([], {"do_resize": False}),
        ([LazyCall(T.Resize)(shape=(50, 70))], {"do_resize": True, "size": {"height": 50, "width": 70}}),
        (
            [LazyCall(T.ResizeShortestEdge)(short_edge_length=64)],
            {"do_resize": True, "size": {"shortest_edge": 64, "longest_edge": 1_000_000}},
        ),
    ],
)
def test_other_ways_to_resize(augmentations, expected, tmp_path):
    assert size_written(tmp_path / "x", augmentations).items() >= expected.items()


@pytest.mark.parametrize("augmentations", [[64, 96], "flip"], ids=str)
def test_a_resizing_that_transformers_does_not_have_is_named(augmentations, tmp_path):
    node = LazyCall(T.ResizeShortestEdge)(short_edge_length=augmentations)
    node = LazyCall(T.RandomFlip)() if augmentations == "flip" else node
    with pytest.raises(ValueError, match="dataloader.test.mapper.augmentations must be one ResizeShortestEdge"):
        size_written(tmp_path / "x", [node])
    assert not (tmp_path / "x").exists()


def test_the_weights_of_the_loss_are_those_of_the_training(tmp_path, caplog):
    node = small()
    node.criterion.weight_giou, node.criterion.matcher.cost_class = 3.0, 1.5
    conversion.write(instantiate(node).state_dict(), tmp_path / "x", to="transformers", model=node)
    config = json.loads((tmp_path / "x/config.json").read_text())
    assert config["giou_loss_coefficient"] == 3 and "class_cost" not in config
    assert "config.json has no class_cost: transformers takes whole numbers, and it is 1.5" in caplog.text
