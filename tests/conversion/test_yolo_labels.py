"""Label files of YOLO: each belongs to its picture, and each that belongs to none is named."""

import gzip

import pytest

from dab_detr.conversion import DamagedDataset
from odd_folders import BOX, ROW, boxes, converted, picture, yolo


def test_label_files_that_differ_only_in_case_keep_their_pictures(tmp_path):
    root = yolo(tmp_path / "d", ["A.png", "a.png"])
    if len(list((root / "images" / "train").iterdir())) < 2:
        return  # the file system does not tell the names apart
    (root / "labels" / "train" / "a.txt").write_text("0 0.1 0.1 0.1 0.1\n" * 2)
    content, report = converted(root, tmp_path / "o")
    names = {x["id"]: x["file_name"] for x in content["images"]}
    assert sorted(names[x["image_id"]] for x in content["annotations"]) == ["A.png", "a.png", "a.png"]
    assert "share a label file" not in report and "without a picture" not in report


def test_a_label_file_of_another_case_is_found(tmp_path):
    root = yolo(tmp_path / "d", ["b.png"])
    (root / "labels" / "train" / "b.txt").rename(root / "labels" / "train" / "B.TXT")
    assert boxes(converted(root, tmp_path / "o")[0]) == [BOX]


@pytest.mark.parametrize("name", ["test", "train", "notes", "Readme2", "requirements", "classes"])
def test_rows_without_a_picture_are_named_whatever_their_file_is_called(tmp_path, name):
    root = yolo(tmp_path / "d")
    (root / "labels" / "train" / f"{name}.txt").write_text(ROW)
    report = converted(root, tmp_path / "o")[1]
    assert f"without a picture are left out (1): labels/train/{name}.txt (1 objects)" in report


def test_texts_that_are_no_labels_are_not_named(tmp_path):
    root = yolo(tmp_path / "d")
    for name in ("notes", "readme", "classes", "train"):
        (root / "labels" / "train" / f"{name}.txt").write_text("cat\n")
    assert "without a picture" not in converted(root, tmp_path / "o")[1]


@pytest.mark.parametrize("fault", ["gzip", "link"])
def test_a_damaged_label_file_without_a_picture_can_be_skipped(tmp_path, fault):
    root = yolo(tmp_path / "d")
    path = root / "labels" / "train" / "b.txt"
    if fault == "gzip":
        path.write_bytes(gzip.compress(ROW.encode()))
    else:
        path.symlink_to(tmp_path / "gone.txt")
    with pytest.raises(DamagedDataset, match=r"b\.txt: "):
        converted(root, tmp_path / "o")
    content, report = converted(root, tmp_path / "o", skip_damaged=True)
    assert boxes(content) == [BOX] and "b.txt" in report


def test_a_second_label_file_of_a_picture_is_called_so(tmp_path):
    root = yolo(tmp_path / "d")
    (root / "images" / "train" / "a.txt").write_text(2 * ROW)
    content, report = converted(root, tmp_path / "o")
    assert boxes(content) == [BOX] and "without a picture" not in report
    assert "a second label file, which is left out (1): images/train/a.txt (2 objects) of images/train/a.png" in report


def test_the_label_file_of_another_picture_is_no_second_one(tmp_path):
    root = yolo(tmp_path / "d")
    picture(root / "images" / "train" / "labels" / "a.png")
    (root / "images" / "train" / "labels" / "a.txt").write_text(ROW)
    content, report = converted(root, tmp_path / "o")
    assert boxes(content) == [BOX, BOX] and "second label file" not in report
