"""All tools take a config and its overrides in the same way, and end with the same statuses and one-line errors."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

import described
import train_net
from benchmarks import __main__ as benchmarks
from coco_files import content, write
from dab_detr import command
from tiny import LAZY, YAML, lazy_opts, model_opts, yaml_opts
from tools import check_dataset, convert_checkpoint, convert_dataset, explain, export_model, predict

TOOLS = {
    "train_net": train_net,
    "predict": predict,
    "check_dataset": check_dataset,
    "convert_checkpoint": convert_checkpoint,
    "convert_dataset": convert_dataset,
    "explain": explain,
    "export_model": export_model,
    "benchmarks": benchmarks,
}
WITH_CONFIG = [name for name in TOOLS if name != "convert_dataset"]
YAML_MODEL = [
    "MODEL.DAB_DETR.DIM", "32", "MODEL.DAB_DETR.HEADS", "4", "MODEL.DAB_DETR.HIDDEN", "32",
    "MODEL.DAB_DETR.ENCODER_LAYERS", "1", "MODEL.DAB_DETR.DECODER_LAYERS", "2", "MODEL.DAB_DETR.NUM_QUERIES", "10",
    "MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.STEM_OUT_CHANNELS", "8", "MODEL.DAB_DETR.NUM_CLASSES", "3",
]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a checkpoint, a picture and a dataset."""
    folder = tmp_path_factory.mktemp("files")
    described.save_lazy(folder)
    return folder


def inputs(name: str, folder: Path, out: Path) -> list[str]:
    """The arguments of a tool beside its config, with overrides of a small model on a picture of 20 x 10 pixels."""
    data = write(folder, "train", content())
    picture = next(Path(data["images"]).iterdir())
    return {
        "train_net": ["--eval-only"],
        "predict": [str(picture), "--checkpoint", str(folder / "model.pth"), "--device", "cpu", "--json",
                    str(out / "found.json")],
        "explain": [str(picture), "--checkpoint", str(folder / "model.pth"), "--device", "cpu", "--output",
                    str(out / "pages")],
        "export_model": [str(out / "model.pt2"), "--checkpoint", str(folder / "model.pth"), "--to", "torch"],
        "check_dataset": ["--train", str(data["annotations"]), str(data["images"])],
        "convert_checkpoint": [str(folder / "model.pth"), str(out / "converted.pth"),
                               "--to", "dab_detr"],
        "benchmarks": ["inference", "--runs", "1", "--size", "64", "64"],
    }[name]  # fmt: skip


def overrides(config: Path, name: str, out: Path) -> list[str]:
    if name == "train_net":
        return (lazy_opts if config == LAZY else yaml_opts)(out) + (["train.seed=3"] if config == YAML else [])
    if config == YAML:
        return [*YAML_MODEL, "model.selection.num_select=9"]
    return [*model_opts(), "model.num_classes=3"]


@pytest.mark.parametrize("name", TOOLS)
def test_help(name, capsys):
    with pytest.raises(SystemExit) as end:
        TOOLS[name].main(["--help"])
    assert end.value.code == 0
    told = capsys.readouterr()
    assert "usage: " in told.out and not told.err
    if name in WITH_CONFIG:
        assert "--config-file FILE" in told.out


@pytest.mark.parametrize("config", [LAZY, YAML], ids=["lazy", "yaml"])
@pytest.mark.parametrize("name", WITH_CONFIG)
def test_a_config_with_overrides(name, config, files, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    args = [*inputs(name, files, out), "--config-file", str(config), *overrides(config, name, out)]
    assert TOOLS[name].main(args) == 0


@pytest.mark.parametrize("config", [LAZY, YAML], ids=["lazy", "yaml"])
@pytest.mark.parametrize("wrong", ["model.num_querys=3", "model.num_classes=["])
@pytest.mark.parametrize("name", WITH_CONFIG)
def test_a_wrong_override(name, wrong, config, files, tmp_path, capsys):
    args = [*inputs(name, files, tmp_path), "--config-file", str(config), wrong]
    assert TOOLS[name].main(args) == command.BAD_USE
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: ") and wrong.rstrip("=3[") in told


def test_a_wrong_key_of_a_yaml(files, tmp_path, capsys):
    args = [*inputs("check_dataset", files, tmp_path), "--config-file", str(YAML), "SOLVER.MAX_ITERS", "3"]
    assert check_dataset.main(args) == command.BAD_USE
    assert "did you mean SOLVER.MAX_ITER" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["none.py", "none.yaml", "none.txt"])
@pytest.mark.parametrize("name", WITH_CONFIG)
def test_a_missing_config(name, missing, files, tmp_path, capsys):
    args = [*inputs(name, files, tmp_path), "--config-file", str(tmp_path / missing)]
    assert TOOLS[name].main(args) == command.BAD_USE
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert f"no such .py or .yaml config file: '{tmp_path / missing}'" in line


@pytest.mark.parametrize("name", ["predict", "explain", "export_model", "check_dataset", "convert_checkpoint"])
def test_overrides_of_nothing(name, files, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        TOOLS[name].main([*inputs(name, files, tmp_path), "model.num_classes=3"])
    assert end.value.code == command.BAD_USE
    told = "'model.num_classes=3' is an override, and there is no config to change: add --config-file"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("name", TOOLS)
def test_an_option_that_does_not_exist(name, capsys):
    with pytest.raises(SystemExit) as end:
        TOOLS[name].main(["--no-such-option"])
    assert end.value.code == command.BAD_USE
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["IMG_0001.JPG", "DSC_1.JPEG", "P.TIF"])
def test_a_missing_picture_of_a_camera_is_no_override(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert predict.main(["--checkpoint", "model.pth", name]) == 2
    assert "override" not in capsys.readouterr().err
    assert command.OVERRIDE.match("MODEL.DEVICE") and not command.OVERRIDE.match(name)


def test_a_picture_may_be_named_like_an_override(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a=1.png").touch()
    opts = ["--config-file", str(LAZY), "--checkpoint", "x"]
    args = predict.parse(["a=1.png", *opts, "MODEL", "b.png", "model.neck.dim=8", "train.seed=1"])
    assert (args.images, args.opts) == (["a=1.png"], ["MODEL", "b.png", "model.neck.dim=8", "train.seed=1"])
    Path("MODEL").mkdir()
    args = predict.parse(["a=1.png", *opts, "MODEL", "b.png", "model.neck.dim=8", "train.seed=1"])
    assert (args.images, args.opts) == (["a=1.png", "MODEL", "b.png"], ["model.neck.dim=8", "train.seed=1"])


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
@pytest.mark.parametrize("text", ["\udcff.png", "猫", "…"])
def test_text_that_a_terminal_cannot_encode_is_escaped(encoding, text, monkeypatch):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)

    def work(_):
        print(text)
        raise ValueError(text)

    assert command.run(work, None) == command.BAD_USE
    escaped = text.encode(encoding, "backslashreplace")
    assert out.buffer.getvalue() == escaped + b"\n" and err.buffer.getvalue() == b"error: " + escaped + b"\n"


def test_ctrl_c_ends_in_one_line(capsys):
    def work(_):
        raise KeyboardInterrupt

    assert command.run(work, None) == command.INTERRUPTED == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C\n"


def test_a_status_leaves_the_process():
    done = subprocess.run([sys.executable, train_net.__file__, "--config-file", "none.py"], capture_output=True)
    assert done.returncode == 2 and b"error: no such" in done.stderr and b"Traceback" not in done.stderr
