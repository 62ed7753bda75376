"""Rows of YOLO: a box, an outline or a pose, and never one for the other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dab_detr.conversion import DamagedDataset
from dab_detr.conversion.yolo_poses import Poses, find_poses
from dab_detr.conversion.yolo_rows import read_rows
from odd_folders import BOX, ROW, boxes, converted, picture, yolo

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


UNCLEAR = "0 0.5 0.25 0.7 0.45 0.85 0.4 1 0.38 1 0\n"  # 5 points, or a box with 2 key points


def test_a_row_that_could_be_a_pose_is_an_outline_and_named(tmp_path):
    content, report = converted(yolo(tmp_path / "d", row=ROW + UNCLEAR), tmp_path / "o")
    assert boxes(content) == [BOX, pytest.approx([10, 0, 10, 4.5])]
    assert "could be outlines or poses are read as outlines (1): labels/train/a.txt, line 2" in report


def test_rows_of_two_lengths_are_no_poses(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0 0.5 0.5 0.4 0.2 0.5 0.5 2\n0 0.5 0.5 0.4 0.2 0.5 0.5 2 0.5 0.5 1 0.5 0.5 2\n")
    assert find_poses([path]) == Poses()


def test_a_row_whose_points_leave_its_box_is_no_pose(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0 0.5 0.5 0.1 0.1 0.9 0.9 1 0.1 0.1 1\n")
    assert find_poses([path]) == Poses()


@pytest.mark.parametrize("other", ["0 0.1 0.1 0.9 0.1 0.9 0.9", "0 0.1 0.1 0.2 0.2 0.3 0.1 0.4 0.3 0.1 0.6"])
def test_a_row_among_outlines_is_an_outline(tmp_path, other):
    content, report = converted(yolo(tmp_path / "d", row=f"{other}\n{UNCLEAR}"), tmp_path / "o")
    assert boxes(content)[1] == pytest.approx([10, 0, 10, 4.5]) and "could be" not in report


def test_poses_of_another_file_settle_an_unclear_row(tmp_path):
    root = yolo(tmp_path / "d", row=UNCLEAR)
    picture(root / "images" / "train" / "b.png")
    (root / "labels" / "train" / "b.txt").write_text("0 0.5 0.5 0.4 0.2 0.4 0.5 2 0 0 0\n0 0.5 0.5 0.4 0.2" + 6 * " 0")
    content, report = converted(root, tmp_path / "o")
    assert boxes(content) == [pytest.approx([3, 0.25, 14, 4.5]), BOX, BOX] and "could be" not in report


def test_a_pose_among_outlines_is_damage_that_names_kpt_shape(tmp_path):
    root = yolo(tmp_path / "d", row=f"0 0.1 0.1 0.9 0.1 0.9 0.9\n{ROW.strip()} 0.5 0.5 2 0.5 0.5 1\n")
    with pytest.raises(DamagedDataset, match=r"a\.txt, line 2: .* or kpt_shape in data\.yaml if it is a pose"):
        converted(root, tmp_path / "o")


FRACTION = st.sampled_from([0, 0.25, 0.5, 0.75, 1])


@settings(deadline=None, max_examples=100)
@given(rows=st.lists(st.lists(FRACTION, min_size=6, max_size=20).filter(lambda x: len(x) % 2 == 0), min_size=1))
def test_outlines_are_never_poses(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "outlines.txt"
    path.write_text("".join(f"0 {' '.join(map(str, x))}\n" for x in rows))
    found = read_rows(path, {0: "cat"}, find_poses([path]).keypoint_shape)
    assert [list(x.points) for x in found] == rows and all(x.outline for x in found)


@settings(deadline=None, max_examples=100)
@given(data=st.data(), count=st.integers(1, 17))
def test_poses_keep_their_box_without_kpt_shape(tmp_path_factory, data, count):
    def key_points(*visible):
        some = st.one_of(st.just([0, 0, 0]), *(st.tuples(st.just(0.5), st.just(0.5), st.just(v)) for v in visible))
        return data.draw(st.lists(some, min_size=count, max_size=count))

    objects = [key_points(1, 2) for _ in range(data.draw(st.integers(0, 3)))]
    objects.insert(data.draw(st.integers(0, len(objects))), [(0.5, 0.5, 2)] * count)
    path = tmp_path_factory.getbasetemp() / "poses.txt"
    path.write_text("".join(f"{ROW.strip()} {' '.join(str(v) for p in x for v in p)}\n" for x in objects))
    found = read_rows(path, {0: "cat"}, find_poses([path]).keypoint_shape)
    assert [x.points for x in found] == [pytest.approx((0.3, 0.4, 0.7, 0.6))] * len(objects)
