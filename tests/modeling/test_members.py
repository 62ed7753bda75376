"""What every member of the family owes its users: gradients for all, whatever the batch, in any precision."""

from dataclasses import replace

import pytest
import torch
from detectron2.config import instantiate

from dab_detr.detector import DABDETR, padding_of
from dab_detr.losses.batch import EffectiveBatch
from dab_detr.modeling.heads import InFullPrecision
from dab_detr.modeling.structures import ABSENT
from dab_detr.models import MODELS, anchor_detr, dab_deformable_detr, dab_detr
from samples import random_input, random_targets, train, worst
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
    if getattr(model.queries, "class_agnostic", None) is not None:
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


def exact(name: str) -> DABDETR:
    """A member for which padding changes nothing: by one option for the members on several maps and Anchor DETR."""
    node = shrink(MEMBERS[name]())
    node.num_classes, node.encoder.dropout = 7, 0.0
    if "feature" not in node.neck:
        node.neck.exact_padding = True
    return tell_apart(instantiate(node))


def padded_batch(model: DABDETR) -> tuple[dict, torch.Tensor, list[tuple[dict, torch.Tensor]]]:
    """Feature maps and padding of three images, and the same of each image alone; 64 pixels are 1 cell at stride 64."""
    sizes, (height, width) = [(192, 160), (96, 64), (64, 160)], (192, 160)
    shapes = model.backbone.output_shape()
    features = {k: torch.randn(3, v.channels, height // v.stride, width // v.stride) for k, v in shapes.items()}
    padding, alone = torch.ones(3, height, width, dtype=torch.bool), []
    for i, (h, w) in enumerate(sizes):
        padding[i, :h, :w] = False
        cut = {k: x[i : i + 1, :, : h // shapes[k].stride, : w // shapes[k].stride] for k, x in features.items()}
        alone.append((cut, torch.zeros(1, h, w, dtype=torch.bool)))
    return features, padding, alone


@torch.no_grad()
@pytest.mark.parametrize("name", MEMBERS)
def test_a_padded_batch_equals_single_images(name):
    """From the feature maps on. Also where an image has fewer cells than the batch has queries."""
    model = exact(name).eval()
    features, padding, alone = padded_batch(model)
    together = model.detect(features, padding)
    for i, one in enumerate(alone):
        single = model.detect(*one)
        found = single.logits.shape[2]
        assert worst(together.logits[:, i : i + 1, :found], single.logits) < 1e-5, i
        assert worst(together.boxes[:, i : i + 1, :found], single.boxes) < 1e-5, i
        assert (together.logits[:, i, found:] == ABSENT).all()
        assert single.logits.std(2).min() > 1e-3  # queries differ


@pytest.mark.parametrize("name", MEMBERS)
def test_losses_of_a_padded_batch_are_those_of_its_images(name):
    """In double precision: with the normalizer of the whole batch, the images' losses add up to the batch's."""
    model = exact(name).double()
    features, padding, alone = padded_batch(model)
    features = {name: x.double() for name, x in features.items()}
    targets = [x._replace(seed=i, boxes=x.boxes.double()) for i, x in enumerate(random_targets([3, 1, 2], classes=7))]
    batch = EffectiveBatch(torch.tensor([3, 1, 2]))
    whole = model.criterion(model.detect(features, padding, targets), targets, batch)
    parts = [
        model.criterion(model.detect({k: x.double() for k, x in cut.items()}, mask, [target]), [target], batch)
        for (cut, mask), target in zip(alone, targets, strict=True)
    ]
    for loss, value in whole.items():
        torch.testing.assert_close(sum(part[loss] for part in parts), value, rtol=1e-5, atol=1e-8, msg=loss)


@pytest.mark.parametrize("name", ["dino", "dn_dab_detr"])
def test_denoising_never_reaches_the_matched_losses(name):
    """With the weights of its slots zeroed, every other loss and all that it teaches is as without denoising."""
    node = shrink(MEMBERS[name]())
    node.num_classes = 7
    model = tell_apart(instantiate(node)).double()
    features, padding, _ = padded_batch(model)
    features = {name: x.double() for name, x in features.items()}
    targets = [x._replace(boxes=x.boxes.double()) for x in random_targets([3, 1, 2], classes=7)]
    found = []
    for denoising in (True, False):
        model.zero_grad()
        prediction = model.detect(features, padding, targets if denoising else None)
        if denoising:
            answers, noised = prediction.denoised
            silent = replace(noised, weight=torch.zeros_like(noised.weight), positive=noised.positive & False)
            prediction = replace(prediction, denoised=(answers, silent))
        losses = model.criterion(prediction, targets)
        sum(losses.values()).backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None} | losses)
    for name, expected in found[1].items():
        torch.testing.assert_close(found[0][name], expected, rtol=1e-9, atol=1e-12, msg=name)
    assert all(found[0][name] == 0 for name in losses.keys() ^ found[0].keys() if "_dn" in name)
