"""Remarks about classes that are not found and about AP that still rises."""

import csv

import pytest

from dab_detr.report.remarks import lost_classes, rising
from dab_detr.report.results import classes_section

HEADER = ["id", "class", "objects", "AP"]


@pytest.mark.parametrize(
    "rows, names",
    [
        ([("disc", 5, "40"), ("box", 1200, "0.99"), ("star", 0, "nan")], "box (objects: 1,200)"),
        ([("disc", 5, "40"), ("box", 7, "1.0")], None),
        ([("disc", 5, "10"), ("box", 7, "0")], None),  # nothing is found well
        ([("disc", 5, "40"), ("box", 0, "nan")], None),
        ([], None),
    ],
)
def test_classes_that_are_not_found_are_named(rows, names):
    text = lost_classes(HEADER, [("1", name, str(objects), ap) for name, objects, ap in rows])
    assert (names is None) == (text is None)
    assert text is None or f"AP is below 1: {names}. Look at" in text


def test_many_lost_classes_are_cut_short():
    rows = [["1", "found", "9", "50"], *([str(i), f"lost {i}", "3", "0"] for i in range(2, 30))]
    assert "lost 9 (objects: 3) and 20 more." in lost_classes(HEADER, rows)


def test_the_section_and_a_warning_name_them(tmp_path, caplog):
    header = (*HEADER, "AP50", "AP75", "APs", "APm", "APl", "best threshold", "precision there", "recall there")
    with (tmp_path / "classes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, (1, "a", 3, 30, *[1] * 8), (2, "b", 3, 0.2, *[1] * 8)])
    section = classes_section(tmp_path)
    assert section.note.startswith("The model finds almost no object of these classes, AP is below 1: b (objects: 3).")
    assert "almost no object" in caplog.text and section.tables[0].rows[1][:3] == ["b", "3", "0.2"]


@pytest.mark.parametrize(
    "values, rises",
    [
        ([11.0, 15.0, 17.9], True),
        ([11.0, 15.0, 15.7], False),  # by less than 5 %
        ([11.0, 20.0, 17.9], False),
        ([11.0, 12.0, 19.0, 18.0], False),  # the last one is not the best
        ([15.0, 17.9], False),  # too few evaluations
        ([0.0, 0.0, 0.0], False),
        ([0.0, 0.0, 0.4], True),
        ([1.0, float("nan"), float("nan")], False),
        ([], False),
    ],
)
def test_ap_that_still_rises(values, rises):
    text = rising("AP", [(100 * i, value) for i, value in enumerate(values, 1)])
    assert bool(text) == rises
    if values[-1:] == [17.9]:
        assert text is None or text.startswith("AP still rose at the end: from 15.0 at iteration 200 to 17.9 at iter")
