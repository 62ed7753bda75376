"""Members of the family compute what their originals compute: DAB-Deformable-DETR by the original and, in two stages,
by detrex, and denoising by DN-DETR."""

import re

import numpy as np
import pytest
import torch
from detectron2.config import instantiate

from dab_detr.checkpoint import detrex, original, original_deformable
from dab_detr.models import dab_deformable_detr, dab_detr
from golden_cases import GoldenCase, load_case

TOLERANCE = 2e-5


def shrink(model, levels: bool):
    """The size of the golden cases, which begin at the feature maps."""
    model.num_classes, model.queries.num_queries = 7, 12
    model.encoder.num_layers, model.encoder.hidden, model.decoder.layers.num_layers = 2, 512, 3
    if levels:
        model.neck.in_channels, model.neck.num_levels = {"res3": 16, "res4": 32}, 3
        model.backbone.update(depth=18, width=8, out_features=["res3", "res4"])
    else:
        model.neck.in_channels = 32
        model.backbone.update(depth=18, width=4)
    return model


def load(model, state, table) -> None:
    converted, unknown = table.to_ours(state)
    assert not unknown
    assert set(converted) == {key for key in model.state_dict() if not key.startswith("backbone.")}
    model.load_state_dict(converted, strict=False)


def worst(a, b) -> float:
    return (torch.as_tensor(a) - torch.as_tensor(b)).abs().max().item()


def check_losses(case: GoldenCase, model, losses: dict, theirs: dict) -> None:
    """Unweighted losses by their names; `theirs` turns our names into those."""
    seen = set()
    for name, loss in losses.items():
        weight = model.criterion.weights["_".join(name.split("_")[:2])]
        for ours, their in theirs.items():
            name = re.sub(ours, their, name)
        seen.add(name)
        assert loss.item() / weight == pytest.approx(float(case.arrays[f"L_{name}"]), rel=1e-4), name
    assert seen == {key[2:] for key in case.arrays if key.startswith("L_loss") or key.startswith("L_tgt_loss")}


