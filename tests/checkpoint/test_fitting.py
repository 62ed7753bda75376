"""What of a checkpoint a model keeps, and what is refused."""

import pytest
import torch
from detectron2.config import instantiate

from dab_detr.checkpoint.classes import COCO_OUTPUTS
from dab_detr.checkpoint.fitting import Fit
from dab_detr.checkpoint.report import Fate
from dab_detr.models import dab_deformable_detr, dab_detr, detr
from tiny import shrink

NAMES = ["person", "platelets", "traffic light"]


def state(build=dab_detr, num_classes=91, **queries):
    node = shrink(build())
    node.num_classes = num_classes
    if queries.pop("denoising", False):
        node.denoising.groups = 2
    node.queries.update(queries)
    return dict(instantiate(node).state_dict())


def fates(report) -> dict[str, Fate]:
    return {x.name: x.fate for x in report.entries}


def test_the_same_model():
    theirs = state()
    fitted, report = Fit(91, strict=True)(theirs, state())
    assert set(fates(report).values()) == {Fate.KEPT}
    assert all(torch.equal(fitted[name], theirs[name]) for name in theirs)
    assert str(report) == f"{len(theirs)} tensors kept as they are"


@pytest.mark.parametrize("names", [None, COCO_OUTPUTS[80]])
def test_91_classes_become_80(names):
    theirs = state()
    fitted, report = Fit(80, names, strict=True)(theirs, state(num_classes=80))
    head = "decoder.class_heads.0.weight"
    assert torch.equal(fitted[head][0], theirs[head][1]) and torch.equal(fitted[head][79], theirs[head][90])
    assert {x.name for x in report.of(Fate.CLASSES)} == {head, "decoder.class_heads.0.bias"}
    assert "decoder.class_heads.*.weight: 80 of 91, the model has 80" in str(report)


def test_rows_of_shared_classes_are_kept_by_name():
    theirs, model = state(denoising=True), state(num_classes=3, denoising=True)
    fitted, report = Fit(3, NAMES)(theirs, model)
    for name in ("decoder.class_heads.0.weight", "decoder.class_heads.0.bias", "denoising.labels"):
        assert fates(report)[name] is Fate.SOME_CLASSES
        assert torch.equal(fitted[name][0], theirs[name][1])
        assert torch.equal(fitted[name][1], model[name][1])
        assert torch.equal(fitted[name][2], theirs[name][10])
    assert torch.equal(fitted["denoising.labels"][-1], theirs["denoising.labels"][-1])  # "no label"
    assert "2 of 91, the model has 3; without: platelets" in str(report)
    rest = {name for name in theirs if "class_heads" not in name and name != "denoising.labels"}
    assert all(fates(report)[name] is Fate.KEPT and torch.equal(fitted[name], theirs[name]) for name in rest)


def test_no_object_stays_the_last_of_detr():
    theirs, model = state(detr), state(detr, num_classes=3)
    fitted, _ = Fit(3, NAMES)(theirs, model)
    head = "decoder.class_heads.0.weight"
    assert len(fitted[head]) == 4 and torch.equal(fitted[head][-1], theirs[head][-1])


def test_every_head_gets_its_rows():
    theirs, model = state(dab_deformable_detr), state(dab_deformable_detr, num_classes=3)
    fitted, report = Fit(3, NAMES)(theirs, model)
    assert len(report.of(Fate.SOME_CLASSES)) == 4  # weight and bias of two layers
    assert "decoder.class_heads.*.weight: 2 of 91, the model has 3; without: platelets (x 2)" in str(report)


def test_strict_wants_all_classes():
    with pytest.raises(
        ValueError, match=r"class_heads.*without: platelets(.|\n)*Its classes differ from those of the data"
    ):
        Fit(3, NAMES, strict=True)(state(), state(num_classes=3))


def test_names_of_the_checkpoint_win_over_its_number_of_classes():
    theirs = state(num_classes=80)
    fitted, _ = Fit(3, NAMES)(theirs, state(num_classes=3), ["platelets", *map(str, range(78)), "person"])
    head = "decoder.class_heads.0.bias"
    assert torch.equal(fitted[head][:2], theirs[head][[79, 0]])


