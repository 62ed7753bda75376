"""The published models have the published size and cost."""

from dataclasses import dataclass

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from dab_detr.modeling.attention import Attention
from dab_detr.modeling.transformer import DetachedAnchors, FixedAnchors, RefinedAnchors
from dab_detr.models import (
    MODELS,
    anchor_detr,
    conditional_detr,
    dab_deformable_detr,
    dab_detr,
    deformable_detr,
    detr,
    dino,
)
from tiny import shrink

R101 = 42_394_816 - 23_454_912  # how many more parameters its backbone has


def build(member=dab_detr, *, overrides: dict | None = None, **options) -> torch.nn.Module:
    """The model with the original's 91 classes on the meta device: shapes and counts without arithmetic."""
    config = member(**options)
    config.num_classes = 91
    for key, value in (overrides or {}).items():
        OmegaConf.update(config, key, value)
    with torch.device("meta"):
        return instantiate(config).eval()


def count(model: torch.nn.Module, trainable: bool = False) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


@pytest.mark.parametrize(
    ("options", "parameters", "millions"),
    [
        ({}, 43_671_517, 44),
        ({"num_patterns": 3}, 43_671_517 + 3 * 256, 44),
        ({"dilated": True}, 43_671_517, 44),
        ({"dilated": True, "num_patterns": 3}, 43_671_517 + 3 * 256, 44),
        ({"depth": 101}, 43_671_517 + R101, 63),
        ({"depth": 101, "num_patterns": 3}, 43_671_517 + R101 + 3 * 256, 63),
        ({"depth": 101, "dilated": True}, 43_671_517 + R101, 63),
        ({"fixed_xy": True}, 43_671_517 - 300 * 2, 44),
    ],
)
def test_parameters(options, parameters, millions):
    """Table 2 of the paper, and to the last one what the original's code has; fixed centres are no parameters."""
    model = build(**options)
    assert count(model) == parameters
    assert round(count(model) / 1e6) == millions


def test_frozen_parameters():
    """Stem and first stage are frozen, as in the original."""
    assert count(build(), trainable=True) == 43_449_117


HEADS = 256 * 91 + 91 + 2 * (256 * 256 + 256) + 256 * 4 + 4  # one class head and one box head


@pytest.mark.parametrize(
    ("member", "options", "parameters"),
    [
        (detr, {}, 41_524_768),
        (detr, {"depth": 101}, 60_464_672),
        (conditional_detr, {}, 43_418_401),
        (conditional_detr, {"depth": 101}, 62_358_305),
        (anchor_detr, {}, 37_038_711),
        (anchor_detr, {"depth": 101}, 55_978_615),
        (deformable_detr, {}, 40_069_665),
        (deformable_detr, {"refine": True}, 40_849_660),
        (deformable_detr, {"two_stage": True}, 41_181_529),
        (dab_deformable_detr, {}, 47_405_994),
        (dino, {}, 46_893_182 - 256),  # without the last row of the original's label table, which nothing reads
        (dino, {"five_scale": True}, 47_255_806 - 256),
    ],
)
def test_parameters_of_the_family(member, options, parameters):
    """To the last one what the originals' code has."""
    assert count(build(member, **options)) == parameters


@pytest.mark.parametrize(
    ("member", "options", "overrides", "more"),
    [
        (dab_deformable_detr, {"refine": False}, {}, -5 * HEADS),  # one class head and one box head for all layers
        (dab_deformable_detr, {"num_patterns": 3}, {}, 3 * 256),
        (dab_deformable_detr, {"fixed_xy": True}, {}, -300 * 2),
        (dab_deformable_detr, {}, {"denoising.groups": 5}, 92 * 255),
        (dab_deformable_detr, {}, {"denoising.groups": 5, "queries.dim": 255}, 92 * 255 - 300),
        # no query has an anchor or content of its own; the encoder has heads, and a transform with its norm
        (dab_deformable_detr, {"two_stage": True}, {}, HEADS + 256 * 256 + 3 * 256 - 300 * (256 + 4)),
        (dab_detr, {}, {"denoising.groups": 5}, 92 * 255),
        (dab_detr, {}, {"decoder.refinement._target_": "dab_detr.FixedAnchors"}, 0),
        (dab_detr, {}, {"decoder.box_heads.shared": False}, 5 * (HEADS - 256 * 91 - 91)),
    ],
)
def test_parameters_of_ablations(member, options, overrides, more):
    assert count(build(member, overrides=overrides, **options)) - count(build(member)) == more


