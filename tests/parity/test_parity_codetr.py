"""Co-DINO computes what the original Co-DETR computes: the detector, its auxiliary heads, the queries from their
samples, all losses and gradients."""

from copy import deepcopy

import pytest
import torch
from detectron2.config import LazyCall, instantiate
from test_parity_family import TOLERANCE, in_slots, inputs, shrink, worst
from torch import Tensor
from torchvision.ops import box_convert

from dab_detr.checkpoint import codetr
from dab_detr.checkpoint.formats import CO_DINO, to_ours
from dab_detr.detector import select
from dab_detr.losses.classification import QualityFocalLoss
from dab_detr.modeling.collaboration import scenes_of
from dab_detr.modeling.selection import TopPairs
from dab_detr.modeling.structures import Target
from dab_detr.models import dino
from golden_cases import load_case

SAMPLED = [0, 85, 170, 255]  # the stored channels of maps
# the original's anchors of a cell, in our order: scale by scale there, ratio by ratio here
ANCHORS = torch.arange(9).view(3, 3).T.flatten()
LOSSES = {
    "loss_rpn_class": "loss_rpn_cls",
    "loss_rpn_box": "loss_rpn_bbox",
    "loss_rcnn_class": "loss_cls0",
    "loss_rcnn_box": "loss_bbox0",
    "loss_atss_class": "loss_cls1",
    "loss_atss_box": "loss_bbox1",
    "loss_atss_centerness": "loss_centerness1",
}


def built(case):
    config = shrink(dino(shared_heads=False), levels=True)
    config.criterion.update(classification=LazyCall(QualityFocalLoss)(), eps=0.0)
    config.denoising.update(num_queries=8, groups_of_batch=True, see_padding=True)
    config.collaboration.update(heads=["rcnn", "atss"], as_original=True)
    config.collaboration.rcnn.update(
        hidden=128, anchor_size=2.0, num_anchors=64, num_regions=24, proposals=[100, 60], region_size=28
    )
    config.collaboration.atss.anchor_size = 2.0
    model = instantiate(config)
    converted, found, unknown = to_ours(case.state)
    assert found is CO_DINO and not unknown
    assert set(converted) == {key for key in model.state_dict() if not key.startswith("backbone.")}
    model.load_state_dict(converted, strict=False)
    return model


@pytest.fixture(scope="module")
def original() -> tuple:
    """The case and our model with its weights."""
    case = load_case("codetr_dino")
    return case, built(case)


def targets_of(case) -> list[Target]:
    targets = []
    for i, (height, width) in enumerate(case.arrays["image_sizes"].tolist()):
        boxes = case.tensor(f"gt_xyxy{i}").double() / torch.tensor([width, height, width, height])
        targets.append(Target(case.tensor(f"labels{i}"), box_convert(boxes, "xyxy", "cxcywh")))
    return targets


def image_of(case, scene) -> int:
    return case.arrays["image_sizes"].tolist().index(list(scene.size))


def our_anchors(index: Tensor) -> Tensor:
    """The index of each of their anchors among ours."""
    return index // 9 * 9 + ANCHORS.argsort()[index % 9]


@pytest.fixture(scope="module")
def parts(original) -> tuple:
    """The case, and the model in double precision with the case's random choices in place of ours."""
    case, model = original[0], deepcopy(original[1]).double()
    order = in_slots(case)
    slots = case.tensor("flat_image").long()[order], case.tensor("flat_slot").long()[order]
    noise = case.tensor("dn_in_labels").long()[slots], case.tensor("dn_in_boxes").double()[slots]
    model.denoising.noise = lambda *_: noise
    regions = model.collaboration.heads["rcnn"]
    regions.sample_anchors = lambda _, scene: our_anchors(
        torch.cat([case.tensor(f"rpn_{kind}{image_of(case, scene)}") for kind in ("pos", "neg")])
    )
    regions.sample_regions = lambda _, scene: case.tensor(f"roi_source{image_of(case, scene)}")
    model.collaboration.chosen = lambda samples, _: list(case.tensor(f"aux{head_of(samples)}_index"))
    return case, model


def head_of(samples) -> int:
    """0 for the sampled regions, 1 for all anchors."""
    return int(len(samples[0].objects) == 256)


@pytest.fixture(scope="module")
def seen(parts) -> tuple:
    """What the heads see and answer: for each image its scene, maps and which of their cells are image."""
    case, model = parts
    features = {name: x.double() for name, x in inputs(case)[1].items()}
    with torch.no_grad():
        memory = model.encoder(model.neck(features, case.tensor("image_mask")))
        scenes = scenes_of(case.tensor("image_mask"), targets_of(case))
        return scenes, [model.collaboration.view(memory, [i], scenes) for i in range(len(scenes))]


