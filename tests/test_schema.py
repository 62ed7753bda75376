"""Values of the wrong kind are refused in one line, before anything is built; those of the right kind are not."""

import copy
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import train_net
from dab_detr.config import load
from dab_detr.kinds import fits, plain
from dab_detr.overrides import apply_overrides
from dab_detr.schema import Schema, leaves_and_branches, listed, settings_of
from dab_detr.trainer import Trainer
from dab_detr.yacs import yacs_defaults
from tiny import CONFIGS, LAZY, YAML, lazy_opts, yaml_opts

CONFIG = load(LAZY)
CONTENT = OmegaConf.to_container(CONFIG, resolve=False)
VALUES = {key: value for key, value in leaves_and_branches(CONTENT) if "_target_" not in key and "source" not in key}
PLAIN = {
    key: value
    for key, value in VALUES.items()
    if isinstance(value, bool | int | float | str) and "$" not in str(value) and not key[-1].isdigit()
}

WRONG = {
    "train.output_dir=20240101": r"a path, got 20240101; in quotes a number is text: train.output_dir='\"20240101\"'",
    "train.output_dir=[a,b]": r"a path, got \['a', 'b'\]",
    "train.output_dir=null": "a path, got null",
    "dataset.train.images=[a,b]": "a path or null",
    "train.seed=abc": "a whole number, got 'abc'",
    "train.max_iter=2,000": "a whole number, got '2,000'; write 2000",
    "train.max_iter=null": "a whole number, got null",
    "train.max_iter=1e5": "a whole number, got 100000.0; write 100000",
    "train.max_iter=-1": "a whole number above 0",
    "train.log_period=0": "a whole number above 0, got 0",
    "train.checkpointer.period=0": "a whole number above 0",
    "train.eval_period=-1": "a whole number, 0 or more",
    "train.ema.enabled=no": "true or false, got 'no'",
    "train.ema=true": "keys with values, got true",
    "train.writers=wandb": "a list of texts, got 'wandb'",
    "train.early_stopping.min_delta=-1": "a number, 0 or more",
    "train.seed='${train.output_dir}'": "a whole number",
    "train.seed='${train.none}'": "a reference to another key",
    "optimizer.lr=fast": "a number, got 'fast'",
    "optimizer.lr=nan": "a finite number, got nan",
    "optimizer.lr=-inf": "a finite number",
    "optimizer.lr=-1e-4": "a number, 0 or more",
    "optimizer.betas=0.9": "a list of 2 values",
    "optimizer.params.lr_factors.backbone=slow": "a number",
    "dataloader.num_workers=-1": "a whole number, 0 or more",
    "dataloader.evaluator.score_threshold=30": "a number from 0 to 1",
    "model.queries.num_queries=20.0": "a whole number, got 20.0; write 20",
    "model.queries=20": "a part: a node with _target_",
    "model.encoder.num_layers=1.5": "a whole number",  # of an argument without a hint, by its value
    "model.pixel_std=[0,1,1]": "a whole number above 0|a number above 0",
    "model.denoising=null": "a part: a node with _target_, got null",
}


@pytest.fixture
def cfg():
    return copy.deepcopy(CONFIG)


def check(override: str) -> None:
    """Check the config with one value replaced, as `load` does, without reading the file again."""
    cfg = OmegaConf.masked_copy(CONFIG, re.match(r"\+?(\w+)", override)[1])
    Schema(cfg=cfg, before=CONTENT, overridden=apply_overrides(cfg, [override])).check()


