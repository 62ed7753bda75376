"""Weights of other code load into a model with their settings; any other model stops with the overrides that fit."""

import logging
import re

import pytest
import torch
from detectron2.config import LazyCall, instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from dab_detr.checkpoint import codetr, detrex, original_deformable
from dab_detr.checkpoint.blocks import torchvision_resnet
from dab_detr.checkpoint.checkpointer import CheckpointError, DABDETRCheckpointer
from dab_detr.checkpoint.conversion import for_inference
from dab_detr.checkpoint.fitting import Fit
from dab_detr.checkpoint.rename import RenameTable
from dab_detr.checkpoint.report import Fate
from dab_detr.checkpoint.writing import WRITER
from dab_detr.models import dab_deformable_detr, deformable_detr, dino
from dab_detr.overrides import apply_overrides
from tiny import shrink, tell_apart

K = 3
OF_DETREX = {"shared_heads": False, "temperature": 10000.0, "offset": -0.5}


def with_heads(node):
    node.collaboration.heads = ["rcnn", "atss"]
    node.collaboration.rcnn.hidden = 16
    return node


def co_dino(**options):
    node = with_heads(dino(shared_heads=False, **options))
    node.selection.update(num_select=900, soft_nms=0.8, num_keep=300)
    return node


def co_deformable():
    return with_heads(deformable_detr(mixed=True))


def to_codetr(state: dict[str, Tensor]) -> dict[str, Tensor]:
    maps = sum(x.shape[2:] == (1, 1) for key, x in state.items() if key.startswith("neck.projections."))
    rules = [
        *torchvision_resnet("backbone.", "backbone."),
        *codetr.detector(2, maps),
        *codetr.auxiliary_heads(["rcnn", "atss"]),
    ]
    return RenameTable(rules).to_theirs(codetr.completed(state))[0]


def to_co_deformable(state: dict[str, Tensor]) -> dict[str, Tensor]:
    content = ("query_head.transformer.query_embed.weight", "query_head.query_embedding.weight")
    return {key.replace(*content): x for key, x in to_codetr(state).items()}


def to_original(state: dict[str, Tensor]) -> dict[str, Tensor]:
    table = original_deformable.dino_table(num_layers=2, shared={"class": True, "bbox": True})
    return table.to_theirs(state)[0]