@pytest.mark.parametrize(
    ("change", "told", "fate", "of"),
    [
        ({"num_queries": 7}, r"7 of 10, the model has 7(.|\n)*num_queries", Fate.QUERIES, "queries.centre"),
        ({"num_queries": 12}, r"10 of 10, the model has 12(.|\n)*num_queries", Fate.QUERIES, "queries.size"),
        ({"num_patterns": 3}, r"none\n +queries\.patterns(.|\n)*num_patterns", Fate.MISSING, "queries.patterns"),
        ({"denoising": True}, r"denoising\.labels(.|\n)*denoising\.groups", Fate.MISSING, "denoising.labels"),
    ],
)
def test_other_queries_are_refused_unless_asked_for(change, told, fate, of):
    theirs, model = state(), state(**change)
    with pytest.raises(ValueError, match=rf"does not fit the model(.|\n)*{told}(.|\n)*train\.init_partially=True"):
        Fit(91)(theirs, model)
    with pytest.raises(ValueError, match="does not fit the model"):
        Fit(91, strict=True, partial=True)(theirs, model)
    fitted, report = Fit(91, partial=True)(theirs, model)
    assert fates(report)[of] is fate
    if fate is Fate.QUERIES:
        kept = min(len(theirs[of]), len(model[of]))
        assert torch.equal(fitted[of][:kept], theirs[of][:kept]) and torch.equal(fitted[of][kept:], model[of][kept:])
    else:
        assert of not in fitted


def test_label_embeddings_without_a_place_are_refused():
    """They are the content of the matching queries, too: without them the model is another."""
    with pytest.raises(ValueError, match=r"in the checkpoint, but not in the model\n +denoising\.labels"):
        Fit(91)(state(denoising=True), state())


def test_other_shapes_start_anew_if_asked_for():
    theirs, model = state(), state()
    theirs["neck.projection.weight"] = torch.zeros(64, 32, 1, 1)
    with pytest.raises(ValueError, match=r"neck\.projection\.weight: \(64, 32, 1, 1\) in the checkpoint, \(32, "):
        Fit(91)(theirs, model)
    fitted, report = Fit(91, partial=True)(theirs, model)
    assert torch.equal(fitted["neck.projection.weight"], model["neck.projection.weight"])
    assert fates(report)["neck.projection.weight"] is Fate.SHAPE


@pytest.mark.parametrize("name", ["decoder.class_heads.0.bias", "queries.centre"])
def test_a_number_in_the_place_of_a_tensor_is_another_shape(name):
    with pytest.raises(ValueError, match=r"\(\) in the checkpoint"):
        Fit(91)(state() | {name: torch.tensor(1.0)}, state())


def test_a_backbone_alone():
    theirs = {name: x for name, x in state().items() if name.startswith("backbone.")} | {"fc.weight": torch.zeros(1)}
    fitted, report = Fit(91)(theirs, state())
    assert set(fitted) == set(theirs) - {"fc.weight"}
    assert {x.name for x in report.of(Fate.LEFT_OVER)} == {"fc.weight"}
    with pytest.raises(ValueError, match=r"does not fit the model(.|\n)*neck\.projection"):
        Fit(91, strict=True)(theirs, state())


def test_half_a_backbone_is_refused():
    theirs = {name: x for name, x in state().items() if name.startswith("backbone.") and "res4" not in name}
    with pytest.raises(ValueError, match=r"backbone\.\* \(x \d+\)(.|\n)*backbone\.depth"):
        Fit(91)(theirs, state())


def test_something_else_is_refused():
    with pytest.raises(
        ValueError, match=r"nothing in the checkpoint fits the model: the checkpoint has \['head.weight'\]"
    ):
        Fit(91, partial=True)({"head.weight": torch.zeros(2)}, state())


def test_batches_counted_by_batch_norm_do_not_matter():
    theirs, model = state(), state()
    theirs["backbone.stem.conv1.norm.num_batches_tracked"] = torch.tensor(3)
    for checkpoint, own in ((theirs, model), (model, theirs)):
        _, report = Fit(91, strict=True)(checkpoint, own)
        assert not report.of(Fate.MISSING) and not report.of(Fate.LEFT_OVER)


@pytest.mark.parametrize("options", [{}, {"strict": True}])
def test_keys_that_nobody_knows_are_refused(options):
    """They may be weights that the model of the checkpoint computes with, as an encoder's last norm is."""
    with pytest.raises(ValueError, match=r"1 tensors in the checkpoint.*\n *transformer.encoder.norm.weight"):
        Fit(91, **options)(state(), state(), unknown=["transformer.encoder.norm.weight"])
    report = Fit(91, partial=True)(state(), state(), unknown=["transformer.encoder.norm.weight"])[1]
    assert [x.name for x in report.of(Fate.LEFT_OVER)] == ["transformer.encoder.norm.weight"]
