"""The files that tools/predict.py writes never replace an input or each other."""

import json

import numpy as np
import pytest

from dab_detr.inference.video import VideoWriter
from pictures import save_picture


@pytest.mark.parametrize(
    ("args", "output"),
    [
        (["in/1.png"], "in"),
        (["in/1.png", "other.png"], "."),
        (["in"], "in"),
        (["in"], "in/found"),
        (["--video", "in/film.mp4"], "in"),
    ],
)
def test_no_input_is_overwritten(args, output, call, tmp_path, capsys):
    save_picture(tmp_path / "in/1.png")
    save_picture(tmp_path / "other.png")
    with VideoWriter(tmp_path / "in/film.mp4", 5) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    with pytest.raises(SystemExit, match="would overwrite the input"):
        call(*args, "--output", output)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before


def test_a_picture_of_another_format_may_have_its_drawing_beside_it(call, tmp_path):
    save_picture(tmp_path / "1.jpg")
    call("1.jpg", "--output", ".")
    assert (tmp_path / "1.png").is_file()


def test_images_of_one_name_are_all_drawn(call, tmp_path):
    for seed, name in enumerate(("cam1/photo.png", "cam1/photo_2.png", "cam2/photo.png")):
        save_picture(tmp_path / name, seed)
    call("cam1", "cam2", "--output", "out", "--json", "found.json")
    assert sorted(x.name for x in (tmp_path / "out").iterdir()) == ["photo.png", "photo_1.png", "photo_2.png"]
    images = json.loads((tmp_path / "found.json").read_text())["images"]
    assert [(x["file_name"], x["picture"]) for x in images] == [
        ("cam1/photo.png", "photo.png"),
        ("cam1/photo_2.png", "photo_2.png"),
        ("cam2/photo.png", "photo_1.png"),
    ]


@pytest.mark.parametrize("given", ["in/1.png", "file://{0}/in/1.png", "link.png"])
@pytest.mark.parametrize("aim", ["output", "json"])
@pytest.mark.parametrize("more", [[], ["--overwrite"], ["--resume"]])
def test_no_name_of_an_input_is_written_to(given, aim, more, call, tmp_path):
    save_picture(tmp_path / "in/1.png")
    (tmp_path / "link.png").symlink_to("in/1.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/1.png").hardlink_to(tmp_path / "in/1.png")
    (tmp_path / "out/link.png").symlink_to("../link.png")
    before = (tmp_path / "in/1.png").read_bytes()
    written = ["--output", "out"] if aim == "output" else ["--json", "in/1.png"]
    with pytest.raises(SystemExit, match="would overwrite the input"):
        call(given.format(tmp_path), *written, *more)
    assert (tmp_path / "in/1.png").read_bytes() == before and (tmp_path / "out/link.png").is_symlink()


def test_the_checkpoint_is_not_written_to(call, checkpoint, tmp_path):
    save_picture(tmp_path / "1.png")
    before = checkpoint.read_bytes()
    with pytest.raises(SystemExit, match="would overwrite the input"):
        call("1.png", "--json", str(checkpoint), "--overwrite")
    assert checkpoint.read_bytes() == before


def test_an_earlier_run_is_replaced_only_on_request(call, tmp_path):
    for name in ("1.png", "2.png"):
        save_picture(tmp_path / "in" / name)
    call("in/1.png", "--output", "out", "--json", "found.json")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    for written in (["--json", "found.json"], ["--output", "out"]):
        with pytest.raises(SystemExit, match="exist already: .*--resume.*--overwrite"):
            call("in", *written, "--threshold", "0.9")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before
    call("in", "--output", "out", "--json", "found.json", "--resume")
    assert (tmp_path / "out/1.png").read_bytes() == before[tmp_path / "out/1.png"]
    assert len(json.loads((tmp_path / "found.json").read_text())["images"]) == 2
    call("in/2.png", "--output", "out", "--json", "found.json", "--overwrite")
    assert len(json.loads((tmp_path / "found.json").read_text())["images"]) == 1


def test_two_outputs_do_not_have_one_name(call, tmp_path):
    save_picture(tmp_path / "in/1.png")
    with pytest.raises(SystemExit, match="--json out/1.png is also the name of a picture"):
        call("in/1.png", "--output", "out", "--json", "out/1.png")


def test_a_collision_is_told_before_the_model_is_loaded(call, tmp_path):
    for name in ("in/1.png", "out/1.png"):
        save_picture(tmp_path / name)
    for name in ("out/film.mp4", "damaged.pth"):
        (tmp_path / name).touch()
    for given in ("in/1.png",), ("--video", "film.mp4"):
        with pytest.raises(SystemExit, match="exist already"):
            call(*given, "--output", "out", "--checkpoint", "damaged.pth")