def to_detrex(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return detrex.table_of_ours(state).to_theirs(state)[0]


FAMILIES = {
    "the original DINO": (dino, to_original),
    "detrex' DINO": (lambda: dino(**OF_DETREX), to_detrex),
    "detrex' DAB-Deformable-DETR": (dab_deformable_detr, to_detrex),
    "Co-DETR (Co-DINO)": (co_dino, to_codetr),
    "Co-DETR (Co-Deformable-DETR)": (co_deformable, to_co_deformable),
}


def small(node, *overrides: str, num_classes: int = K):
    """The node of a small model."""
    node = shrink(node)
    node.num_classes = num_classes
    wrapped = OmegaConf.create({"model": node}, flags={"allow_objects": True})
    apply_overrides(wrapped, list(overrides))
    return wrapped.model


@pytest.fixture(scope="module", params=FAMILIES)
def family(request) -> tuple:
    """The name of a family, how its model is built, that model's weights, and the same under its own names."""
    build, renamed = FAMILIES[request.param]
    with torch.no_grad():
        state = dict(tell_apart(instantiate(small(build()))).state_dict())
    return request.param, build, state, renamed(state)


def load(model: nn.Module, weights: dict, *, strict: bool = True, **options) -> DABDETRCheckpointer:
    partial = options.pop("partial", False)
    checkpointer = DABDETRCheckpointer(model, strict=strict, partial=partial)
    checkpointer.load_content({"model": weights, **options}, "theirs.pth")
    return checkpointer


def test_a_model_with_their_settings_gets_every_tensor(family, caplog):
    name, build, state, theirs = family
    model = instantiate(small(build()))
    with caplog.at_level(logging.WARNING):
        checkpointer = load(model, theirs)
    assert all(torch.equal(model.state_dict()[key], x) for key, x in state.items()), name
    assert {x.fate for x in checkpointer.report.entries} == {Fate.KEPT}
    assert not caplog.records


SETTINGS = {
    "position": ("model.neck.position.temperature_x=50", "model.neck.position.offset=0.25"),
    "one axis": ("model.neck.position.temperature_y=50",),
    "epsilon": ("model.decoder.eps=0.01",),
    "class heads": ("model.decoder.class_heads.shared=${not}",),
    "box heads": ("model.decoder.box_heads.shared=${not}",),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_overrides_in_the_message_make_the_model_fit(setting, family):
    name, build, state, theirs = family
    if setting == "epsilon" and "DAB" in name:
        return  # its epsilon is the same in every code
    shared = "decoder.class_heads.1.weight" not in state
    changed = [x.replace("${not}", str(not shared)) for x in SETTINGS[setting]]
    with pytest.raises(CheckpointError) as error:
        load(instantiate(small(build(), *changed)), theirs)
    message = str(error.value)
    assert "\n" not in message and f"the weights of {name} need model." in message
    overrides = re.findall(r"model\.[\w.]+=[\w.-]+", message)
    assert [x.partition("=")[0] for x in overrides] == [x.partition("=")[0] for x in changed]
    load(instantiate(small(build(), *changed, *overrides)), theirs)


def test_weights_that_were_trained_otherwise_have_a_way_in(family):
    """They load under this project's names, as the message says, after our conversion to their names, and in part."""
    _, build, state, theirs = family
    other = small(build(), *SETTINGS["position"])
    ours, written = load(instantiate(other), state), load(instantiate(other), theirs, **{WRITER: True})
    partly = load(instantiate(other), theirs, strict=False, partial=True)
    assert all({x.fate for x in loaded.report.entries} == {Fate.KEPT} for loaded in (ours, written, partly))


def test_other_classes_are_no_other_family(family):
    """A fine-tuning starts from all but the rows of the classes, in the auxiliary heads too."""
    name, build, _, theirs = family
    checkpointer = load(instantiate(small(build(), num_classes=5)), theirs, strict=False)
    others = {x.name.rpartition(".")[0] for x in checkpointer.report.of(Fate.NO_CLASSES)}
    found = {x.split(".", 3)[3] for x in others if x.startswith("collaboration.")}
    assert found == ({"classes", "predictor.cls_score", "predictor.bbox_pred"} if "Co-" in name else set())


def test_heads_that_the_model_does_not_have_are_said_to_be_for_training(family):
    """And weights without them evaluate in a model that has them; only a training would miss them."""
    name, build, state, theirs = family
    model = instantiate(small(build(), "model.collaboration.heads=[]"))
    report = load(model, theirs).report
    assert [x.name for x in report.of(Fate.TRAINING_ONLY)] == [x for x in state if x.startswith("collaboration.")]
    assert all(torch.equal(model.state_dict()[key], x) for key, x in for_inference(state).items())
    if "Co-" in name:
        assert "left out: auxiliary heads for training that the model does not have" in str(report)
        load(instantiate(small(build())), for_inference(state))
        with pytest.raises(CheckpointError, match="start from scratch: the checkpoint has none"):
            load(instantiate(small(build())), for_inference(state), strict=False)


def test_another_number_of_levels_is_named():
    theirs = to_original(instantiate(small(dino())).state_dict())
    with pytest.raises(CheckpointError, match=r"need model\.neck\.num_levels=4 with maps of \[.*\] channels \(now 5\)"):
        load(instantiate(small(dino(five_scale=True))), theirs)


def test_a_model_of_one_layer_is_not_told_to_share_heads():
    theirs = to_original(instantiate(small(dino())).state_dict())
    with pytest.raises(CheckpointError, match=r"the first key to look at"):
        load(instantiate(small(dino(shared_heads=False), "model.decoder.layers.num_layers=1")), theirs)


def test_the_number_of_queries_may_differ(family):
    """That is for the report to say, not for the family."""
    _, build, _, theirs = family
    model = instantiate(small(build(), "model.queries.num_queries=5"))
    with pytest.raises(CheckpointError, match="as far as both have queries"):
        load(model, theirs, strict=False)
    load(model, theirs, strict=False, partial=True)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("layers.0.blocks.0.attn.relative_position_bias_table", "Swin Transformer"),
        ("blocks.0.attn.qkv.weight", "ViT"),
        ("net.pos_embed", "ViT"),
    ],
)
def test_a_backbone_that_the_model_does_not_have_is_named(key, kind):
    theirs = to_codetr(instantiate(small(co_dino())).state_dict())
    theirs = {name: x for name, x in theirs.items() if not name.startswith("backbone.")}
    with pytest.raises(CheckpointError, match=f"have its authors' own {kind} as backbone, and the model has a ResNet"):
        load(instantiate(small(co_dino())), theirs | {f"backbone.{key}": torch.zeros(2, 2)})


