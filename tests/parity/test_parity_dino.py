"""DINO computes what detrex' DINO computes: selection, denoising, answers, losses, gradients."""

import re
from copy import deepcopy

import pytest
import torch
from detectron2.config import instantiate
from test_parity_family import TOLERANCE, in_slots, inputs, load, shrink, worst

from dab_detr.checkpoint import detrex
from dab_detr.models import dino
from golden_cases import GoldenCase, load_case


@pytest.fixture(scope="module")
def original() -> tuple:
    """The case, our model with its weights, and the table between them."""
    case = load_case("detrex_dino")
    config = shrink(dino(shared_heads=False, temperature=10000.0, offset=-0.5), levels=True)
    config.denoising.update(num_queries=12, groups_of_batch=True, see_padding=True)
    model = instantiate(config)
    table = detrex.table_of_theirs(case.state)
    load(model, case.state, table)
    return case, model, table


@pytest.fixture
def parts(original, monkeypatch) -> tuple:
    """The same, with the case's noise in place of ours."""
    case, model, table = original
    model, order = deepcopy(model), in_slots(case)
    noise = case.tensor("flat_noised_labels").long()[order], case.tensor("flat_noised_boxes")[order]
    monkeypatch.setattr(model.denoising, "noise", lambda *_: noise)
    return case, model, table


def test_selection(parts):
    """The best boxes, without a gradient, with the learned content in the order of their scores."""
    case, model, _ = parts
    memory = model.encoder(model.neck(inputs(case)[1], case.tensor("image_mask")))
    queries = model.queries(memory)
    start = case.tensor("pad_size").item()
    assert worst(queries.anchors, case.tensor("dec_reference")[:, start:]) < TOLERANCE
    assert worst(queries.content, case.tensor("dec_tgt")[:, start:]) < TOLERANCE
    assert torch.equal(queries.content[0], queries.content[1]) and not queries.anchors.requires_grad
    assert worst(queries.proposals.logits[0], case.tensor("enc_logits")) < TOLERANCE
    assert worst(queries.proposals.boxes[0], case.tensor("enc_boxes")) < TOLERANCE
    assert queries.proposals.boxes.requires_grad


def test_denoising_queries(parts):
    """Slots, mask and what the decoder starts from."""
    case, model, _ = parts
    memory = model.encoder(model.neck(inputs(case)[1], case.tensor("image_mask")))
    queries = model.denoising(model.queries(memory), case.targets)
    noised, valid = queries.noised, case.tensor("dn_valid").bool()
    assert worst(queries.content, case.tensor("dec_tgt")) < TOLERANCE
    assert worst(queries.anchors, case.tensor("dec_reference")) < TOLERANCE
    assert torch.equal(queries.blocked, case.tensor("attn_mask").bool().expand(2, 1, -1, -1))
    assert torch.equal(noised.positive, valid & ~case.tensor("dn_negative").bool())
    labels = noised.labels.masked_fill(~valid, -1)
    assert torch.equal(labels, case.tensor("dn_true_labels").long())
    assert noised.valid.all() and (noised.weight == 1 / case.tensor("dn_groups")).all()


def test_noise_follows_the_rules(original):
    """With the case's draws in place of random ones: sign and length of a shift are two draws there, here one."""
    case, model, _ = original
    new = (case.tensor("draw_new_label") + 0.5) / model.denoising.num_classes
    shift = (case.tensor("draw_sign") * 2 - 1) * case.tensor("draw_box")
    draws = torch.cat([torch.stack([case.tensor("draw_label"), new], 1), (shift + 1) / 2], 1)
    image, slot = case.tensor("flat_image").long(), case.tensor("flat_slot").long()
    single, room = len(case.tensor("draw_label")) // case.tensor("dn_groups").item() // 2, 4
    assert single == 7
    boxes = torch.stack([case.targets[i].boxes[s % room] for i, s in zip(image, slot, strict=True)])
    positive = ~case.tensor("flat_negative").bool()
    labels, noised = model.denoising.noise(case.tensor("flat_true_labels").long(), boxes, draws, positive)
    assert torch.equal(labels, case.tensor("flat_noised_labels").long())
    assert worst(noised, case.tensor("flat_noised_boxes")) < 1e-6
    assert noised[:, 2:].min() < 0  # corners of negatives cross


def check(case: GoldenCase, prediction) -> None:
    assert worst(prediction.logits, case.tensor("logits")) < TOLERANCE
    assert worst(prediction.boxes, case.tensor("boxes")) < TOLERANCE
    assert worst(prediction.denoised[0].logits, case.tensor("dn_logits")) < TOLERANCE
    assert worst(prediction.denoised[0].boxes, case.tensor("dn_boxes")) < TOLERANCE


def test_answers_losses_and_gradients(parts):
    """In double precision, for in single a ReLU at 0 may change sides."""
    case, model, table = parts
    model.double()
    sources = {name: case.tensor(name).double().requires_grad_() for name in ("src0", "src1")}
    targets = [target._replace(boxes=target.boxes.double()) for target in case.targets]
    features = {"res3": sources["src0"], "res4": sources["src1"]}
    prediction = model.detect(features, case.tensor("image_mask"), targets)
    check(case, prediction)
    losses, seen = model.criterion(prediction, targets), set()
    for name, loss in losses.items():
        weight = model.criterion.weights["_".join(name.split("_")[:2])]
        theirs = re.sub("loss_ce", "loss_class", name)
        seen.add(theirs)
        assert loss.item() / weight == pytest.approx(float(case.arrays[f"L_{theirs}"]), rel=1e-4), name
    assert seen == {key[2:] for key in case.arrays if key.startswith("L_loss")}
    sum(losses.values()).backward()
    for name, source in sources.items():
        largest = case.tensor(f"grad_{name}").abs().max()
        assert worst(source.grad, case.tensor(f"grad_{name}")) < 1e-4 * largest, name
    gradients, _ = table.to_theirs({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    for name, norm in case.meta["grad_norms"].items():
        assert gradients[name].norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6), name


@torch.no_grad()
@pytest.mark.parametrize("reading", ["eval", "masked_eval"])
def test_inference_in_both_readings_of_the_padding(original, reading):
    """detrex takes padding for image at inference, the official code does not."""
    case, model, _ = original
    padding = case.tensor("image_mask") & (reading == "masked_eval")
    prediction = model.eval().detect(inputs(case)[1], padding)
    model.train()
    assert prediction.denoised is None
    assert worst(prediction.logits[-1], case.tensor(f"{reading}_logits")) < TOLERANCE
    assert worst(prediction.boxes[-1], case.tensor(f"{reading}_boxes")) < TOLERANCE
