"""A path means the file at exactly this place, and a file elsewhere only if nothing says otherwise."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dab_detr.conversion import DamagedDataset, lookup
from dab_detr.conversion.lookup import PathIndex
from odd_folders import BOX, ROW, converted, picture


def coco(root, names, files, folder="") -> None:
    """Pictures, and an annotation file in a folder that lists some names with an object each."""
    for name in files:
        picture(root / name)
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    nodes = [{"id": i + 1, "image_id": i, "category_id": 1, "bbox": BOX} for i in range(len(names))]
    (root / folder).mkdir(exist_ok=True)
    content = {"images": images, "annotations": nodes, "categories": [{"id": 1, "name": "cat"}]}
    (root / folder / "train.json").write_text(json.dumps(content))


def file_names(root, out) -> tuple[list[str], str]:
    content, report = converted(root, out)
    return [x["file_name"] for x in content["images"]], report


@pytest.mark.parametrize(
    "names",
    [["1.png", "thumbs/1.png"], [" 1.png", "1.png"], ["a?d=b.png", "b.png"], ["images\\1.png"], ["x/1.png", "X/1.png"]],
)
@pytest.mark.parametrize("folder", ["", "annotations"])
def test_a_name_means_the_file_at_its_place(tmp_path, names, folder):
    coco(tmp_path / "d", names, names, folder)
    assert file_names(tmp_path / "d", tmp_path / "o")[0] == names


def test_a_picture_beside_its_annotation_file_is_meant(tmp_path):
    coco(tmp_path / "d", ["1.png"], ["train/1.png", "train/masks/1.png"], "train")
    assert file_names(tmp_path / "d", tmp_path / "o")[0] == ["1.png"]


def test_createml_means_the_file_at_its_place_and_names_several(tmp_path):
    def createml(name, *files):
        for file in files:
            picture(tmp_path / name / file)
        entry = {"label": "cat", "coordinates": {"x": 10, "y": 5, "width": 8, "height": 2}}
        (tmp_path / name / "x.json").write_text(json.dumps([{"image": "1.png", "annotations": [entry]}]))

    createml("d", "1.png", "thumbs/1.png")
    assert file_names(tmp_path / "d", tmp_path / "o")[0] == ["1.png"]
    createml("e", "a/1.png", "b/1.png")
    with pytest.raises(DamagedDataset, match=r"x\.json, 1\.png: may be .*a/1\.png or .*b/1\.png: add its folder"):
        converted(tmp_path / "e", tmp_path / "o")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cam1/1.png", "cam2/1.png"], ["cam2/1.png"]),
        (["/old/cam1/1.png", "/old/cam2/1.png"], ["cam2/1.png"]),
        (["cam1/1.png", "cam2/2.png"], ["cam2/2.png"]),
        (["/old/set/1.png", "/old/set/2.png"], ["cam2/1.png", "cam2/2.png"]),
        (["shots/1.png", "shots/2.png"], ["cam2/1.png", "cam2/2.png"]),
    ],
)
def test_no_other_picture_takes_the_place_of_a_missing_one(tmp_path, names, expected):
    coco(tmp_path / "d", names, ["cam2/1.png", "cam2/2.png"])
    found, report = file_names(tmp_path / "d", tmp_path / "o")
    assert found == expected
    assert ("do not exist are left out" in report) == (len(expected) < len(names))


def yolo_list(root, lines, files=("1.png", "b/2.png")) -> None:
    for name in files:
        path = picture(root / "images" / name)
        path.with_suffix(".txt").write_text(ROW)
    (root / "images" / "train.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("train: images/train.txt\nnames: [cat]\n")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["b/1.png", "b/2.png"], ["images/b/2.png"]),
        (["/old/b/1.png", "1.png"], ["images/1.png"]),
        (["/old/images/1.png", "/old/images/b/2.png"], ["images/1.png", "images/b/2.png"]),
        (["data/b/2.png"], ["images/b/2.png"]),
        (["images/1.png", "images/b/2.png"], ["images/1.png", "images/b/2.png"]),
    ],
)
def test_no_other_picture_takes_the_place_of_a_listed_one(tmp_path, lines, expected):
    yolo_list(tmp_path / "d", lines)
    found, report = file_names(tmp_path / "d", tmp_path / "o")
    assert found == expected and ("do not exist" in report) == (len(expected) < len(lines))


@pytest.mark.parametrize("path", ["../test/images", "test/images", "/old/test/images", "../v2/images"])
def test_no_test_set_is_made_of_the_training_pictures(tmp_path, path):
    picture(tmp_path / "d" / "images" / "1.png").with_suffix(".txt").write_text(ROW)
    (tmp_path / "d" / "data.yaml").write_text(f"train: images\ntest: {path}\nnames: [cat]\n")
    with pytest.raises(ValueError, match=r"test: '.*images' does not exist"):
        converted(tmp_path / "d", tmp_path / "o")


@pytest.mark.parametrize("path", ["../train/images", "x/train/images", "d/train/images", "/old/d/train/images"])
def test_paths_of_other_places_lead_to_their_split(tmp_path, path):
    picture(tmp_path / "d" / "train" / "images" / "1.png").with_suffix(".txt").write_text(ROW)
    (tmp_path / "d" / "data.yaml").write_text(f"train: {path}\nnames: [cat]\n")
    assert file_names(tmp_path / "d", tmp_path / "o")[0] == ["1.png"]


NAMES = st.text("aB1 .?=%\\é", min_size=1, max_size=5).filter(lambda x: x.strip(".") and x not in (".", ".."))
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8, unique=True)


@given(paths=PATHS, root=st.sampled_from(["/d", "/d/images"]))
def test_every_file_is_found_by_its_own_path(paths, root):
    files = [Path(root, path) for path in paths]
    index = PathIndex(Path(root), files)
    for path, file in zip(paths, files, strict=True):
        assert index.find(path, Path(root)) == [file] and index.exact(path, Path(root)) == file
        assert file in index.find(path) and index.reach(path, file) > 10


def test_pictures_with_one_base_name_are_found_in_linear_time(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(lookup, "fold", lambda name, fold=lookup.fold: calls.append(name) or fold(name))

    def count(number):
        calls.clear()
        paths = [tmp_path / "images" / f"d{i:05}" / "rgb.png" for i in range(number)]
        index = PathIndex(tmp_path, paths)
        for i, path in enumerate(paths):
            assert index.find(f"d{i:05}/rgb.png", tmp_path / "annotations") == [path]
        return len(calls)

    assert count(80) < 5 * count(20)
