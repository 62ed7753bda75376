"""The number of classes, from the data or from the user, and a warning of random weights that stay random."""

import pytest

from coco_files import content, write
from dab_detr.config import load
from dab_detr.data.coco import dataset_name
from dab_detr.engine.setup import num_classes_for, warn_of_frozen_random_weights
from tiny import CONFIGS, LAZY, configured, lazy_opts


@pytest.fixture
def names(tmp_path):
    return [dataset_name(**write(tmp_path, split, content())) for split in ("train", "val")]


def settled(names, **kwargs) -> int:
    return num_classes_for(names[0], names[1:], key="model.num_classes", **kwargs)


def test_from_the_data(names, caplog):
    caplog.set_level("INFO", "dab_detr")
    assert settled(names, configured=80, is_set=False) == 3
    assert "The data has 3 classes: model.num_classes is set to that." in caplog.text


@pytest.mark.parametrize("is_set", [True, False])
def test_from_the_user(names, is_set):
    assert settled(names, configured=3, is_set=is_set) == 3


@pytest.mark.parametrize("configured, is_set", [(80, True), (2, True), (2, False), (4, False)])
def test_disagreement(names, configured, is_set):
    with pytest.raises(ValueError, match=rf"model\.num_classes is {configured}, but .* has 3 classes"):
        settled(names, configured=configured, is_set=is_set)


def test_annotations_that_are_not_here(names, tmp_path):
    (tmp_path / "val.json").unlink()
    with pytest.raises(ValueError, match=r"val\.json does not exist.*DETECTRON2_DATASETS"):
        settled(names, configured=80, is_set=False)


@pytest.mark.parametrize(
    "config, opts, advice",
    [
        (LAZY, ["train.init_checkpoint="], "Set model.backbone.norm=BN model.backbone.freeze_at=0."),
        (LAZY, ["train.init_checkpoint=", "model.backbone.norm=BN"], "Set model.backbone.freeze_at=0."),
        (LAZY, ["train.init_checkpoint=", "model.backbone.norm=BN", "model.backbone.freeze_at=0"], None),
        (CONFIGS / "photographs/dab_detr.py", ["train.init_checkpoint="], "Set model.backbone.frozen=False."),
        (LAZY, [], None),
        (CONFIGS / "demo_shapes.py", [], None),
        (CONFIGS / "dino_swin_l_4scale_12ep.py", [], None),
    ],
)
def test_random_weights_that_cannot_learn_are_named(config, opts, advice, caplog):
    warn_of_frozen_random_weights(load(config, opts))
    assert caplog.text == "" if advice is None else advice in caplog.text


def test_a_training_warns_of_random_weights_that_cannot_learn(tmp_path):
    opts = [*lazy_opts(tmp_path), "train.init_checkpoint=", "model.backbone.freeze_at=2"]
    configured("--config-file", LAZY, *opts)
    log = (tmp_path / "output/log.txt").read_text()
    assert "a part of the backbone is frozen: it cannot learn. Set" in log and "model.backbone.freeze_at=0" in log
