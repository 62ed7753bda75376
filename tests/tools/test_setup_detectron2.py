"""The ways to Detectron2: which is taken, and the patch that makes release 0.5 importable."""

import importlib
import sys
import types

import pytest

from tools.setup_env import detectron2_install, detectron2_patch
from tools.setup_env.environment import SetupError


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x.astype(np.bool)", "x.astype(bool)"),
        ("dtype=np.int)", "dtype=int)"),
        ("np.float(1), np.object, np.str", "float(1), object, str"),
        ("interp=Image.LINEAR", "interp=Image.BILINEAR"),
        ("np.int64(1), np.bool_, np.floating", "np.int64(1), np.bool_, np.floating"),
        ("Image.BILINEAR, Image.LINEARITY", "Image.BILINEAR, Image.LINEARITY"),
        ("snp.int", "snp.int"),
    ],
)
def test_modernize_replaces_only_dead_names(old, new):
    assert detectron2_patch.modernize(old) == new


@pytest.fixture
def source(tmp_path):
    """The least that has the shape of the unpacked sdist."""
    package = tmp_path / "detectron2"
    (package / "evaluation").mkdir(parents=True)
    (package / "export").mkdir()
    (package / "export" / "__init__.py").write_text("\nfrom .api import *\nfrom .flatten import TracingAdapter\n")
    (package / "export" / "api.py").write_text("from caffe2.proto import caffe2_pb2\n")
    (package / "export" / "flatten.py").write_text("TracingAdapter = 'traces'\n")
    (tmp_path / "detectron2_cdo.egg-info").mkdir()
    (package / "__init__.py").write_text('__version__ = "0.5"\n')
    (package / "masks.py").write_text("kind = np.bool\n")
    (package / "evaluation" / "fast_eval_api.py").write_text("class COCOeval_opt:\n    pass\n")
    (tmp_path / "setup.py").write_text("import torch\n")
    return tmp_path


def test_patch_makes_the_sdist_installable(source):
    detectron2_patch.patch(source)
    assert (source / "detectron2" / "masks.py").read_text() == "kind = bool\n"
    assert "import torch" not in (source / "setup.py").read_text()
    assert not list(source.glob("*.egg-info"))


def test_patch_lets_the_coco_evaluator_fall_back(source):
    detectron2_patch.patch(source)
    module = {"_C": types.SimpleNamespace(), "COCOeval": "slow"}
    exec((source / "detectron2" / "evaluation" / "fast_eval_api.py").read_text(), module)
    assert module["COCOeval_opt"] == "slow"


def test_patch_lets_export_be_imported_without_caffe2(source, monkeypatch):
    detectron2_patch.patch(source)
    (source / "detectron2/export").rename(source / "export_of_a_test")
    monkeypatch.syspath_prepend(str(source))
    assert importlib.import_module("export_of_a_test").TracingAdapter == "traces"
    del sys.modules["export_of_a_test"]
    (source / "export_of_a_test/api.py").write_text("import no_such_module_of_a_test\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_a_test"):
        importlib.import_module("export_of_a_test")


def test_patch_refuses_another_release(source):
    (source / "detectron2" / "__init__.py").write_text('__version__ = "0.6"\n')
    with pytest.raises(ValueError, match=r"Detectron2 0\.5"):
        detectron2_patch.patch(source)
    assert (source / "detectron2" / "masks.py").read_text() == "kind = np.bool\n"


def test_stand_in_answers_about_itself_and_names_what_is_missing():
    stand_in = types.ModuleType("_C")
    exec(detectron2_patch.STAND_IN, stand_in.__dict__)
    assert stand_in.has_cuda() is False
    assert stand_in.get_compiler_version() == stand_in.get_cuda_version() == "none"
    assert not hasattr(stand_in, "COCOevalEvaluateImages")
    with pytest.raises(AttributeError, match="nms_rotated is compiled code"):
        stand_in.nms_rotated  # noqa: B018


@pytest.mark.parametrize(
    ("wish", "compiler", "answer", "builds", "taken"),
    [
        (None, "", "", True, ["github"]),
        (None, "", "", False, ["github", "index"]),
        (None, "", "no answer", True, ["index"]),
        (None, "no compiler", "", True, ["index"]),
        ("index", "", "", True, ["index"]),
        ("github", "", "", True, ["github"]),
        ("github", "", "", False, ["github", "error"]),
        ("github", "no compiler", "", True, ["error"]),
    ],
)
def test_way_to_detectron2(monkeypatch, wish, compiler, answer, builds, taken):
    ways = []

    def from_github(environment):
        ways.append("github")
        if not builds:
            raise SetupError("does not compile")

    monkeypatch.setattr(detectron2_install, "no_compiler", lambda: compiler)
    monkeypatch.setattr(detectron2_install, "no_answer", lambda url: answer)
    monkeypatch.setattr(detectron2_install, "install_from_github", from_github)
    monkeypatch.setattr(detectron2_install, "install_from_index", lambda _: ways.append("index"))
    try:
        detectron2_install.install_detectron2(None, wish)
    except SetupError:
        ways.append("error")
    assert ways == taken