@torch.no_grad()
def test_maps_of_the_heads(parts, seen):
    case, _ = parts
    for i, (maps, inside) in enumerate(seen[1]):
        assert len(maps) == 4
        for level, x in enumerate(maps):
            assert worst(x[0, SAMPLED], case.tensor(f"enc_map{level}_sample")[i]) < TOLERANCE
        assert torch.equal(torch.cat([x.flatten() for x in inside]), case.tensor("atss_valid")[i])


@torch.no_grad()
def test_the_region_proposal_network(parts, seen):
    """Answers and proposals of all anchors, those in the padding too."""
    case, model = parts
    head, order = model.collaboration.heads["rcnn"], our_anchors(torch.arange(2304))
    for i, (scene, (maps, inside)) in enumerate(zip(*seen, strict=True)):
        logits, deltas, anchors = head.answers(maps)
        assert torch.equal(torch.cat(anchors)[order].float(), case.tensor("rpn_anchors"))
        assert worst(torch.cat(logits, 1)[0, order], case.tensor("rpn_cls")[i]) < TOLERANCE
        assert worst(torch.cat(deltas, 1)[0, order], case.tensor("rpn_reg")[i]) < TOLERANCE
        objects = head.assigned(torch.cat(anchors), [x[0] for x in inside], scene)
        assert torch.equal(objects[order], case.tensor("rpn_assigned")[i].long())
        (proposals,) = head.propose(logits, deltas, anchors, [scene])
        assert worst(proposals, case.tensor(f"proposals{i}")[:, :4]) < 1e-3


@torch.no_grad()
def test_regions(parts, seen):
    case, model = parts
    for i, (scene, view) in enumerate(zip(*seen, strict=True)):
        (samples,) = model.collaboration.heads["rcnn"](*view, [scene])
        assert worst(samples.boxes, case.tensor(f"roi_boxes{i}")) < 1e-3
        positive = case.arrays["roi_num_pos"][i]
        assert torch.equal(samples.objects[:positive], case.tensor(f"roi_gt{i}"))
        assert (samples.objects[positive:] < 0).all()
        features = samples.features[case.tensor("aux0_index")[i]]
        assert worst(features[:, SAMPLED], case.tensor("aux0_feats_sample")[i]) < TOLERANCE


@torch.no_grad()
def test_atss(parts, seen):
    case, model = parts
    head = model.collaboration.heads["atss"]
    for i, (scene, (maps, inside)) in enumerate(zip(*seen, strict=True)):
        for theirs, ours in zip(("cls", "reg", "centerness"), zip(*head.answers(maps), strict=True), strict=True):
            assert worst(torch.cat(ours, 1)[0].squeeze(-1), case.tensor(f"atss_{theirs}")[i]) < TOLERANCE, theirs
        (samples,) = head(maps, inside, [scene])
        assert torch.equal(samples.objects, case.tensor("atss_assigned")[i].long())
        features = samples.features[case.tensor("aux1_index")[i]]
        assert worst(features[:, SAMPLED], case.tensor("aux1_feats_sample")[i]) < TOLERANCE


@torch.no_grad()
def test_queries_from_samples(parts, seen):
    case, model = parts
    part, (scenes, views) = model.collaboration, seen
    for i, (head, encoding) in enumerate(zip(part.heads.values(), part.encodings.values(), strict=True)):
        samples = [head(*view, [scene])[0] for view, scene in zip(views, scenes, strict=True)]
        queries = part.queries(samples, scenes, targets_of(case), encoding)
        truth, labels = queries.noised, case.tensor(f"aux{i}_labels")
        assert worst(queries.content, case.tensor(f"aux{i}_query")) < TOLERANCE
        assert worst(queries.anchors, case.tensor(f"aux{i}_coords")) < TOLERANCE
        assert not queries.blocked.any() and truth.valid.all()
        assert torch.equal(truth.positive, labels < 7)
        assert torch.equal(truth.positive, case.tensor(f"aux{i}_bbox_weights") > 0)
        assert torch.equal(truth.labels[truth.positive], labels[labels < 7])
        assert worst(truth.boxes[truth.positive], case.tensor(f"aux{i}_targets")[truth.positive]) < 1e-6


def test_images_are_filled_up_as_in_the_original(original, seen):
    """All positive samples and random negative ones, where the case's are not put in their place."""
    case, model = original
    part, (scenes, views) = model.collaboration, seen
    views = [([x.float() for x in maps], inside) for maps, inside in views]
    scenes = [scene._replace(boxes=scene.boxes.float()) for scene in scenes]
    samples = [part.heads["atss"](*view, [scene])[0] for view, scene in zip(views, scenes, strict=True)]
    for i, (x, index) in enumerate(zip(samples, part.chosen(samples, scenes), strict=True)):
        theirs, positive = case.tensor("aux1_index")[i], case.arrays["aux1_num_pos"][i]
        assert len(index) == len(theirs) and len(set(index.tolist())) == len(index)
        assert torch.equal(index[:positive].sort().values, theirs[:positive].sort().values)
        assert (x.objects[index[positive:]] < 0).all()