@pytest.mark.parametrize("override", WRONG)
def test_a_value_of_the_wrong_kind_or_range(override):
    key = override.partition("=")[0]
    with pytest.raises(ValueError, match=f"^{key}(\\.\\d)? takes ({WRONG[override]})") as error:
        check(override)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "override",
    [
        "train.epochs=12", "train.epochs=1.5", "train.epochs=null", "train.best=null", "train.best.metric=null",
        "train.preview=null", "train.checkpointer.max_to_keep=null", "train.eval_period=0", "train.seed=-1",
        "train.writers=[wandb]", "train.output_dir='\"20240101\"'", "train.output_dir=runs/a,b", "optimizer.lr=1",
        "optimizer.betas=[0.9,0.99]", "+optimizer.amsgrad=true", "model.selection.soft_nms=0.5",
        "dataset.val.name=null", "model.collaboration=null", "train.init_checkpoint=''",
        "train.seed='${train.max_iter}'",
    ],
)  # fmt: skip
def test_values_that_are_taken(override):
    check(override)


@pytest.mark.parametrize("name", [x.relative_to(CONFIGS) for x in CONFIGS.glob("*.*")][::6], ids=str)
def test_the_configs_themselves_are_taken(name):
    assert load(CONFIGS / name).source.set == []


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(sorted(PLAIN)), st.sampled_from(["null", "[1, x]", "{a: 1}", "'some text'", "2.5", "true", "nan"])
)
def test_any_plain_setting_takes_its_own_kind_alone(key, value):
    """Whatever is refused names the key; whatever is taken is of the kind of the value that it replaces."""
    before = PLAIN[key]
    try:
        check(f"+{key}={value}")
    except ValueError as error:
        assert key in str(error) and "\n" not in str(error)
    else:
        taken = {"null": type(None), "'some text'": str, "2.5": float, "true": bool, "nan": float}.get(value)
        nullable = value == "null" and (key.startswith(("train.", "dataset.")) or key == "lr_multiplier.num_updates")
        assert taken is type(before) or nullable or (taken is float and isinstance(before, int | float))


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(sorted(k for k, x in PLAIN.items() if type(x) in (int, float))),
    st.sampled_from([math.nan, math.inf]),
)
def test_no_number_may_be_infinite_or_nan(key, value):
    with pytest.raises(ValueError, match=f"{key} takes a (finite|whole) number"):
        check(f"{key}={value}")


def test_every_setting_of_training_has_a_kind():
    for setting in settings_of(CONTENT):
        if setting.key.startswith(("train.", "dataset.")) and setting.value is not None:
            with pytest.raises(ValueError, match=setting.key):
                check(f"+{setting.key}=[[1], {{}}]" if not isinstance(setting.value, list) else f"{setting.key}=1")


def test_a_config_file_is_checked_too(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"from detectron2.config import LazyConfig\ncfg = LazyConfig.load({str(LAZY)!r})\n"
                    "model, dataset, dataloader, optimizer, lr_multiplier, train = (cfg[x] for x in "
                    "('model', 'dataset', 'dataloader', 'optimizer', 'lr_multiplier', 'train'))\n"
                    "train.log_period = 0\n")  # fmt: skip
    with pytest.raises(ValueError, match=f"^{path}: train.log_period takes a whole number above 0, got 0$"):
        load(path)


def test_an_argument_that_does_not_exist(cfg):
    cfg.model.queries.width = 3
    with pytest.raises(
        ValueError, match="^model.queries.width: AnchorBoxQueries has no argument 'width'; it has num_q"
    ):
        Schema(cfg=cfg).check()


def test_a_target_that_does_not_exist(cfg):
    cfg.model.queries._target_ = "nowhere.Queries"
    with pytest.raises(ValueError, match="^model.queries._target_ names 'nowhere.Queries', which cannot be imported"):
        Schema(cfg=cfg).check()


def part_with_any_number(*, reach: float, steps=3):
    return reach, steps


