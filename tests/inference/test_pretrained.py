"""Released models by name."""

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from omegaconf import OmegaConf

from dab_detr.checkpoint.checkpointer import DABDETRCheckpointer
from dab_detr.checkpoint.transformers_config import detection_config, model_overrides, processor_overrides
from dab_detr.config import load
from dab_detr.inference import Predictor
from dab_detr.models import dab_detr
from dab_detr.overrides import apply_overrides
from tiny import LAZY


@pytest.fixture(scope="module")
def config():
    return load(LAZY)


def test_a_name_is_enough(tiny_release):
    predictor = Predictor.from_pretrained("tiny", device="cpu")
    assert predictor.class_names[:2] == ["person", "bicycle"] and predictor.category_ids[-1] == 90
    found = predictor(np.zeros((40, 60, 3), np.uint8), threshold=0.0)
    assert len(found) == 300 and set(found.labels) <= set(predictor.class_names)


def test_a_training_starts_from_a_name(tiny_release):
    model = instantiate(load(LAZY, tiny_release.overrides).model)
    DABDETRCheckpointer(model, strict=True).load("zoo://tiny")
    expected = Predictor.from_pretrained("tiny", device="cpu").model.state_dict()
    name = "decoder.class_heads.0.weight"
    assert torch.equal(model.state_dict()[name], expected[name])


@pytest.mark.parametrize(
    "options",
    [{"depth": 101}, {"dilated": True, "temperature": 10.0}, {"num_patterns": 3}],
    ids=str,
)
def test_the_config_of_transformers_is_read_as_it_is_written(options, config):
    written = detection_config(dab_detr(**options), ["cat", None])
    read = config.copy()
    apply_overrides(read, model_overrides(written))
    assert detection_config(read.model, ["cat", None]) == written


def test_a_config_without_a_key_has_the_default_of_transformers(config):
    read = config.copy()
    apply_overrides(read, model_overrides({"model_type": "dab-detr", "backbone": "resnet18"}))
    assert read.model.encoder.dropout == 0.1 and read.model.queries.num_queries == 300
    assert read.model.backbone.depth == 18 and read.model.neck.in_channels == 512


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"model_type": "detr"}, "model_type 'detr'; only dab-detr"),
        ({"normalize_before": True}, "normalize_before"),
        ({"activation_function": "swish"}, "activation_function 'swish', not one of prelu, relu, gelu"),
        ({"backbone": "convnext_tiny"}, "convnext_tiny, which is not a ResNet of timm"),
        ({"backbone_config": {"model_type": "resnet"}}, "the backbone resnet .*not a ResNet of timm"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        model_overrides({"model_type": "dab-detr", **wrong})


def test_the_image_processor_of_transformers_is_read(config):
    read = config.copy()
    processor = {"size": {"shortest_edge": 640, "longest_edge": 900}, "image_mean": [0.5] * 3, "image_std": [1, 1, 1]}
    apply_overrides(read, processor_overrides(processor))
    assert OmegaConf.select(read, "dataloader.test.mapper.augmentations.0.short_edge_length") == 640
    assert read.model.pixel_mean == [127.5] * 3 and read.model.pixel_std == [255] * 3
    apply_overrides(read, processor_overrides({"do_resize": False}))
    assert read.dataloader.test.mapper.augmentations == []
    with pytest.raises(ValueError, match="only shortest_edge and longest_edge are known"):
        processor_overrides({"size": {"height": 5, "width": 5}})
