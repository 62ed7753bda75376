"""The last lines of a prediction: counts, paths, and advice if nothing was found."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from dab_detr.inference.detections import Detections
from dab_detr.inference.shares import Processes
from dab_detr.inference.summary import Counts, rounded_down, summary
from tools import predict

SHAPES = ["disc", "box", "triangle"]


def image(highest: float, number: int = 0) -> Detections:
    """An image with some objects and its highest score."""
    found = Instances(
        (4, 4), pred_boxes=Boxes(torch.zeros(number, 4)), scores=torch.ones(number), pred_classes=torch.zeros(number)
    )
    pixels = np.zeros((4, 4, 3), np.uint8)
    return Detections(name="1.png", image=pixels, instances=found, class_names=SHAPES, highest=highest)


def lines(counts: Counts, *given: str, names: list[str] = SHAPES) -> list[str]:
    args = predict.parse(["in", "--checkpoint", "model.pth", "--output", "out", *given])
    return summary(args, counts, names).splitlines()


def test_a_run_without_objects_says_how_far_it_was_from_one():
    counts = Counts()
    for highest in (0.1, 0.2149, 0.05):
        counts.add(image(highest))
    assert lines(counts) == [
        "3 images with 0 objects; pictures in out",
        "No score reached 0.3; the highest was 0.21. The model knows disc, box, triangle. --threshold 0.2 draws more.",
    ]


def test_one_object_is_enough_for_no_advice():
    counts = Counts()
    counts.add(image(0.2))
    counts.add(image(0.4, 1))
    assert lines(counts) == ["2 images with 1 objects; pictures in out"]
    assert lines(Counts()) == ["0 images with 0 objects; pictures in out"]


def test_many_classes_are_cut_short_and_a_model_without_boxes_gets_no_threshold():
    text = lines(Counts(images=1), names=[f"class {i}" for i in range(80)])[1]
    assert text.startswith("The model gave no box at all. The model knows class 0, ")
    assert text.endswith(" class 7 and 72 more classes.") and "--threshold" not in text


def test_the_highest_score_is_that_of_all_processes():
    class Second(Processes):
        def total(self, *numbers):
            return [
                x + y for x, y in zip(numbers, (2, 1) if len(numbers) == 2 and numbers[0] else (0.7, 0), strict=True)
            ]

    total = Counts(images=3, objects=4, highest=0.25).of_all(Second(rank=1, count=2))
    assert (total.images, total.objects, total.highest) == (5, 5, 0.7)


@pytest.mark.parametrize("score", [0.2999, 0.0356, 0.9999, 0.1, 1e-5, 0.7])
def test_a_suggested_threshold_is_reached(score):
    score = torch.tensor(score).item()
    for digits in (1, 2):
        assert 0.5 * score < float(rounded_down(score, digits)) <= score
    assert [rounded_down(0.2999, x) for x in (1, 2)] == ["0.2", "0.29"]
