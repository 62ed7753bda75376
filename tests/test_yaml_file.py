"""A yaml config is data: nothing that it names is run."""

import re

import pytest
import yaml
from detectron2.config import get_cfg

from dab_detr.yaml_file import check_yaml, read_yaml

RUNS_CODE = [
    "!!python/object/apply:os.system ['touch {}']",
    "!!python/object/new:os.system ['touch {}']",
    "!!python/object/apply:builtins.open ['{}', 'w']",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/object:pathlib.Path {{}}",
    "!ruby/object:Gem {{}}",
]


@pytest.mark.parametrize("value", RUNS_CODE)
@pytest.mark.parametrize("place", ["A: {}", "A: [1, {{b: {} }}]", "? {}\n: 1"])
def test_a_tag_that_names_code_is_refused(tmp_path, value, place):
    executed = tmp_path / "executed"
    path = tmp_path / "config.yaml"
    path.write_text(place.format(value.format(executed)))
    with pytest.raises(ValueError, match=r"config \S+config\.yaml, line 1 is refused before any of it runs: .*tags"):
        check_yaml(path)
    assert not executed.exists()


def test_the_trap_works(tmp_path):
    executed = tmp_path / "executed"
    yaml.unsafe_load(RUNS_CODE[0].format(executed))
    assert executed.exists()


def test_tuples_are_plain_data(tmp_path):
    (tmp_path / "config.yaml").write_text("A: !!python/tuple [1, [2]]\nB: {C: [yes, 1.5, x]}")
    assert read_yaml(tmp_path / "config.yaml") == {"A": (1, [2]), "B": {"C": [True, 1.5, "x"]}}


def test_a_base_is_checked_too(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/top.yaml").write_text("_BASE_: ../base.yaml\nB: 1")
    (tmp_path / "base.yaml").write_text("A: !!python/name:os.system")
    with pytest.raises(ValueError, match=r"config \S+base\.yaml, line 1 is refused"):
        check_yaml(tmp_path / "sub/top.yaml")
    (tmp_path / "base.yaml").write_text("_BASE_: sub/top.yaml")
    with pytest.raises(ValueError, match="is a _BASE_ of itself"):
        check_yaml(tmp_path / "sub/top.yaml")


def test_what_detectron2_writes_is_plain_data(tmp_path):
    (tmp_path / "config.yaml").write_text(get_cfg().dump())
    assert read_yaml(tmp_path / "config.yaml").keys() == get_cfg().keys()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[1, 2]", "must hold keys and values, not a list"),
        ("text", "must hold keys and values, not a str"),
        ("A: [1", "is not yaml: .*line 1"),
        ("A: 1\n\tB: 2", "is not yaml: "),
        ("A: " + "[" * 20000, "is not yaml: "),
        (b"A: \xff\xfe", "is not yaml: "),
    ],
)
def test_what_is_no_config_is_named_in_one_line(tmp_path, content, told):
    (tmp_path / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"config \S+config\.yaml {told}") as caught:
        read_yaml(tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)


def test_a_config_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"config {tmp_path}/none.yaml does not exist")):
        check_yaml(tmp_path / "none.yaml")
