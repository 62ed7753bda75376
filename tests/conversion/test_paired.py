"""LabelMe and Pascal VOC: each label file belongs to one picture, and each shape is what its kind says."""

import json

import pytest

from dab_detr.conversion import DamagedDataset
from odd_folders import BOX, boxes, converted, flat_voc, picture

CORNERS = [[6, 4], [14, 6]]


def labelme(root, *shapes, name="a", stated="a.png", **keys):
    if not (root / "a.png").exists():
        picture(root / "a.png")
    shapes = [{"label": "cat", "shape_type": "rectangle", "points": CORNERS, **shape} for shape in shapes]
    (root / f"{name}.json").write_text(json.dumps({"shapes": shapes, "imagePath": stated, **keys}))
    return root


@pytest.mark.parametrize(("group", "number"), [("", 2), (None, 2), (0, 1), ("x", 1)])
def test_only_shapes_with_a_group_are_pieces(tmp_path, group, number):
    root = labelme(tmp_path / "d", {"group_id": group}, {"group_id": group, "points": [[1, 1], [3, 3]]})
    assert len(boxes(converted(root, tmp_path / "o")[0])) == number


@pytest.mark.parametrize("kind", ["line", "linestrip", "points"])
def test_lines_have_no_area(tmp_path, kind):
    root = labelme(tmp_path / "d", {"shape_type": kind, "group_id": 1}, {"group_id": 1})
    content, report = converted(root, tmp_path / "o")
    assert boxes(content) == [BOX] and "(points, lines, empty boxes) are left out (1): a.json, shapes[0]" in report


@pytest.mark.parametrize("size", [(40, 30), (40.0, 30.0), ("40", "30")])
def test_a_stated_size_counts_however_it_is_written(tmp_path, size):
    root = labelme(tmp_path / "d", {}, imageWidth=size[0], imageHeight=size[1])
    assert "a.png is 20x10, labeled as 40x30" in converted(root, tmp_path / "o")[1]


def test_two_label_files_that_name_one_picture_are_damage(tmp_path):
    labelme(tmp_path / "d", {}, name="x")
    labelme(tmp_path / "d", {}, name="y")
    with pytest.raises(DamagedDataset, match=r"x\.json: is not the only label file of .*a\.png: .*y\.json"):
        converted(tmp_path / "d", tmp_path / "o")


@pytest.mark.parametrize("place", [".", "VOCdevkit/VOC2012"])
def test_masks_of_voc_are_no_pictures(tmp_path, place):
    root = tmp_path / "d" / place
    flat_voc(root)
    for folder, name in (("JPEGImages", "a.png"), ("Annotations", "a.xml")):
        (root / folder).mkdir()
        (root / name).rename(root / folder / name)
    for folder in ("SegmentationClass", "SegmentationObject"):
        picture(root / folder / "a.png")
    for text in (None, "a\n", "a.png\n", "a 1\n"):
        if text:
            (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
            (root / "ImageSets" / "Main" / "train.txt").write_text(text)
        content, report = converted(tmp_path / "d", tmp_path / "o")
        assert [x["file_name"] for x in content["images"]] == ["a.png"] and boxes(content) == [BOX]
        assert "masks, not pictures" in report and "left out" not in report


@pytest.mark.parametrize(("line", "found"), [("a", 1), ("a 1", 1), ("a -1", 1), ("a  0", 1), ("a (2)", 0), ("a b", 0)])
def test_a_list_of_voc_names_pictures_exactly(tmp_path, line, found):
    root = flat_voc(tmp_path / "d")
    picture(root / "b.png")
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "train.txt").write_text(f"{line}\nb\n")
    content, report = converted(root, tmp_path / "o")
    assert len(content["images"]) == 1 + found and ("do not exist are left out (1)" in report) == (not found)


@pytest.mark.parametrize(("change", "damaged"), [(str.title, True), (lambda x: x, False)])
def test_a_file_of_voc_is_read_whatever_it_begins_with(tmp_path, change, damaged):
    root = flat_voc(tmp_path / "d")
    text = (root / "a.xml").read_text()
    picture(root / "b.png")
    (root / "b.xml").write_text(text.replace("a.png", "b.png"))
    text = text.replace("annotation>", f"{change('annotation')}>")
    (root / "a.xml").write_text(f"<!-- <b> {'x' * 5000} -->{text}")
    if damaged:
        with pytest.raises(DamagedDataset, match=r"a\.xml: is not a Pascal VOC file: its root is <Annotation>"):
            converted(root, tmp_path / "o")
    else:
        assert boxes(converted(root, tmp_path / "o")[0]) == [BOX, BOX]
