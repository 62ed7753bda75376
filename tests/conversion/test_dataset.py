"""A folder as a dataset to train on."""

import json

import pytest
from PIL import Image

from dab_detr.conversion import dataset_from_folder


def flat(root, number=10):
    root.mkdir()
    for i in range(number):
        Image.new("RGB", (20, 10)).save(root / f"{i}.png")
        (root / f"{i}.txt").write_text("0 0.5 0.5 0.4 0.2\n")
    (root / "classes.txt").write_text("cat\n")
    return root


def test_a_validation_set_is_split_off_where_there_is_none_and_said(tmp_path):
    lines = []
    parts = dataset_from_folder(flat(tmp_path / "d"), tmp_path / "o", tell=lines.append)
    assert {name: part.num_images for name, part in parts.items()} == {"train": 8, "val": 2}
    assert "is a dataset of YOLO" in lines[0] and "val was split off: 2 pictures" in lines[-1]
    first = parts["val"].annotations.read_bytes()
    assert dataset_from_folder(tmp_path / "d", tmp_path / "o", tell=lines.append) == parts
    assert parts["val"].annotations.read_bytes() == first
    assert all((parts["val"].images / x["file_name"]).is_file() for x in json.loads(first)["images"])


def test_a_folder_without_train_is_one_line(tmp_path):
    flat(tmp_path / "d").rename(tmp_path / "test")
    (tmp_path / "d").mkdir()
    (tmp_path / "test").rename(tmp_path / "d" / "test")
    with pytest.raises(ValueError, match="has no training set, only test"):
        dataset_from_folder(tmp_path / "d", tmp_path / "o")
