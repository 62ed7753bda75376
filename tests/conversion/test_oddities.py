"""What people bring, each in its smallest form: nothing is lost, nothing is invented, and everything odd is named."""

import json

import pytest

from dab_detr.conversion import DamagedDataset, recognize
from odd_folders import BOX, ROW, boxes, coco, converted, flat_voc, picture, yolo


@pytest.mark.parametrize("name", ["day/a.png", "a.jfif", "a.gif", "a.PNG", "ä b.webp", "x.y.bmp", "a.tif"])
def test_pictures_of_every_name_keep_it(tmp_path, name):
    content, _ = converted(yolo(tmp_path / "d", [name]), tmp_path / "o")
    assert [x["file_name"] for x in content["images"]] == [name] and boxes(content) == [BOX]


def test_hidden_files_are_no_pictures(tmp_path):
    root = yolo(tmp_path / "d")
    for name in ("._a.png", ".DS_Store", ".trash/b.png"):
        path = root / "images" / "train" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    content, report = converted(root, tmp_path / "o")
    assert len(content["images"]) == 1 and "._a" not in report and "trash" not in report


@pytest.mark.parametrize(
    "yaml",
    [
        "path:\ntrain: images/train\nnames: [cat]\n",
        "path: ~\ntrain: images/train\nval: null\ntest:\nnames: [cat]\n",
        "path: ''\ntrain: images/train\nval: Null\nnames: [cat]\n",
        "path: C:\\data\\set\ntrain: images\\train\nnames: [cat]\n",
        'path: "C:\\Users\\me"\ntrain: "C:\\Users\\me\\images\\train"\nnames: [cat]\n',
        "path: /content/drive\ntrain: ../images/train\nnames: {0: cat}\n",
        "train:\n  - images/train\nnames:\n  0: cat\n",
        "train: list.txt\nnames: [cat]\n",
    ],
)
def test_paths_of_a_data_yaml(tmp_path, yaml):
    root = yolo(tmp_path / "d", yaml=yaml)
    (root / "list.txt").write_text("\n".join(["./images/train/a.png", "D:\\x\\images\\train\\a.png", "gone.png"]))
    content, report = converted(root, tmp_path / "o")
    assert boxes(content) == [BOX]
    assert ("gone.png" in report) == ("list.txt" in yaml)


@pytest.mark.parametrize("key", ["val", "valid", "validation"])
def test_both_spellings_of_a_split(tmp_path, key):
    root = yolo(tmp_path / "d", yaml=f"train: images/train\n{key}: images/train\nnames: [cat]\n")
    assert len(converted(root, tmp_path / "o", "val")[0]["images"]) == 1


def test_only_a_test_split(tmp_path):
    root = yolo(tmp_path / "d", yaml="test: images/train\nnames: [cat]\n")
    assert len(converted(root, tmp_path / "o", "test")[0]["images"]) == 1


@pytest.mark.parametrize("name", ["yes", "no", "on", "null", "~", "007", "1.0", "0x1", "2024-01-01", "'it''s'", "true"])
def test_names_are_as_written(tmp_path, name):
    root = yolo(tmp_path / "d", yaml=f"train: images/train\nnames: [{name}, other]\n")
    expected = name.strip("'").replace("''", "'")
    assert converted(root, tmp_path / "o")[0]["categories"][0] == {"id": 0, "name": expected}


def test_keys_of_names_are_ids(tmp_path):
    yaml = "train: images/train\nnames: {6: a, 7: b, 30: c}\n"
    content, _ = converted(yolo(tmp_path / "d", yaml=yaml, row=f"30{ROW[1:]}"), tmp_path / "o")
    assert [c["id"] for c in content["categories"]] == [6, 7, 30]
    assert content["annotations"][0]["category_id"] == 30


@pytest.mark.parametrize("names", ["[cat, dog, cat]", "{3: cat, 7: cat}"])
def test_equal_names_are_an_error_that_names_both(tmp_path, names):
    root = yolo(tmp_path / "d", yaml=f"train: images/train\nnames: {names}\n")
    with pytest.raises(ValueError, match=r"the classes \d and \d are both called 'cat'"):
        recognize(root)


