"""The table of released models: every config is there, and the docs say the same."""

from pathlib import Path

import pytest

from dab_detr.config import load
from dab_detr.zoo import table
from dab_detr.zoo.table import MODELS, config_file, markdown

DOCS = Path(__file__).parents[2] / "docs"


def test_every_model_has_a_name_of_its_own_and_one_source():
    assert len({model.name for model in MODELS}) == len(MODELS)
    assert all(bool(model.url) != bool(model.page) for model in MODELS)
    assert all((model.url or model.page).startswith("https://") for model in MODELS)


@pytest.mark.parametrize("model", [model for model in MODELS if model.overrides], ids=lambda model: model.name)
def test_the_overrides_of_a_model_are_keys_of_its_config(model):
    config = load(model.config_file(), model.overrides)
    assert config.model.neck.position.offset == -0.5


def test_every_config_is_there():
    assert all(model.config_file().is_file() for model in MODELS)


def test_an_installed_package_has_its_configs_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "CONFIGS", (tmp_path / "configs", tmp_path / "clone"))
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/mine.py").touch()
    assert config_file("mine") == tmp_path / "configs/mine.py"
    with pytest.raises(ValueError, match=r"there is no config other.py in .*configs or .*clone"):
        config_file("other")


def test_the_docs_have_the_table():
    text = (DOCS / "models.md").read_text()
    assert markdown() in text, "replace the table in docs/models.md by the output of `python -m dab_detr.zoo`"
