"""Overrides change what they name, and name what they could have meant where that does not exist."""

import copy
import re

import pytest
from detectron2.config import CfgNode, LazyConfig, get_cfg
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dab_detr import overrides
from dab_detr.overrides import apply_overrides, merge_overrides
from tiny import LAZY

CONFIG = LazyConfig.load(str(LAZY))
KEYS = sorted(x for x in overrides._keys(OmegaConf.to_container(CONFIG, resolve=False)) if not x.endswith("_target_"))


def lazy():
    return OmegaConf.create({"a": {"width": 1, "depth": [1, 2], "half": "${.width}"}, "b": {"width": None}})


def yacs():
    cfg = CfgNode({"MODEL": {"WIDTH": 1, "DEPTHS": [1, 2]}, "SOLVER": {"WIDTH": 0.5}})
    return cfg


@pytest.mark.parametrize(
    "override, key, value",
    [
        ("a.width=3", "a.width", 3),
        ("a.depth.1=5", "a.depth", [1, 5]),
        ("a.depth=[7]", "a.depth", [7]),
        ("a.half=9", "a.half", 9),
        ("b.width='x y'", "b.width", "x y"),
        ("a={width: 4}", "a", {"width": 4, "depth": [1, 2], "half": 4}),
        ("+a.new=1", "a.new", 1),
    ],
)
def test_apply_overrides(override, key, value):
    cfg = lazy()
    apply_overrides(cfg, [override])
    assert OmegaConf.to_container(OmegaConf.create({"x": OmegaConf.select(cfg, key)}), resolve=True) == {"x": value}


def test_keys_that_were_set_are_returned():
    assert apply_overrides(lazy(), ["a.width=3", "b={width: 2}", "+c=1"]) == ["a.width", "b.width", "c"]
    assert merge_overrides(yacs(), ["SOLVER.WIDTH", "2.0"]) == ["SOLVER.WIDTH"]


@pytest.mark.parametrize(
    "override, hint",
    [
        ("a.widht=3", "did you mean a.width?"),
        ("width=3", "did you mean b.width or a.width?"),
        ("x.y.width=3", "did you mean a.width or b.width?"),
        ("a={widht: 3}", "did you mean a.width?"),
        ("a.depth.2=5", "no key 'a.depth.2'"),
        ("a.width.x=5", "did you mean a.width?"),
        ("a.optimizer=5", "(+a.optimizer=... adds a new key)"),
    ],
)
def test_a_key_that_does_not_exist(override, hint):
    cfg = lazy()
    with pytest.raises(ValueError, match=re.escape(hint)):
        apply_overrides(cfg, ["b.width=1", override])
    assert cfg == lazy()  # nothing was applied


@settings(deadline=None)
@given(st.sampled_from([key for key in KEYS if not key[-1].isdigit()]), st.integers(0, 100), st.sampled_from("xq_"))
def test_any_misspelt_key_of_a_real_config_is_recognized(key, position, letter):
    position %= len(key)
    wrong = key[:position] + letter + key[position + 1 :]
    assume(wrong not in KEYS and key[position] != ".")
    with pytest.raises(ValueError) as error:
        apply_overrides(copy.deepcopy(CONFIG), [f"{wrong}=1"])
    assert re.search(rf"\b{re.escape(key)}\b", str(error.value).replace(wrong, ""))


@settings(deadline=None)
@given(st.sampled_from(KEYS))
def test_no_key_of_a_real_config_is_refused(key):
    cfg = copy.deepcopy(CONFIG)
    apply_overrides(cfg, [f"{key}=1"])
    assert OmegaConf.select(cfg, key) == 1


def test_merge_overrides():
    cfg = yacs()
    merge_overrides(cfg, ["MODEL.WIDTH", "3", "MODEL.DEPTHS", "[5]"])
    assert (cfg.MODEL.WIDTH, cfg.MODEL.DEPTHS, cfg.SOLVER.WIDTH) == (3, [5], 0.5)


def test_a_yacs_key_that_does_not_exist():
    cfg = yacs()
    with pytest.raises(ValueError, match="no key 'MODEL.WITDH'; did you mean MODEL.WIDTH"):
        merge_overrides(cfg, ["MODEL.WIDTH", "3", "MODEL.WITDH", "3"])
    assert cfg == yacs()


def test_every_yacs_key_of_detectron2_is_known():
    cfg = get_cfg()
    merge_overrides(cfg, ["SOLVER.BASE_LR", "0.5", "MODEL.RESNETS.DEPTH", "18", "DATASETS.TRAIN", "('a', 'b')"])
    assert (cfg.SOLVER.BASE_LR, cfg.MODEL.RESNETS.DEPTH, cfg.DATASETS.TRAIN) == (0.5, 18, ("a", "b"))


@pytest.mark.parametrize("wrong", ["a.width", "a.width 3", "a b=3", "a.width=[1"])
def test_what_is_no_override(wrong):
    with pytest.raises(ValueError, match="cannot read the override"):
        apply_overrides(lazy(), [wrong])


def test_yacs_overrides_are_pairs():
    with pytest.raises(ValueError, match="pairs of key and value.*got MODEL.WIDTH=3"):
        merge_overrides(yacs(), ["MODEL.WIDTH=3"])


def test_options_go_first():
    with pytest.raises(ValueError, match="options go before the overrides: --resume"):
        apply_overrides(LazyConfig.load(str(LAZY)), ["train.max_iter=3", "--resume"])
    with pytest.raises(ValueError, match="options go before the overrides: --resume"):
        merge_overrides(get_cfg(), ["SOLVER.BASE_LR", "0.5", "--resume"])