@pytest.mark.parametrize(
    ("member", "options", "refinement", "heads"),
    [
        (dab_detr, {}, RefinedAnchors, 1),
        (detr, {}, FixedAnchors, 1),
        (conditional_detr, {}, FixedAnchors, 1),
        (anchor_detr, {}, FixedAnchors, 1),
        (deformable_detr, {}, FixedAnchors, 1),
        (deformable_detr, {"refine": True}, DetachedAnchors, 6),
        (deformable_detr, {"two_stage": True}, DetachedAnchors, 6),
        (deformable_detr, {"mixed": True}, RefinedAnchors, 6),
        (dab_deformable_detr, {}, DetachedAnchors, 6),
        (dab_deformable_detr, {"refine": False}, FixedAnchors, 1),
        (dab_deformable_detr, {"two_stage": True}, DetachedAnchors, 6),
    ],
)
def test_refinement(member, options, refinement, heads):
    decoder = build(member, **options).decoder
    assert type(decoder.refinement) is refinement
    assert len(decoder.class_heads) == len(decoder.box_heads) == heads


@dataclass(frozen=True)
class Published:
    """Numbers of a member's original code that no count of parameters shows; most have those of DAB-DETR."""

    weight_class: float = 1.0
    cost_class: float = 2.0
    giou_eps: float = 1e-6
    eps: float = 1e-3
    num_select: int | None = 300
    dropout: float = 0.0
    activation: type = torch.nn.ReLU
    temperature: float = 10000.0
    offset: float = 0.0


RELATIVE = {"weight_class": 2.0, "giou_eps": 0.0, "eps": 1e-5, "num_select": 100}
HYPER_PARAMETERS = [
    (dab_detr, {}, Published(activation=torch.nn.PReLU, temperature=20.0)),
    (dab_deformable_detr, {}, Published(offset=-0.5)),
    (dab_deformable_detr, {"two_stage": True}, Published(offset=-0.5)),
    (detr, {}, Published(**RELATIVE | {"weight_class": 1.0, "cost_class": 1.0, "num_select": None}, dropout=0.1)),
    (conditional_detr, {}, Published(**RELATIVE, dropout=0.1)),
    (anchor_detr, {}, Published(**RELATIVE, offset=None)),
    (deformable_detr, {}, Published(**RELATIVE, dropout=0.1, offset=-0.5)),
    (deformable_detr, {"two_stage": True}, Published(**RELATIVE, dropout=0.1, offset=-0.5)),
    (deformable_detr, {"mixed": True}, Published(**RELATIVE, offset=-0.5)),
]


@pytest.mark.parametrize(("member", "options", "published"), HYPER_PARAMETERS)
def test_hyper_parameters(member, options, published):
    model = build(member, **options)
    criterion, matcher = model.criterion, model.criterion.matcher
    layers = [*model.encoder.layers, *model.decoder.layers]
    assert criterion.weights == {"loss_ce": published.weight_class, "loss_bbox": 5.0, "loss_giou": 2.0}
    assert (matcher.cost_class, matcher.cost_bbox, matcher.cost_giou) == (published.cost_class, 5.0, 2.0)
    assert criterion.eps == matcher.eps == published.giou_eps
    assert type(matcher.classification) is type(criterion.classification)
    assert criterion.auxiliary and model.decoder.eps == published.eps
    assert criterion.class_agnostic == (member is deformable_detr and bool(options.keys() & {"two_stage", "mixed"}))
    assert getattr(model.selection, "num_select", None) == published.num_select
    assert {type(layer.ffn.activation) for layer in layers} == {published.activation}
    dropouts = {layer.dropout.p for layer in layers} | {layer.ffn.dropout.p for layer in layers}
    dropouts |= {part.dropout for part in model.modules() if isinstance(part, Attention)}
    assert dropouts == {published.dropout}
    # from the node, for on the meta device a buffer has no values
    position = OmegaConf.to_container(member(**options).neck.position, resolve=False)
    assert position.get("offset") == published.offset
    temperatures = {position[key] for key in ("temperature", "temperature_x", "temperature_y") if key in position}
    assert temperatures == {published.temperature}


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_config_builds_the_same_model(name, tmp_path):
    """Every builder is found again by its name."""
    config = shrink(MODELS[name]())
    LazyConfig.save(config, str(tmp_path / "config.yaml"))
    again = LazyConfig.load(str(tmp_path / "config.yaml"))
    with torch.device("meta"):
        ours, theirs = instantiate(config), instantiate(again)
    assert str(ours) == str(theirs)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}


