"""Rows of YOLO: a box, an outline or a pose, and never one for the other."""

import pytest

from dab_detr.conversion import DamagedDataset
from odd_folders import BOX, ROW, boxes, converted, yolo

NAMES = "train: images/train\nnames: [cat]\n"


@pytest.mark.parametrize("row", ["0 0.5 0.5 -0.08 0.1", "0 0.5 0.5 0.1 -0.08", "0 0.5 0.5 -0.1 0.1 0.9"])
def test_a_negative_size_is_damage(tmp_path, row):
    with pytest.raises(DamagedDataset, match=r"a\.txt, line 2: has a negative width or height"):
        converted(yolo(tmp_path / "d", row=f"{ROW}{row}\n"), tmp_path / "o")


@pytest.mark.parametrize("count", [6, 7, 8, 12, 13, 15])
def test_a_row_that_does_not_fit_kpt_shape_is_damage(tmp_path, count):
    row = " ".join(["0", *["0.5"] * count])
    root = yolo(tmp_path / "d", yaml=f"{NAMES}kpt_shape: [4, 3]\n", row=f"{ROW}{row}\n")
    with pytest.raises(DamagedDataset, match=r"a\.txt, line 2: .*kpt_shape \[4, 3\] asks for 17, or 5"):
        converted(root, tmp_path / "o")


@pytest.mark.parametrize("tail", ["", " 0.4 0.5 2 0.6 0.5 1", " 0.9"])
def test_rows_beside_kpt_shape_keep_their_box(tmp_path, tail):
    root = yolo(tmp_path / "d", yaml=f"{NAMES}kpt_shape: [2, 3]\n", row=f"{ROW.strip()}{tail}\n")
    assert boxes(converted(root, tmp_path / "o")[0]) == [BOX]


def test_kpt_shape_counts_without_splits(tmp_path):
    root = yolo(tmp_path / "d", yaml="names: [cat]\nkpt_shape: [2, 2]\n", row=f"{ROW.strip()} 0.1 0.1 0.9 0.9\n")
    assert boxes(converted(root, tmp_path / "o")[0]) == [BOX]


@pytest.mark.parametrize("shape", ["17", "[17]", "[a, 3]", "[0, 3]", "{a: 3}"])
def test_a_kpt_shape_of_another_form_is_damage(tmp_path, shape):
    with pytest.raises(ValueError, match=r"data\.yaml, kpt_shape: must be \[points, numbers per point\]"):
        converted(yolo(tmp_path / "d", yaml=f"{NAMES}kpt_shape: {shape}\n"), tmp_path / "o")