def test_the_ranges_are_of_our_own_arguments_alone(cfg):
    part = {"_target_": part_with_any_number, "reach": math.inf, "steps": -3}
    cfg.model.queries = part
    Schema(cfg=cfg).check()
    cfg.model.queries.reach = "far"
    with pytest.raises(ValueError, match="^model.queries.reach takes a number, got 'far'"):
        Schema(cfg=cfg).check()


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["SOLVER.MAX_ITER", "2,000"], "^SOLVER.MAX_ITER takes a whole number, got '2,000'"),
        (["SOLVER.MAX_ITER", "None"], "^SOLVER.MAX_ITER takes a whole number, got 'None'"),
        (["SOLVER.BASE_LR", "fast"], "^SOLVER.BASE_LR takes a number, got 'fast'"),
        (["SOLVER.BASE_LR", "1e400"], r"^SOLVER.BASE_LR \(optimizer.lr\) takes a finite number, got inf"),
        (["OUTPUT_DIR", "2024"], "^OUTPUT_DIR takes text, got '2024'; in quotes it is text: OUTPUT_DIR \"'2024'\""),
        (["SOLVER.CHECKPOINT_PERIOD", "0"], "^SOLVER.CHECKPOINT_PERIOD .* takes a whole number above 0, got 0"),
        (["MODEL.DAB_DETR.NUM_QUERIES", "20.0"], r"^MODEL.DAB_DETR.NUM_QUERIES .* takes a whole number, got 20.0"),
        (["SEED", "abc"], "^SEED takes a whole number, got 'abc'"),
        (["train.seed=abc"], "^train.seed takes a whole number, got 'abc'"),
    ],
)
def test_yacs_values(overrides, message):
    with pytest.raises(ValueError, match=message):
        load(YAML, overrides)


def test_yacs_values_that_are_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    cfg = load(YAML, ["SOLVER.BASE_LR", "1", "OUTPUT_DIR", "~/2024", "train.init_checkpoint=~/a b.pth"])
    assert cfg.optimizer.lr == 1.0
    assert (cfg.train.output_dir, cfg.train.init_checkpoint) == (f"{tmp_path}/2024", f"{tmp_path}/a b.pth")
    assert load(YAML, ["OUTPUT_DIR", "'2024'"]).train.output_dir == "2024"


def test_the_trainer_of_scripts_checks_too():
    cfg = yacs_defaults()
    cfg.SOLVER.CHECKPOINT_PERIOD = 0
    with pytest.raises(ValueError, match="SOLVER.CHECKPOINT_PERIOD .* takes a whole number above 0"):
        Trainer(cfg)


@pytest.mark.parametrize(
    "override",
    ["train.output_dir=~/runs/1", "dataset.train.images='~/my images (2)'", "train.init_checkpoint=~/it's.pth"],
)
def test_a_home_folder_is_expanded(override, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    key, _, value = override.partition("=")
    assert OmegaConf.select(load(LAZY, [override]), key) == value.strip("'").replace("~", str(tmp_path)).replace(
        "\\", ""
    )


@pytest.mark.parametrize("way", ["lazy", "yaml"])
def test_status_2_before_anything_is_written(way, tmp_path, capsys):
    config, opts = {"lazy": (LAZY, lazy_opts), "yaml": (YAML, yaml_opts)}[way]
    assert train_net.main(["--config-file", str(config), *map(str, opts(tmp_path)), "train.seed=abc"]) == 2
    assert capsys.readouterr().err.splitlines() == ["error: train.seed takes a whole number, got 'abc'"]
    assert not Path(tmp_path, "output").exists()


def test_keys_are_listed_by_their_end():
    assert listed("model.queries.num_queries", ("num_queries",)) and listed("model.pixel_std.0", ("pixel_std",))
    assert listed("optimizer.params.lr_factors.backbone", ("lr_factors.*",))
    assert not listed("model.max_iter", ("train.max_iter",))


def test_plain_hints_cover_most_of_a_model():
    """The mechanism reads hints: if code lost them, values would be taken unseen."""
    hinted = [x for x in settings_of(CONTENT) if x.hint is not None and plain(x.hint)]
    assert len(hinted) > 60
    assert all(fits(x.value, x.hint) for x in hinted if not isinstance(x.value, str | dict | list | None))
