"""The dataset doctor from the command line."""

import json

import pytest
from PIL import Image

import tiny
from coco_files import content, write
from planted import FAULTS, images_of, spoilt
from tools.check_dataset import main


def split(folder, name, data) -> list[str]:
    files = write(folder, name, data)
    images_of(folder, name)
    return [f"--{name}", str(files["annotations"]), str(files["images"])]


def test_a_good_dataset(tmp_path, capsys):
    assert main([*split(tmp_path, "train", content()), *split(tmp_path, "val", content())]) == 0
    out = capsys.readouterr().out
    assert "0 errors, 0 warnings, 2 notes" in out
    assert "train.json: 4 images, 6 annotations" in out and "category    1 class 0" in out
    assert [line.split()[-1] for line in out.splitlines() if "1/4 to 1/2" in line] == ["100.0%", "0.0%"] * 2


def test_faults_are_told_and_the_status_says_so(tmp_path, capsys):
    data = spoilt(FAULTS["category ids from 0"][0])
    assert main(split(tmp_path, "train", data)) == 1
    out = capsys.readouterr().out
    assert "  error    unknown category: 3 annotations" in out and "1 errors" in out
    assert "1 warnings" in out  # class 3 has no annotation then


def test_every_place_is_named_on_demand(tmp_path, capsys):
    arguments = split(tmp_path, "train", spoilt(FAULTS["boxes in shares"][0]))
    main(arguments)
    assert "and 1 more" in capsys.readouterr().out
    main([*arguments, "--all"])
    out = capsys.readouterr().out
    assert "and 1 more" not in out and "annotation 105 (3.png)" in out


def test_a_file_that_is_no_annotation_file(tmp_path, capsys):
    assert main([*split(tmp_path, "train", "{"), *split(tmp_path, "val", content())]) == 1
    assert "not COCO format" in capsys.readouterr().out


def test_a_mended_copy(tmp_path, capsys):
    arguments = split(tmp_path, "train", spoilt(FAULTS["box outside"][0])) + split(tmp_path, "val", content())
    sources = [(tmp_path / f"{name}.json").read_text() for name in ("train", "val")]
    out = tmp_path / "mended"
    assert main([*arguments, "--fix", str(out)]) == 0, "the copy has no error"
    assert len(json.loads((out / "train.json").read_text())["annotations"]) == 5
    assert json.loads((out / "val.json").read_text()) == content()
    assert sources == [(tmp_path / f"{name}.json").read_text() for name in ("train", "val")]
    told = capsys.readouterr().out
    assert "1 annotations left out without a box inside the image" in told and "nothing needed mending" in told


@pytest.mark.parametrize("folder", [".", "mended"])
def test_nothing_is_written_over(tmp_path, capsys, folder):
    arguments = split(tmp_path, "train", content())
    (tmp_path / "mended").mkdir()
    (tmp_path / "mended" / "train.json").write_text("precious")
    before = (tmp_path / "train.json").read_text()
    assert main([*arguments, "--fix", str(tmp_path / folder)]) == 2
    assert "train.json exists: --fix never overwrites a file" in capsys.readouterr().err
    assert (tmp_path / "train.json").read_text() == before
    assert (tmp_path / "mended" / "train.json").read_text() == "precious"


def test_a_copy_has_no_byte_order_mark(tmp_path):
    arguments = split(tmp_path, "train", "\ufeff" + json.dumps(content()))
    images_of(tmp_path, "train")
    for image in content()["images"]:
        Image.new("RGB", (20, 10)).save(tmp_path / "train" / image["file_name"])
    assert main(arguments) == 1
    assert main([*arguments, "--fix", str(tmp_path / "mended")]) == 0
    assert json.loads((tmp_path / "mended" / "train.json").read_text()) == content()


def test_a_copy_of_nothing_is_not_written(tmp_path, capsys):
    data = content()
    for x in data["annotations"]:
        x["image_id"] = 77
    assert main([*split(tmp_path, "train", data), "--fix", str(tmp_path / "mended")]) == 2
    assert "none of the 6 annotations would be left" in capsys.readouterr().err
    assert not (tmp_path / "mended").exists()


@pytest.mark.parametrize("name", ["file", "file/folder"])
def test_a_file_in_the_place_of_the_folder(tmp_path, capsys, name):
    (tmp_path / "file").write_text("precious")
    assert main([*split(tmp_path, "train", content()), "--fix", str(tmp_path / name)]) == 2
    assert "file" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("name", ["none.py", "none.yaml", "broken.py", "other.yaml", "no_model.py"])
def test_a_config_that_is_none(tmp_path, capsys, name):
    (tmp_path / "broken.py").write_text("model = (")
    (tmp_path / "other.yaml").write_text("a: 1")
    (tmp_path / "no_model.py").write_text("a = dict(b=1)")
    assert main([*split(tmp_path, "train", content()), "--config-file", str(tmp_path / name)]) == 2
    assert name in capsys.readouterr().err


def test_category_names_of_any_kind(tmp_path, capsys):
    for fault in ("category name a number", "category name of half a character", "category name null"):
        assert main(split(tmp_path, "train", spoilt(FAULTS[fault][0]))) == 1
    assert "category    2 None" in capsys.readouterr().out


def test_what_cannot_be_mended_is_told(tmp_path, capsys):
    arguments = split(tmp_path, "train", spoilt(FAULTS["category id twice"][0]))
    assert main([*arguments, "--fix", str(tmp_path / "mended")]) == 1
    assert "category ids are used twice: 2" in capsys.readouterr().out.partition("What could not be mended:")[2]


def test_files_of_the_same_name(tmp_path):
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
        files = write(tmp_path / name, "images", content())
        files["annotations"].rename(tmp_path / name / "labels.json")
    paths = [[f"--{x}", str(tmp_path / x / "labels.json"), str(tmp_path / x / "images")] for x in ("train", "val")]
    main([*paths[0], *paths[1], "--fix", str(tmp_path / "mended")])
    assert sorted(path.name for path in (tmp_path / "mended").iterdir()) == ["train.json", "val.json"]


def test_queries_and_anchors_of_a_config(tmp_path, capsys):
    arguments = [*split(tmp_path, "train", content()), "--config-file", str(tiny.LAZY)]
    assert main([*arguments, "model.queries.num_queries=2"]) == 0
    out = capsys.readouterr().out
    assert "1 images have more objects than the model has queries (2)" in out
    assert "objects   anchors" in out
    assert main([*arguments, "model.queries.num_queries=3"]) == 0
    assert "more objects" not in capsys.readouterr().out
    assert main([*arguments, "model.queries.number=3"]) == 2
    assert "no key 'model.queries.number'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["\udcff.png", "a\nb.png", "\x1b[2J.png"])
def test_names_of_files_that_no_terminal_prints(tmp_path, capsys, name):
    arguments = split(tmp_path, "train", content())
    Image.new("RGB", (20, 10)).save(tmp_path / "train" / name)
    assert main(arguments) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "image without entry" in line)
    assert line.isprintable() and ".png" in line