def initial(member, **options) -> dict[str, torch.Tensor]:
    return instantiate(shrink(member(**options))).state_dict()


@pytest.mark.parametrize(
    ("member", "options", "sizes"),
    [
        (dab_detr, {}, [0.0]),
        (conditional_detr, {}, [0.0]),
        (anchor_detr, {}, [-2.0]),
        (deformable_detr, {}, [-2.0]),
        (deformable_detr, {"refine": True}, [-2.0, 0.0]),  # the first layer starts from a point, the others from boxes
        (deformable_detr, {"two_stage": True}, [0.0, 0.0]),
        (dab_deformable_detr, {}, [-2.0, 0.0]),
        (dab_deformable_detr, {"two_stage": True}, [0.0, 0.0]),
    ],
)
def test_boxes_start_from_their_anchors(member, options, sizes):
    """Width and height, where an anchor has none, from an eighth of the image."""
    state = initial(member, **options)
    for layer, size in enumerate(sizes):
        assert (state[f"decoder.box_heads.{layer}.4.weight"] == 0).all()
        assert state[f"decoder.box_heads.{layer}.4.bias"].tolist() == [0.0, 0.0, size, size]


def test_detr_starts_from_boxes_of_its_own():
    """It has neither anchors nor a prior for its classes."""
    state = initial(detr)
    assert (state["decoder.box_heads.0.4.weight"] != 0).any()
    assert state["decoder.class_heads.0.bias"].abs().max() < 0.2


def test_points_of_deformable_detr_start_without_a_bias():
    assert (initial(deformable_detr)["queries.point_head.0.bias"] == 0).all()


def test_anchor_detr_starts_from_pytorchs_initialisation():
    """But for the projections into attention. Xavier's bound of these matrices is larger."""
    state = initial(anchor_detr)
    for layers in ("encoder.layers.0", "decoder.layers.1"):
        for name in ("ffn.linear1", "ffn.linear2"):
            weight = state[f"{layers}.{name}.weight"]
            assert weight.abs().max().item() <= weight.shape[1] ** -0.5
    weight = state["encoder.layers.0.attention.value.weight"]
    assert weight.abs().max().item() == pytest.approx((6 / (6 * weight.shape[1])) ** 0.5, rel=0.05)


@pytest.mark.parametrize("member", [deformable_detr, dab_deformable_detr])
def test_deformable_attentions_start_from_their_directions(member):
    """After the xavier of everything else."""
    state = initial(member)
    offsets = [name for name in state if name.endswith(".offsets.weight")]
    assert len(offsets) == 3
    for name in offsets:
        assert (state[name] == 0).all() and (state[name.replace("weight", "bias")] != 0).any()


@pytest.mark.parametrize(("size", "gmac"), [((800, 1066), 86.6), ((800, 1333), 107.5)])
def test_cost(size, gmac):
    model = build()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features = model.backbone(torch.zeros(1, 3, *size, device="meta"))
        model.detect(features, torch.zeros(1, *size, dtype=torch.bool, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=5e-3)


def test_cost_is_counted_on_cpu_too():
    """torch's counter passes over the fused attention of the CPU unless told its cost."""
    config = dab_detr()
    config.backbone.width, config.neck.in_channels = 4, 128
    model = instantiate(config).eval()
    costs = []
    for device in ("cpu", "meta"):
        features = {"res5": torch.zeros(1, 128, 20, 20, device=device)}
        padding = torch.zeros(1, 640, 640, dtype=torch.bool, device=device)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.to(device).detect(features, padding)
        costs.append(counter.get_total_flops())
    assert costs[0] == costs[1]
