"""What every member of the family owes its users: gradients for all, whatever the batch, in any precision."""

import pytest
import torch
from detectron2.config import instantiate

from dab_detr.detector import DABDETR, padding_of
from dab_detr.modeling.heads import InFullPrecision
from dab_detr.models import MODELS, anchor_detr, dab_deformable_detr, dab_detr
from samples import random_input, train, worst
from tiny import shrink, tell_apart


def denoising(node, **queries):
    node.denoising.groups = 3
    node.queries.update(queries)
    return node


MEMBERS = MODELS | {
    "dn_dab_detr": lambda: denoising(dab_detr()),
    "dn_anchor_detr": lambda: denoising(anchor_detr()),
    "dn_dab_deformable_detr": lambda: denoising(dab_deformable_detr(), dim=255),
    "dn_dab_deformable_detr_two_stage": lambda: denoising(dab_deformable_detr(two_stage=True)),
}


@pytest.fixture(params=MEMBERS)
def model(request) -> DABDETR:
    node = shrink(MEMBERS[request.param]())
    node.num_classes = 7
    return tell_apart(instantiate(node))


def names_of_losses(model: DABDETR) -> set[str]:
    parts = {"": ("", "_0")}
    if hasattr(model.queries, "class_agnostic"):
        parts["_enc"] = ("",)
    if hasattr(model.denoising, "groups"):
        parts["_dn"] = ("", "_0")
    kinds = ("loss_ce", "loss_bbox", "loss_giou")
    return {f"{kind}{part}{layer}" for kind in kinds for part, layers in parts.items() for layer in layers}


@pytest.mark.parametrize("objects", [(3, 2), (0, 3), (0, 0), (30, 1)])
def test_every_parameter_has_a_gradient_whatever_the_batch(model, objects):
    """One without would stop the training in several processes, which wait for it."""
    sizes = ((96, 128), (64, 160))
    losses = train(model, [random_input(*size, objects=n) for size, n in zip(sizes, objects, strict=True)])
    assert set(losses) == names_of_losses(model)
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_float64_from_end_to_end(model):
    """In which a model answers as in fp32, only more precisely."""
    model.eval()  # without dropout
    inputs = [random_input(objects=3), random_input(64, 160, objects=2)]
    images = model.preprocess(inputs)
    with torch.no_grad():
        single = model.detect(model.backbone(images.tensor), padding_of(images))
    model.double()
    targets = model.targets(inputs)
    features = model.backbone(model.preprocess(inputs).tensor)
    prediction = model.detect(features, padding_of(images), targets)
    assert prediction.logits.dtype == prediction.boxes.dtype == torch.float64
    losses = model.criterion(prediction, targets)
    assert all(loss.dtype == torch.float64 for loss in losses.values())
    assert worst(prediction.logits.detach(), single.logits.double()) < 1e-3
    assert worst(prediction.boxes.detach(), single.boxes.double()) < 1e-3
    # of fp32 anywhere on the way a millionth would be left
    shifted = model.detect({name: x * (1 + 1e-12) for name, x in features.items()}, padding_of(images))
    assert 0 < worst(prediction.logits, shifted.logits) < 1e-9


def test_bf16_autocast_trains_and_has_fp32_boxes(model):
    inputs = [random_input(objects=3), random_input(64, 160, objects=0)]
    heads = [*model.decoder.class_heads, *model.decoder.box_heads]
    assert all(isinstance(head, InFullPrecision) for head in heads)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = train(model, inputs)
        with torch.no_grad():
            results = model.eval()(inputs)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    for result in results:
        assert result["instances"].pred_boxes.tensor.dtype == result["instances"].scores.dtype == torch.float32


@torch.no_grad()
def test_inference_answers_in_the_size_that_is_asked_for(model):
    model.eval()
    inputs = [random_input(), random_input(64, 160) | {"height": 30, "width": 40}]
    first, second = (x["instances"] for x in model(inputs))
    assert first.image_size == (96, 128) and second.image_size == (30, 40)
    assert len(first) > 0 and len(second) > 0
    for instances in (first, second):
        assert instances.scores.max() <= 1 and instances.pred_classes.max() < 7
        assert (instances.scores[:-1] >= instances.scores[1:]).all()  # best first


@torch.no_grad()
@pytest.mark.parametrize("name", ["detr", "conditional_detr", "dab_detr", "dn_dab_detr"])
def test_on_one_map_a_padded_batch_equals_single_images(name):
    """(Necks with group norm take the statistics of the whole batch, padding included, as in the originals.)"""
    model = tell_apart(instantiate(shrink(MEMBERS[name]()))).eval()
    features = torch.randn(2, 32, 5, 6)
    padding = torch.zeros(2, 160, 192, dtype=torch.bool)
    padding[1, 96:], padding[1, :, 64:] = True, True
    together = model.detect({"res5": features}, padding)
    alone = model.detect({"res5": features[1:, :, :3, :2]}, padding[1:, :96, :64])
    assert worst(together.logits[:, 1:], alone.logits) < 1e-5 and worst(together.boxes[:, 1:], alone.boxes) < 1e-5
    assert alone.logits.std(2).min() > 1e-3  # queries differ
