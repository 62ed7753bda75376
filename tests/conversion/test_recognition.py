"""The formats of files are told by their content, wherever in the file it stands."""

import json

import pytest

from dab_detr.conversion import DamagedDataset, recognize
from odd_folders import converted, picture

SHAPE = {"label": "cat", "shape_type": "rectangle", "points": [[6, 4], [14, 6]]}


def labelme(root, name: str, *, data: str | None = None, shapes: bool = True) -> None:
    picture(root / f"{name}.png")
    content = {"imageData": data, "imagePath": f"{name}.png", **({"shapes": [SHAPE]} if shapes else {})}
    (root / f"{name}.json").write_text(json.dumps(content))


@pytest.mark.parametrize("names", ["a", "ab"])
def test_a_large_picture_may_stand_before_the_shapes_of_labelme(tmp_path, names):
    for name in names:
        labelme(tmp_path / "d", name, data="A" * 70000 if name == "a" else None)
    content, report = converted(tmp_path / "d", tmp_path / "o")
    assert len(content["annotations"]) == len(names) and "without labels" not in report


def test_a_file_of_labelme_without_shapes_is_damaged(tmp_path):
    labelme(tmp_path / "d", "a", shapes=False)
    labelme(tmp_path / "d", "b")
    with pytest.raises(DamagedDataset, match=r"a\.json, shapes: must be a list"):
        converted(tmp_path / "d", tmp_path / "o")


def test_the_json_of_label_studio_is_called_so(tmp_path):
    picture(tmp_path / "d" / "a.png")
    task = {"id": 1, "annotations": [{"id": 1, "result": []}], "data": {"image": "/data/upload/1/0f9a1c2d-a.png"}}
    (tmp_path / "d" / "x.json").write_text(json.dumps([task]))
    with pytest.raises(ValueError, match=r"x\.json is Label Studio's JSON: export it as COCO or YOLO"):
        recognize(tmp_path / "d")