@pytest.mark.parametrize(
    ("row", "yaml"),
    [
        ("0 0.3 0.4 0.7 0.4 0.7 0.6 0.3 0.6 0.3 0.4 0.4 0.45 0.4 0.5 0.5 0.5", ""),  # a ring
        ("0 0.5 0.5 0.4 0.2 0.4 0.5 2 0.6 0.5 1", ""),  # a pose
        ("0 0.5 0.5 0.4 0.2 0.1 0.1 0.9 0.9 0 0", "kpt_shape: [3, 2]\n"),
        ("0 0.5 0.5 0.4 0.2 0.93", ""),  # a score
    ],
)
def test_rows_of_other_tasks_keep_their_box(tmp_path, row, yaml):
    root = yolo(tmp_path / "d", yaml=f"train: images/train\nnames: [cat]\n{yaml}", row=row)
    content, _ = converted(root, tmp_path / "o")
    assert boxes(content) == [BOX] and content["annotations"][0]["iscrowd"] == 0


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_label_files_in_any_encoding(tmp_path, encoding):
    content, _ = converted(yolo(tmp_path / "d", row=ROW.encode(encoding)), tmp_path / "o")
    assert boxes(content) == [BOX]
    root = flat_voc(tmp_path / "v", name="Käse", encoding=encoding)
    assert converted(root, tmp_path / "p")[0]["categories"][0]["name"] == "Käse"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("cat 0.5 0.5 0.4 0.2", "line 1: is not a row of numbers"),
        ("0 nan 0.5 0.4 0.2", "line 1: has a number that is not finite"),
        ("0 0.5 0.5 0.4", "line 1: must have a class and 4 numbers"),
        ("1 0.5 0.5 0.4 0.2", "line 1: class 1 is not among the names"),
        ("0 120 80 30 20", "line 1: has numbers beyond 0 to 1"),
    ],
)
def test_a_damaged_row_is_named_with_file_and_line(tmp_path, row, problem):
    with pytest.raises(DamagedDataset, match=f"a.txt, {problem}"):
        converted(yolo(tmp_path / "d", row=row), tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_flat_folders_of_labelimg(tmp_path):
    assert boxes(converted(flat_voc(tmp_path / "v"), tmp_path / "o")[0]) == [BOX]
    picture(tmp_path / "y" / "a.png")
    (tmp_path / "y" / "a.txt").write_text(ROW)
    with pytest.raises(ValueError, match="write a classes.txt"):
        recognize(tmp_path / "y")
    (tmp_path / "y" / "classes.txt").write_text("cat\n")
    assert boxes(converted(tmp_path / "y", tmp_path / "o")[0]) == [BOX]


def test_pictures_and_labels_without_each_other_are_named(tmp_path):
    root = yolo(tmp_path / "d", ["a.png", "b.png"])
    (root / "labels" / "train" / "b.txt").rename(root / "labels" / "train" / "c.txt")
    picture(root / "extra" / "e.png")
    content, report = converted(root, tmp_path / "o")
    assert len(content["images"]) == 2 and len(content["annotations"]) == 1
    assert "without labels are background (1): images/train/b.png" in report
    assert "without a picture are left out (1): labels/train/c.txt (1 objects)" in report
    assert "without a split or an annotation file are left out (1): extra/e.png" in report
    assert len(converted(root, tmp_path / "o", skip_unlabeled=True)[0]["images"]) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_follow_the_picture_that_exif_data_turn(tmp_path, orientation):
    root = flat_voc(tmp_path / "d", box=(1, 1, 4, 2))  # the corner, and as large as stated: the stored picture
    picture(root / "a.png", orientation)
    content, report = converted(root, tmp_path / "o")
    size = (content["images"][0]["width"], content["images"][0]["height"])
    turned = orientation > 4
    assert size == ((10, 20) if turned else (20, 10)) and ("EXIF" in report) == turned
    expected = {5: [0, 0, 2, 4], 6: [8, 0, 2, 4], 7: [8, 16, 2, 4], 8: [0, 16, 2, 4]}.get(orientation, [0, 0, 4, 2])
    assert boxes(content) == [expected]


def test_pieces_of_labelme_are_one_object(tmp_path):
    picture(tmp_path / "d" / "a.png")
    pieces = [[[6, 4], [8, 4], [8, 6]], [[12, 4], [14, 4], [14, 6]]]
    shapes = [{"label": "cat", "shape_type": "polygon", "group_id": 1, "points": piece} for piece in pieces]
    shapes += [{"label": "cat", "shape_type": "point", "group_id": 1, "points": [[1, 1]]}]
    (tmp_path / "d" / "a.json").write_text(json.dumps({"imagePath": "..\\x\\a.png", "shapes": shapes}))
    content, report = converted(tmp_path / "d", tmp_path / "o")
    assert boxes(content) == [BOX] and content["annotations"][0]["iscrowd"] == 0
    assert "objects without area (points, lines, empty boxes) are left out (1)" in report


def test_createml_and_coco_find_pictures_in_folders(tmp_path):
    picture(tmp_path / "c" / "train" / "day" / "a.png")
    entry = {
        "image": "a.png",
        "annotations": [{"label": "cat", "coordinates": {"x": 10, "y": 5, "width": 8, "height": 2}}],
    }
    (tmp_path / "c" / "train" / "_annotations.createml.json").write_text(json.dumps([entry]))
    content, _ = converted(tmp_path / "c", tmp_path / "o")
    assert boxes(content) == [BOX] and content["images"][0]["file_name"] == "day/a.png"


@pytest.mark.parametrize("name", ["day/a.png", "day\\a.png", "C:\\x\\day\\a.png", "/data/local-files/?d=x/a.png"])
def test_coco_keeps_folders_and_finds_pictures_of_other_machines(tmp_path, name):
    content, _ = converted(coco(tmp_path / "d", name), tmp_path / "o")
    assert content["images"][0]["file_name"] == "day/a.png" and content["images"][0]["id"] == 5
    assert content["annotations"][0]["id"] == 1 and content["annotations"][0]["area"] == 3
    assert content["categories"] == [{"id": 2, "name": "cat", "supercategory": "cat"}]


@pytest.mark.parametrize(
    "change", [{"bbox": None}, {"bbox": [1, 2]}, {"bbox": [1, 2, "x", 4]}, {"category_id": 9}, {"category_id": {}}]
)
def test_a_damaged_annotation_is_named(tmp_path, change):
    with pytest.raises(DamagedDataset, match=r"_annotations.coco.json, annotation 0: "):
        converted(coco(tmp_path / "d", **change), tmp_path / "o")


def test_several_datasets_of_voc_are_not_mixed(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        flat_voc(tmp_path / year)
        (tmp_path / year / "ImageSets" / "Main").mkdir(parents=True)
        (tmp_path / year / "ImageSets" / "Main" / "train.txt").write_text("a")
    with pytest.raises(ValueError, match="convert .*VOC2007 and .*VOC2012 one by one"):
        recognize(tmp_path)