@torch.no_grad()
def test_denoising_queries(parts):
    """Slots, mask and what the decoder starts from."""
    case, model = parts
    features = {name: x.double() for name, x in inputs(case)[1].items()}
    memory = model.encoder(model.neck(features, case.tensor("image_mask")))
    queries = model.denoising(model.queries(memory), targets_of(case))
    valid = case.tensor("dn_valid")
    assert worst(queries.content, case.tensor("dec_tgt")) < TOLERANCE
    assert worst(queries.anchors, case.tensor("dec_reference")) < TOLERANCE
    assert torch.equal(queries.blocked, case.tensor("attn_mask").expand(2, 1, -1, -1))
    assert torch.equal(queries.noised.positive, valid & ~case.tensor("dn_negative"))
    assert torch.equal(queries.noised.labels.masked_fill(~valid, -1), case.tensor("dn_true_labels"))


def test_answers_losses_and_gradients(parts):
    """In double precision, for in single a ReLU at 0 may change sides."""
    case, model = parts
    sources = {name: case.tensor(name).double().requires_grad_() for name in ("src0", "src1")}
    features, targets = {"res3": sources["src0"], "res4": sources["src1"]}, targets_of(case)
    prediction = model.detect(features, case.tensor("image_mask"), targets)
    answers = {"": prediction, "dn_": prediction.denoised[0]}
    answers |= {f"aux{i}_": head.positives[0] for i, head in enumerate(prediction.heads)}
    for part, answer in answers.items():
        assert worst(answer.logits, case.tensor(f"{part}logits")) < TOLERANCE, part
        assert worst(answer.boxes, case.tensor(f"{part}boxes")) < TOLERANCE, part
    assert worst(prediction.proposals.logits[0], case.tensor("enc_logits")) < TOLERANCE
    assert worst(prediction.proposals.boxes[0], case.tensor("enc_boxes")) < TOLERANCE
    losses = model.criterion(prediction, targets)
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(float(case.arrays[f"L_{name_of_loss(name)}"]), rel=1e-4), name
    assert {name_of_loss(name) for name in losses} == {key[2:] for key in case.arrays if key.startswith("L_")} - {
        "acc0",
        "loss",
    }
    total = sum(losses.values())
    assert total.item() == pytest.approx(float(case.arrays["total"]), rel=1e-4)
    total.backward()
    for name, source in sources.items():
        largest = case.tensor(f"grad_{name}").abs().max()
        assert worst(source.grad, case.tensor(f"grad_{name}")) < 1e-4 * largest, name
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    gradients, _ = codetr.table_of_theirs(case.state).to_theirs(codetr.completed(gradients))
    for name, norm in case.meta["grad_norms"].items():
        assert gradients[name].norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6), name


@torch.no_grad()
def test_inference(original):
    """Without a trace of the heads: logits, boxes, and detections in pixels."""
    case, model = original
    prediction = model.eval().detect(inputs(case)[1], case.tensor("image_mask"))
    model.train()
    assert prediction.denoised is None and not prediction.heads
    assert worst(prediction.logits[-1], case.tensor("eval_logits")) < TOLERANCE
    assert worst(prediction.boxes[-1], case.tensor("eval_boxes")) < TOLERANCE
    boxes, scores, labels, _ = select(TopPairs(num_select=20), prediction, case.tensor("image_sizes"))
    for i in range(2):
        theirs = case.tensor(f"det_boxes{i}")
        assert worst(scores[i], theirs[:, 4]) < TOLERANCE
        limits = case.tensor("image_sizes")[i].flip(0).repeat(2)
        assert worst(torch.minimum(boxes[i].relu(), limits), theirs[:, :4]) < 3e-3
        assert torch.equal(labels[i], case.tensor(f"det_labels{i}"))


def name_of_loss(name: str) -> str:
    """Theirs for the name of one of our losses."""
    if name in LOSSES:
        return LOSSES[name]
    _, kind, *rest = name.split("_")
    kind = {"ce": "cls", "giou": "iou"}.get(kind, kind)
    layer = f"d{rest.pop()}." if rest and rest[-1].isdigit() else ""
    part = rest[0] if rest else ""
    before = {"enc": "enc_", "dn": "dn_"}.get(part, "")
    return layer + before + f"loss_{kind}" + {"rcnn": "_aux0", "atss": "_aux1"}.get(part, "")
