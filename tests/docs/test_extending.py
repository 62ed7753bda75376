"""The code of docs/extending.md runs as it is printed there."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig, instantiate

from dab_detr.modeling.recording import recording

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/extending.md").read_text()
FILES = dict(re.findall(r"```python\n# (my_project/\S+)\n(.*?)```", PAGE, re.DOTALL))
CONFIGS = sorted(name for name in FILES if name.endswith("_config.py"))
NARROWER, ANYWHERE = (
    re.search(rf"```python\n# {name}\n(.*?)```", PAGE, re.DOTALL).group(1) for name in ("narrower", "from any folder")
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files of the page, in a folder that Python finds, as seen from the clone."""
    for name, code in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(tmp_path / "my_project"))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").is_relative_to(tmp_path):
            del sys.modules[name]


def test_the_page_has_three_walks():
    assert [f"my_project/{name}_config.py" for name in ("corner", "cosine", "grid")] == CONFIGS


@pytest.mark.parametrize("config", CONFIGS)
def test_the_test_of_the_page_passes(config, folder):
    spec = importlib.util.spec_from_file_location("page_test", folder / "my_project/test_my_parts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    check = module.test_the_model_of_the_config_trains_and_predicts
    check(folder / config)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_narrower_config_from_any_folder(config, folder, monkeypatch):
    path = folder / config
    base, *rest = path.read_text().partition('_base = LazyConfig.load("configs/demo_shapes.py")\n')
    path.write_text(base + ANYWHERE + rest[1] + NARROWER)
    monkeypatch.chdir(folder)
    model = instantiate(LazyConfig.load(str(path)).model).eval()
    assert (model.neck.dim, len(model.encoder.layers), len(model.decoder.layers)) == (64, 1, 2)
    with torch.no_grad():
        assert model([{"image": torch.rand(3, 96, 96) * 255}])[0]["instances"].scores.isfinite().all()


@pytest.mark.parametrize("config", CONFIGS)
def test_the_parts_of_the_page_can_be_recorded(config, folder):
    model = instantiate(LazyConfig.load(str(folder / config)).model).eval()
    with recording(model, [0, 3]) as recorder:
        model([{"image": torch.rand(3, 96, 96) * 255}])
    weights = recorder.record.layers[0].cross_attention.weights
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:2]))


def test_a_prior_takes_a_class_a_config_and_a_test_of_60_lines():
    names = ("my_parts", "corner_config", "test_my_parts")
    lines = [line for name in names for line in FILES[f"my_project/{name}.py"].splitlines() if line.strip()]
    assert len(lines) <= 60


@pytest.mark.parametrize("name", FILES)
def test_lines_fit_the_page(name):
    assert max(map(len, FILES[name].splitlines())) <= 120


def test_every_module_that_the_page_names_exists():
    for name in re.findall(r"`((?:dab_detr|tests|configs|tools)/[\w/]+\.py)`", PAGE):
        assert (ROOT / name).exists() or (ROOT / "projects" / name).exists(), name
