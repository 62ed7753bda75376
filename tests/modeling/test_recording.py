"""A recording tells what every member of the family computes, and changes none of it."""

import pytest
import torch
from detectron2.config import instantiate

from dab_detr import optimize_for_inference
from dab_detr.modeling.deformable import deformable_sample
from dab_detr.modeling.recording import recording
from dab_detr.models import MODELS
from samples import random_input, worst
from tiny import shrink, tell_apart

ROWS = [0, 3, 7]
INPUTS = [random_input(64, 96), random_input(96, 64)]


def small(name: str, dtype: torch.dtype = torch.float64, **options) -> torch.nn.Module:
    config = shrink(MODELS[name]())
    for key, value in options.items():
        config.decoder.prior[key] = value
    return tell_apart(instantiate(config)).to(dtype).eval()


@torch.no_grad()
def record_of(model, inputs=INPUTS):
    outputs = {}
    hooks = [
        part.register_forward_hook(lambda m, i, out, key=(n, kind): outputs.update({key: out}))
        for n, layer in enumerate(model.decoder.layers)
        for kind, part in (("self_attention", layer.self_attention), ("cross_attention", layer.cross_attention))
    ]
    with recording(model, ROWS) as recorder:
        detections = model(inputs)
    for hook in hooks:
        hook.remove()
    return recorder.record, outputs, detections


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", MODELS)
def test_recorded_weights_times_recorded_values_are_the_output(name, dtype, tolerance):
    model = small(name, dtype)
    record, outputs, _ = record_of(model)
    assert len(record.layers) == len(model.decoder.layers)
    for i, layer in enumerate(record.layers):
        for kind in ("self_attention", "cross_attention"):
            look, attention = getattr(layer, kind), getattr(model.decoder.layers[i], kind)
            ones = torch.ones_like(look.weights[..., 0])
            assert worst(look.weights.sum(-1), ones) < 10 * tolerance
            if look.points is None:
                seen = (look.weights @ look.values).transpose(0, 1)[None]
            else:
                each = (len(record.shapes), -1)
                points = look.points.transpose(0, 1).unflatten(-2, each) * record.valid_ratios[:, None]
                weights = look.weights.transpose(0, 1).unflatten(-1, each)
                seen = deformable_sample(look.values.transpose(0, 1)[None], record.shapes, points[None], weights[None])
            out = attention.out(seen.reshape(1, len(ROWS), -1))[0]
            assert worst(out, outputs[i, kind][0, ROWS]) < tolerance * max(1, out.abs().max())


@pytest.mark.parametrize("name", MODELS)
def test_recording_changes_nothing(name):
    model = small(name, torch.float32)
    _, _, recorded = record_of(model)
    with torch.no_grad():
        plain = model(INPUTS)
    for ours, theirs in zip(recorded, plain, strict=True):
        assert torch.equal(ours["instances"].scores, theirs["instances"].scores)
        assert torch.equal(ours["instances"].pred_boxes.tensor, theirs["instances"].pred_boxes.tensor)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", ["dab_detr", "conditional_detr", "detr"])
def test_products_are_the_scores(name):
    model = small(name)
    record, _, _ = record_of(model)
    padding = record.layers[0].cross_attention.weights[0, 0] == 0
    for layer in record.layers:
        look = layer.cross_attention
        total = (look.content + look.position + look.mixed).masked_fill(padding, float("-inf"))
        assert worst(total.softmax(-1), look.weights) < 1e-12
        assert look.position[..., ~padding].std(-1).min() > 1e-6
    if name != "detr":  # conditional attention adds content to content and position to position, nothing else
        assert record.layers[-1].cross_attention.mixed.abs().max() < 1e-12


@pytest.mark.parametrize("name", ["dab_detr", "anchor_detr", "detr"])
def test_padding_is_not_seen(name):
    record, _, _ = record_of(small(name), [random_input(64, 64), random_input(128, 128)])
    height, width = record.shapes[0]
    for layer in record.layers:
        weights = layer.cross_attention.weights.unflatten(-1, (height, width))
        assert weights[..., height // 2 :, :].abs().max() == 0 and weights[..., width // 2 :].abs().max() == 0


def test_the_modulation_is_what_the_position_is_multiplied_with():
    record, _, _ = record_of(small("dab_detr"))
    without, _, _ = record_of(small("dab_detr", modulate=False))
    for layer in record.layers:
        assert layer.modulation.shape == (len(ROWS), 2) and (layer.modulation > 0).all()
        assert worst(layer.unmodulated.content, layer.cross_attention.content) == 0
        assert worst(layer.unmodulated.weights, layer.cross_attention.weights) > 1e-6
    assert without.layers[0].modulation is None and without.layers[0].unmodulated is None


def test_anchors_walk_to_the_boxes():
    model = small("dab_detr")
    record, _, _ = record_of(model)
    assert worst(record.anchors[ROWS], record.layers[0].anchors) == 0
    assert not record.two_stage and record_of(small("dab_deformable_detr_two_stage"))[0].two_stage
    with torch.no_grad():
        memory = model.encoder(model.neck(model.backbone(model.preprocess(INPUTS).tensor), padding()))
        prediction = model.decoder(model.denoising(model.queries(memory), None), memory)
    for i, layer in enumerate(record.layers):
        assert worst(layer.boxes, prediction.boxes[i, 0, ROWS]) == 0
        assert worst(layer.logits, prediction.logits[i, 0, ROWS]) == 0


def padding() -> torch.Tensor:
    padding = torch.ones(2, 96, 96, dtype=torch.bool)
    padding[0, :64, :96], padding[1, :96, :64] = False, False
    return padding


@pytest.mark.parametrize("name", ["dab_detr", "dab_deformable_detr"])
def test_optimized_copies_are_recorded_too(name):
    model = small(name, torch.float32)
    ours, theirs = record_of(model)[0], record_of(optimize_for_inference(model))[0]
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        assert worst(a.cross_attention.weights, b.cross_attention.weights) < 1e-4


def test_training_is_refused():
    with pytest.raises(ValueError, match="in evaluation"), recording(small("dab_detr").train(), [0]):
        pass