def test_an_evaluation_without_their_selection_gets_a_warning(caplog):
    theirs = to_codetr(instantiate(small(co_dino())).state_dict())
    plain = small(with_heads(dino(shared_heads=False)))
    with caplog.at_level(logging.WARNING):
        load(instantiate(plain), theirs, strict=False)
        assert not caplog.records
        load(instantiate(plain), theirs)
    assert "The published AP of Co-DETR (Co-DINO) was measured with model.selection.soft_nms=0.8" in caplog.text


class PlainMap(nn.Module):
    """A position map of a user, with a temperature for everything."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim, self.temperature = dim, 50.0

    def forward(self, padding: Tensor) -> Tensor:
        return padding[..., None].expand(*padding.shape, self.dim).float()

    encode = None


def test_a_part_without_the_setting_passes():
    theirs = to_original(instantiate(small(dino())).state_dict())
    node = small(dino())
    node.neck.position = LazyCall(PlainMap)(dim=32)
    assert not load(instantiate(node), theirs).report.of(Fate.MISSING)


def test_a_file_of_mmdetection_3_has_another_place_for_labels(tmp_path):
    theirs = to_codetr(instantiate(small(co_dino())).state_dict())
    labels = theirs.pop("query_head.label_embedding.weight")
    theirs |= {"query_head.dn_generator.label_embedding.weight": labels}
    torch.save({"meta": {"epoch": 12, "CLASSES": ("a", "b", "c")}, "state_dict": theirs}, tmp_path / "theirs.pth")
    model = instantiate(small(co_dino()))
    DABDETRCheckpointer(model, strict=True).load(str(tmp_path / "theirs.pth"))
    assert torch.equal(model.denoising.labels, labels)


def test_convolutions_without_a_bias_get_zeros():
    theirs = to_codetr(instantiate(small(co_dino())).state_dict())
    model = instantiate(small(co_dino()))
    load(model, {key: x for key, x in theirs.items() if not re.fullmatch(r"neck\..*conv\.bias", key)})
    assert all(not conv.bias.any() for conv, _ in model.neck.projections)


def test_one_head_of_two_is_loaded():
    """The model has only the ATSS head. The weights have two, or only this one, which is then the first."""
    state = instantiate(small(co_dino())).state_dict()
    theirs = to_codetr(state)
    alone = {key: x for key, x in theirs.items() if not re.search(r"^roi_head|^rpn_head|(trans|norm)\.0\.\w+$", key)}
    alone = {re.sub(r"(aux_pos_trans(_norm)?)\.1", r"\1.0", key): x for key, x in alone.items()}
    for weights in (theirs, alone):
        model = instantiate(small(co_dino(), "model.collaboration.heads=[atss]"))
        report = load(model, weights, strict=False).report
        assert not report.of(Fate.MISSING)
        assert all(torch.equal(x, state[key]) for key, x in model.state_dict().items())


def test_further_heads_of_theirs_are_for_training():
    theirs = to_codetr(instantiate(small(co_dino())).state_dict())
    further = ["roi_head.0.mask_head.convs.0.weight", "bbox_head.1.atss_cls.weight", "mask_head.x.weight"]
    further.append("query_head.transformer.aux_pos_trans.2.weight")
    report = load(instantiate(small(co_dino())), theirs | {key: torch.ones(1) for key in further}).report
    assert len(report.of(Fate.TRAINING_ONLY)) == 4


def test_rows_of_shared_classes_of_auxiliary_heads_are_kept_by_name():
    theirs, model = (dict(instantiate(small(with_heads(dino()), num_classes=n)).state_dict()) for n in (3, 2))
    fitted, _ = Fit(2, ["b", "x"])(theirs, model, ["a", "b", "c"])
    region, dense = "collaboration.heads.rcnn.predictor", "collaboration.heads.atss.classes.weight"
    assert torch.equal(fitted[dense][0], theirs[dense][1]) and torch.equal(fitted[dense][1], model[dense][1])
    scores, boxes = f"{region}.cls_score.weight", f"{region}.bbox_pred.weight"
    assert torch.equal(fitted[scores], torch.stack([theirs[scores][1], model[scores][1], theirs[scores][3]]))
    assert torch.equal(fitted[boxes], torch.cat([theirs[boxes][4:8], model[boxes][4:]]))