def check_gradients(case: GoldenCase, model, sources: dict, table) -> None:
    for name, source in sources.items():
        torch.testing.assert_close(source.grad, case.tensor(f"grad_{name}"), rtol=1e-4, atol=1e-6)
    gradients, _ = table.to_theirs({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    for name, norm in case.meta["grad_norms"].items():
        assert gradients[name].norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6), name


def inputs(case: GoldenCase) -> tuple[dict, dict]:
    """Feature maps with gradients, by the golden name and by the backbone's."""
    sources = {name: case.tensor(name).requires_grad_() for name in ("src0", "src1")}
    return sources, {"res3": sources["src0"], "res4": sources["src1"]}


def test_dab_deformable():
    case = load_case("official_dab_deformable")
    model = instantiate(shrink(dab_deformable_detr(), levels=True))
    table = original_deformable.table_of_theirs(case.state)
    load(model, case.state, table)
    sources, features = inputs(case)
    prediction = model.detect(features, case.tensor("image_mask"))
    assert worst(prediction.logits, case.tensor("logits")) < TOLERANCE
    assert worst(prediction.boxes, case.tensor("boxes")) < TOLERANCE
    losses = model.criterion(prediction, case.targets)
    check_losses(case, model, losses, {})
    sum(losses.values()).backward()
    check_gradients(case, model, sources, table)


@pytest.fixture
def two_stage():
    case = load_case("detrex_dab_deformable_two_stage")
    model = instantiate(shrink(dab_deformable_detr(two_stage=True), levels=True))
    table = detrex.table_of_theirs(case.state)
    load(model, case.state, table)
    return case, model, table


def test_two_stage(two_stage):
    case, model, table = two_stage
    sources, features = inputs(case)
    prediction = model.detect(features, case.tensor("image_mask"))
    assert worst(prediction.proposals.logits[0], case.tensor("enc_logits")) < TOLERANCE
    assert worst(prediction.proposals.boxes[0], case.tensor("enc_boxes")) < TOLERANCE
    assert worst(prediction.logits, case.tensor("logits")) < TOLERANCE
    assert worst(prediction.boxes, case.tensor("boxes")) < TOLERANCE
    losses = model.criterion(prediction, case.targets)
    check_losses(case, model, losses, {"loss_ce": "loss_class", r"_enc$": "_enc"})
    sum(losses.values()).backward()
    check_gradients(case, model, sources, table)


def test_two_stage_queries(two_stage):
    case, model, _ = two_stage
    _, features = inputs(case)
    memory = model.encoder(model.neck(features, case.tensor("image_mask")))
    queries = model.queries(memory)
    assert worst(queries.content, case.tensor("dec_tgt")) < TOLERANCE
    assert worst(queries.anchors, case.tensor("dec_reference")) < TOLERANCE
    assert not queries.content.requires_grad
    assert not queries.anchors.requires_grad


@pytest.mark.parametrize("part", ["enc", "edge"])
def test_proposals(two_stage, part):
    """The box that each cell starts from; the edge case has cells too near the border on long maps."""
    from dab_detr.modeling.neck import to_memory
    from dab_detr.modeling.proposals import proposal_logits

    case = two_stage[0]
    masks = [case.tensor(f"{'mask' if part == 'enc' else 'edge_mask'}{i}") for i in range(3 if part == "enc" else 2)]
    maps = [torch.zeros(len(mask), 8, *mask.shape[1:]) for mask in masks]
    memory = to_memory(maps, masks, [x.permute(0, 2, 3, 1) for x in maps], None)
    logits, valid = proposal_logits(memory, 0.05)
    assert worst(logits.sigmoid(), case.tensor(f"{part}_proposals")) < 1e-6
    finite = case.arrays["enc_proposals_finite" if part == "enc" else "edge_finite"]
    assert np.array_equal(valid.numpy(), finite)


def in_slots(case: GoldenCase) -> torch.Tensor:
    """The case's noised objects in our order: image by image as the slots are, theirs is group by group."""
    return torch.from_numpy(np.lexsort((case.arrays["flat_slot"], case.arrays["flat_image"])))


@pytest.fixture
def denoising(monkeypatch):
    """DN-DAB-DETR, whose noise is the golden case's."""
    case = load_case("dn_dab_detr")
    config = shrink(dab_detr(), levels=False)
    config.denoising.groups = 5
    config.denoising.see_padding = True
    model = instantiate(config)
    table = original.table_of_theirs(case.state)
    load(model, case.state, table)
    order = in_slots(case)
    noise = case.tensor("flat_noised_labels").long()[order], case.tensor("flat_noised_boxes")[order]
    monkeypatch.setattr(model.denoising, "noise", lambda *_: noise)
    return case, model, table


def test_denoising(denoising):
    case, model, table = denoising
    src = case.tensor("src").requires_grad_()
    prediction = model.detect({"res5": src}, case.tensor("mask"), case.targets)
    assert worst(prediction.logits, case.tensor("logits")) < TOLERANCE
    assert worst(prediction.boxes, case.tensor("boxes")) < TOLERANCE
    noised, truth = prediction.denoised
    assert worst(noised.logits, case.tensor("dn_logits")) < TOLERANCE
    assert worst(noised.boxes, case.tensor("dn_boxes")) < TOLERANCE
    assert torch.equal(truth.valid, case.tensor("dn_valid").bool())
    losses = model.criterion(prediction, case.targets)
    check_losses(case, model, losses, {r"^(loss_[a-z]+)_dn": r"tgt_\1"})
    sum(losses.values()).backward()
    check_gradients(case, model, {"src": src}, table)


def test_denoising_queries(denoising):
    """Slots, mask and what the decoder starts from."""
    case, model, _ = denoising
    memory = model.encoder(model.neck({"res5": case.tensor("src")}, case.tensor("mask")))
    queries = model.denoising(model.queries(memory), case.targets)
    assert worst(queries.content.transpose(0, 1), case.tensor("dec_tgt")) < TOLERANCE
    anchors = case.tensor("dec_refpoints_unsigmoid").sigmoid()
    assert worst(queries.anchors.transpose(0, 1), anchors) < TOLERANCE
    assert torch.equal(queries.blocked, case.tensor("attn_mask").bool().expand(2, 1, -1, -1))
    labels = queries.noised.labels.masked_fill(~queries.noised.valid, -1)
    assert torch.equal(labels, case.tensor("dn_true_labels").long())


def test_denoising_at_inference(denoising):
    case, model, _ = denoising
    with torch.no_grad():
        prediction = model.eval().detect({"res5": case.tensor("src")}, case.tensor("mask"))
    assert prediction.denoised is None
    assert worst(prediction.logits, case.tensor("eval_logits")) < TOLERANCE
    assert worst(prediction.boxes, case.tensor("eval_boxes")) < TOLERANCE


def test_noise_follows_the_rules(denoising, monkeypatch):
    """With the golden case's draws instead of random ones, labels and boxes are noised as its."""
    case, model, _ = denoising
    monkeypatch.undo()
    new = (case.tensor("draw_new_label") + 0.5) / model.denoising.num_classes
    draws = torch.cat([torch.stack([case.tensor("draw_label"), new], 1), case.tensor("draw_box")], 1)
    truth = case.tensor("flat_true_labels").long(), case.tensor("flat_true_boxes")
    labels, boxes = model.denoising.noise(*truth, draws, None)
    assert torch.equal(labels, case.tensor("flat_noised_labels").long())
    assert worst(boxes, case.tensor("flat_noised_boxes")) < 1e-6


@torch.no_grad()
def test_noised_queries_do_not_reach_the_others(denoising):
    case, model, _ = denoising
    model.double()
    src = {"res5": case.tensor("src").double()}
    targets = [target._replace(boxes=target.boxes.double()) for target in case.targets]
    alone = model.detect(src, case.tensor("mask"))
    beside = model.detect(src, case.tensor("mask"), targets)
    assert worst(alone.logits, beside.logits) < 1e-12
    assert worst(alone.boxes, beside.boxes) < 1e-12
