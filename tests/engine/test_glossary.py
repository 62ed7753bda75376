"""Every scalar that a training logs is in the glossary."""

import json
import re
from pathlib import Path

import pytest

import tiny
from dab_detr.engine.training import run

MORE = ["train.eval_period=2", "train.ema.enabled=True", "train.validation_loss=True"]
GLOSSARY = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text()


def known() -> re.Pattern:
    """The names at the start of the tables' lines; {i} stands for a number, what else is in braces for any text."""
    cells = [line.split("|")[1] for line in GLOSSARY.splitlines() if line.startswith("| `")]
    names = [name for cell in cells for name in re.findall(r"`([^`.]+)`", cell)]
    names += [f"{name}_{{i}}" for name in names if name.endswith("_dn")]
    patterns = [re.sub(r"\\\{.*?\\\}", ".+", re.escape(name).replace(r"\{i\}", r"\d+")) for name in names]
    return re.compile("|".join(patterns))


@pytest.mark.parametrize("config", ["dn_dab_detr_r50_50ep.py", "deformable_detr_r50_two_stage_50ep.py"])
def test_every_scalar_is_explained(tmp_path, config):
    path = tiny.CONFIGS / config
    args = tiny.arguments("--config-file", path, *tiny.data_opts(tmp_path), *MORE)
    cfg = tiny.configured("--config-file", path, *tiny.data_opts(tmp_path), *MORE)
    tiny.shrink(cfg.model)
    run(cfg, args)
    lines = (tmp_path / "output" / "metrics.json").read_text().splitlines()
    logged = {name for line in lines for name in json.loads(line)} - {"iteration"}
    assert {"total_loss", "lr", "bbox/AP", "ema/bbox/AP", "validation/total_loss"} <= logged
    assert any("_dn" in name or "_enc" in name for name in logged)
    assert [name for name in sorted(logged) if not known().fullmatch(name)] == []


@pytest.mark.parametrize(
    "name", ["loss_ce", "loss_ce_0", "loss_giou_dn_11", "loss_bbox_enc", "bbox/AP-red cell", "bbox/APs"]
)
def test_names_that_are_explained(name):
    assert known().fullmatch(name)


@pytest.mark.parametrize("name", ["loss", "loss_ce_x", "loss_mask", "AP", "timer", "bbox/APx"])
def test_names_that_are_not(name):
    assert not known().fullmatch(name)
