"""What nobody means to bring to a conversion: it ends, and it says what it changes and what it leaves out."""

import gzip
import json
import math
import os

import pytest

from dab_detr.conversion import DamagedDataset, recognize
from dab_detr.conversion.inventory import take_inventory
from odd_folders import BOX, boxes, coco, converted, flat_voc, picture, yolo


def test_pieces_of_labelme_keep_their_own_outlines(tmp_path):
    picture(tmp_path / "d" / "a.png")
    pieces = [[[6, 4], [8, 4], [8, 6]], [[12, 4], [14, 4], [14, 6]]]
    shapes = [{"label": "cat", "shape_type": "polygon", "group_id": 1, "points": piece} for piece in pieces]
    (tmp_path / "d" / "a.json").write_text(json.dumps({"shapes": shapes}))
    content, report = converted(tmp_path / "d", tmp_path / "o")
    assert content["annotations"][0]["segmentation"] == [[x for point in piece for x in point] for piece in pieces]
    assert "one object with the box of all of them (1): a.json, shapes[0] (2 shapes)" in report


@pytest.mark.parametrize("place", ["images/train/p.png", "labels/train/a.json", "labels/train/b.txt"])
def test_what_is_no_file_is_not_read(tmp_path, place):
    root = yolo(tmp_path / "d")
    os.mkfifo(root / place)
    assert len(converted(root, tmp_path / "o")[0]["images"]) == 1


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    root = yolo(tmp_path / "d")
    (root / "images" / "train" / "gone.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DamagedDataset, match=r"gone\.png: the picture cannot be read"):
        converted(root, tmp_path / "o")


@pytest.mark.parametrize("links", [{"x": "."}, {"x": ".."}, {"x": "../../.."}, {"p/x": "../q", "q/y": "../p"}])
def test_links_in_a_circle_add_no_pictures(tmp_path, links):
    root = yolo(tmp_path / "d", ["p/a.png", "q/b.png"])
    for name, target in links.items():
        (root / "images" / "train" / name).symlink_to(target)
    content, _ = converted(root, tmp_path / "o")
    names = [x["file_name"] for x in content["images"]]
    assert {"p/a.png", "q/b.png"} <= set(names) and len(names) == (4 if "p/x" in links else 2)  # each by its own links


def test_a_link_to_a_folder_whose_name_begins_alike_is_followed(tmp_path):
    outside, root = yolo(tmp_path / "set"), tmp_path / "settled"
    root.mkdir()
    for name in ("images", "labels"):
        (root / name).symlink_to(outside / name)
    (root / "more").symlink_to(outside)
    (root / "classes.txt").write_text("cat\n")
    content, _ = converted(root / "more", tmp_path / "o")
    assert len(content["images"]) == 1
    assert len(take_inventory(root).pictures) == 2


@pytest.mark.parametrize("encoding", ["gb2312", "shift_jis", "koi8-r", "windows-1251", "euc-kr", "big5"])
def test_an_encoding_that_xml_states_is_used(tmp_path, encoding):
    name = {"koi8-r": "кот", "windows-1251": "кот", "euc-kr": "고양이"}.get(encoding, "犬")
    root = flat_voc(tmp_path / "v", name=name)
    text = (root / "a.xml").read_text("utf-8")
    (root / "a.xml").write_bytes(f"<?xml version='1.0' encoding='{encoding}'?>{text}".encode(encoding))
    assert converted(root, tmp_path / "o")[0]["categories"][0]["name"] == name


@pytest.mark.parametrize("encoding", ["klingon", "utf-16", "hex"])
def test_an_encoding_that_xml_states_wrongly_is_passed_over(tmp_path, encoding):
    root = flat_voc(tmp_path / "v", name="é")
    (root / "a.xml").write_text(f"<?xml version='1.0' encoding='{encoding}'?>{(root / 'a.xml').read_text('utf-8')}")
    assert converted(root, tmp_path / "o")[0]["categories"][0]["name"] == "é"


def test_objects_of_voc_are_found_below_others_and_have_one_box(tmp_path):
    root = flat_voc(tmp_path / "v")
    text = (root / "a.xml").read_text()
    (root / "a.xml").write_text(
        text.replace("<object>", "<objects><object>").replace("</object>", "</object></objects>")
    )
    assert boxes(converted(root, tmp_path / "o")[0]) == [BOX]
    box = text[text.index("<bndbox>") : text.index("</bndbox>") + 9]
    (root / "a.xml").write_text(text.replace(box, 2 * box))
    with pytest.raises(DamagedDataset, match=r"a\.xml, object 1: has 2 <bndbox>"):
        converted(root, tmp_path / "o")


@pytest.mark.parametrize("value", ["1e10", "-1e300", "9" * 30, "1e400", "nan", "-inf", "six", ""])
def test_numbers_beyond_any_picture_are_damage(tmp_path, value):
    with pytest.raises(DamagedDataset, match=r"a\.xml, object 1: <xmax> is (larger than any picture|not a number)"):
        converted(flat_voc(tmp_path / "v", box=(7, 5, value, 6)), tmp_path / "o")
    number = {"nan": math.nan, "-inf": -math.inf, "six": "six", "": ""}.get(value) if value[-1:].isalpha() else value
    number = value if number is None else number
    with pytest.raises(DamagedDataset, match=r"annotation 0: bbox is (larger than any picture|not a number)"):
        converted(coco(tmp_path / "c", bbox=[1, 1, number, 2]), tmp_path / "o")


@pytest.mark.parametrize(
    "outline",
    [
        {"counts": [5, 10, 185], "size": [-10, 20]},
        {"counts": [10**18], "size": [10**9, 10**9]},
        {"counts": [5, -10, 205], "size": [10, 20]},
        {"counts": [5, 10], "size": [10, 20]},
        [[1, 2, 3]],
        [[math.nan, 1, 2, 3, 4, 5]],
        [["x", 1, 2, 3, 4, 5]],
        [[]],
        "x",
        5,
    ],
)
def test_an_outline_that_nothing_can_decode_is_left_out_and_named(tmp_path, outline):
    content, report = converted(coco(tmp_path / "d", segmentation=outline), tmp_path / "o")
    assert boxes(content) == [BOX] and "segmentation" not in content["annotations"][0]
    assert "that nothing can decode are left out" in report and "annotation 0" in report


@pytest.mark.parametrize("outline", [[[6, 4, 14, 4, 14, 6]], {"counts": [5, 10, 185], "size": [10, 20]}, [], None])
def test_an_outline_stays_as_it_is(tmp_path, outline):
    content, report = converted(coco(tmp_path / "d", segmentation=outline), tmp_path / "o")
    assert content["annotations"][0]["segmentation"] == outline and "outlines" not in report


@pytest.mark.parametrize("area", ["x", math.nan, -3, 10**400, [], None])
def test_an_area_that_is_no_number_is_that_of_the_box(tmp_path, area):
    content, report = converted(coco(tmp_path / "d", area=area), tmp_path / "o")
    assert content["annotations"][0]["area"] == 16 and "areas that are not numbers" in report


@pytest.mark.parametrize(
    ("flag", "crowd"), [(None, 0), ("0", 0), (False, 0), (0.0, 0), (True, 1), ("1", 1), ("false", 0)]
)
def test_a_crowd_is_one_however_it_is_written(tmp_path, flag, crowd):
    content, report = converted(coco(tmp_path / "d", iscrowd=flag), tmp_path / "o")
    assert content["annotations"][0]["iscrowd"] == crowd and ("only objects marked iscrowd" in report) == bool(crowd)


@pytest.mark.parametrize("flag", [2, -1, 0.5, "x", [], {}])
def test_a_crowd_is_nothing_but_0_or_1(tmp_path, flag):
    with pytest.raises(DamagedDataset, match="annotation 0: iscrowd must be 0 or 1"):
        converted(coco(tmp_path / "d", iscrowd=flag), tmp_path / "o")


def test_a_picture_with_two_entries_and_one_in_both_splits_are_named(tmp_path):
    root = yolo(tmp_path / "d", yaml="train: images/train\nval: images/train\nnames: [cat]\n")
    assert (
        "in train and in val, whose AP is then too good (1): images/train/a.png" in converted(root, tmp_path / "o")[1]
    )
    root = coco(tmp_path / "c")
    path = root / "train" / "_annotations.coco.json"
    content = json.loads(path.read_text())
    content["images"].append({"id": 6, "file_name": "a.png"})
    path.write_text(json.dumps(content))
    assert "several entries in one split" in converted(root, tmp_path / "p")[1]


def test_splits_without_objects_are_named(tmp_path):
    root = yolo(tmp_path / "d", row="", yaml="train: images/train\ntest: images/train\nnames: [cat]\n")
    assert "splits have no objects (1): train;" in converted(root, tmp_path / "o")[1]


@pytest.mark.parametrize(
    "name", ["https://x.y/day/a.png?token=3", "s3://bucket/day/a.png#1", "/data/upload/1/0f9a1c2d-a.png"]
)
def test_addresses_and_uploaded_names_of_pictures_are_found(tmp_path, name):
    assert converted(coco(tmp_path / "d", name), tmp_path / "o")[0]["images"][0]["file_name"] == "day/a.png"


def test_where_nothing_is_left_the_reason_is_told(tmp_path):
    with pytest.raises(
        ValueError, match=r"left to convert: listed pictures that do not exist .*: b\.png of train/_ann"
    ):
        converted(coco(tmp_path / "d", "b.png"), tmp_path / "o")


def test_compressed_files_are_called_so(tmp_path):
    path = coco(tmp_path / "d") / "train" / "_annotations.coco.json"
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DamagedDataset, match=r"is compressed with gzip: unpack it \(gunzip\)"):
        converted(tmp_path / "d", tmp_path / "o")


def test_a_small_yaml_of_endless_names_and_one_of_bytes_are_one_line_each(tmp_path):
    doubled = "".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 10)}]\n" for i in range(1, 12))
    root = yolo(tmp_path / "d", yaml=f"k0: &k0 [x]\n{doubled}train: images/train\nnames: *k11\n")
    with pytest.raises(ValueError, match=r"names: class 0 has no name"):
        recognize(root)
    with pytest.raises(ValueError, match=r"data\.yaml: is not YAML [^\n]*$"):
        recognize(yolo(tmp_path / "b", yaml="\x00\x01"))


def test_negative_sizes_of_createml_are_exchanged_corners(tmp_path):
    picture(tmp_path / "d" / "a.png")
    place = {"x": 10, "y": 5, "width": -8, "height": 2}
    entry = {"image": "a.png", "annotations": [{"label": "cat", "coordinates": place}]}
    (tmp_path / "d" / "c.json").write_text(json.dumps([entry]))
    content, report = converted(tmp_path / "d", tmp_path / "o")
    assert boxes(content) == [BOX] and "exchanged corners" in report
