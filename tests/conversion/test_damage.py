"""Label files with anything in them: a conversion is usable, or ends in one line that names the file."""

import copy
import json
import re
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dab_detr.conversion import convert, recognize
from odd_folders import BOX, ROW, flat_voc, picture, yolo

POLYGON = [[6, 4], [14, 4], [14, 6]]
LABELME = {
    "shapes": [{"label": "cat", "points": POLYGON, "shape_type": "polygon", "group_id": 1}],
    "imagePath": "a.png",
    "imageWidth": 20,
    "imageHeight": 10,
}
CREATEML = [
    {"image": "a.png", "annotations": [{"label": "cat", "coordinates": {"x": 10, "y": 5, "width": 8, "height": 2}}]}
]
COCO = {
    "images": [{"id": 5, "file_name": "a.png", "width": 20, "height": 10}],
    "annotations": [
        {
            "id": 1,
            "image_id": 5,
            "category_id": 2,
            "bbox": BOX,
            "area": 3,
            "iscrowd": 0,
            "segmentation": [[6, 4, 14, 4, 14, 6]],
            "keypoints": [7, 5, 2],
        }
    ],
    "categories": [{"id": 2, "name": "cat", "supercategory": "animal"}],
}
NUMBERS = [True, -1, 0, 1.5, 1e308, 1e999, 2**70, 10**400]
OTHERS = [None, "", " ", "x", "7", "nan", "../..", "\0", "\ud800", "a\nb", [], {}, [[]], [None], [1, 2, 3], {"id": 1}]
VALUES = st.sampled_from([*NUMBERS, *OTHERS])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("damage")
    picture(root / "json" / "a.png")
    yolo(root / "yolo")
    flat_voc(root / "voc")
    return root


def places(value, path=()):
    """The path of every value within a value."""
    yield path
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(below, (*path, key))


def replaced(value, path, new):
    """A copy in which the value at a path is another."""
    if not path:
        return new
    value = copy.deepcopy(value)
    below = value
    for key in path[:-1]:
        below = below[key]
    below[path[-1]] = new
    return value


def check(source, output, names: str) -> None:
    """Convert: what is written can be used, or the error is one line with one of the names."""
    try:
        convert(recognize(source), output, overwrite=True)
    except ValueError as error:
        assert re.search(names, str(error)) and "\n" not in str(error), str(error)
        return
    content = json.loads((output / "train.json").read_text())
    (output / "train.json").unlink()
    keys = ("id", "image_id", "category_id", "width", "height", "bbox", "area", "segmentation", "keypoints")
    for node in (*content["images"], *content["annotations"], *content["categories"]):
        json.dumps([node.get(key) for key in keys], allow_nan=False)


fuzzed = partial(settings, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("content", [LABELME, CREATEML, COCO], ids=["labelme", "createml", "coco"])
@fuzzed(max_examples=100)
@given(data=st.data())
def test_any_value_anywhere_in_json(folder, content, data):
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from([x for x in places(content) if x]))
        content = replaced(content, path, data.draw(VALUES))
    (folder / "json" / "a.json").write_text(json.dumps(content))
    check(folder / "json", folder / "out", r"a\.json|json has no|json is left")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("json/a.json", json.dumps(LABELME)),
        ("json/a.json", json.dumps(CREATEML)),
        ("json/a.json", json.dumps(COCO)),
        ("yolo/labels/train/a.txt", ROW),
        ("yolo/data.yaml", "path: .\ntrain: images/train\nnames: [cat, dog]\n"),
        ("voc/a.xml", None),
    ],
    ids=["labelme", "createml", "coco", "rows", "yaml", "voc"],
)
@fuzzed(max_examples=40)
@given(data=st.data())
def test_files_that_are_cut_or_have_other_bytes(folder, name, text, data):
    path = folder / name
    whole = text.encode() if text else flat_voc(folder / "voc").joinpath("a.xml").read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=4)) + whole[end:])
    try:
        check(folder / name.split("/")[0], folder / "out", rf"{path.name}|has no |is left|label files of YOLO")
    finally:
        path.write_bytes(whole)
