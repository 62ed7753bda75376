"""What is logged of the queries beside the losses: how much their answers differ, and how far layers agree."""

import pytest
import torch
from detectron2.utils.events import EventStorage

from dab_detr.losses.diagnostics import match_churn, spread
from dab_detr.modeling.structures import Matches, Prediction
from losses_by_hand import criterion
from samples import random_boxes, random_prediction, random_targets


def logged(prediction: Prediction, counts) -> dict[str, float]:
    with EventStorage() as storage:
        criterion()(prediction, random_targets(counts))
    return {name: value for name, (value, _) in storage.latest().items()}


def test_spread_is_the_deviation_among_the_queries_of_an_image():
    answers = torch.tensor([[[0.0, 5.0], [2.0, 5.0]], [[1.0, 1.0], [1.0, 7.0]]])
    assert spread(answers).item() == pytest.approx((1 + 0 + 0 + 3) / 4)
    assert spread(random_boxes(3, 1).expand(3, 9, 4)) < 1e-6  # images differ, queries do not


@pytest.mark.parametrize("collapsed", ["box_spread", "logit_spread"])
def test_collapsed_queries_have_no_spread(collapsed):
    prediction = random_prediction()
    same = Prediction(
        prediction.logits[:, :, :1].expand_as(prediction.logits) if collapsed == "logit_spread" else prediction.logits,
        prediction.boxes[:, :, :1].expand_as(prediction.boxes) if collapsed == "box_spread" else prediction.boxes,
    )
    numbers = logged(same, (2, 1))
    (other,) = {"box_spread", "logit_spread"} - {collapsed}
    assert numbers[collapsed] < 1e-6 and numbers[other] > 0.01


def test_churn_is_the_share_of_objects_whose_query_changes():
    """Of five objects in two images, three layers: only the last two count, and there two objects change."""
    layer = torch.arange(3).repeat_interleave(5)
    image = torch.tensor([0, 0, 0, 1, 1]).repeat(3)
    query = torch.tensor([[9, 9, 9, 9, 9], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]])
    objects = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [1, 0, 2, 3, 4]])  # queries 0 and 1 have changed places
    matches = Matches((layer, image, query.flatten()), objects.flatten())
    assert match_churn(matches, 3, 5) == 40


def test_churn_of_layers_that_agree_and_of_layers_that_do_not():
    one = random_prediction(layers=1)
    agreeing = Prediction(one.logits.repeat(2, 1, 1, 1), one.boxes.repeat(2, 1, 1, 1))
    shifted = Prediction(torch.cat([one.logits, one.logits.roll(1, 2)]), torch.cat([one.boxes, one.boxes.roll(1, 2)]))
    assert logged(agreeing, (2, 3))["match_churn"] == 0
    assert logged(shifted, (2, 3))["match_churn"] == 100
    assert logged(agreeing, (0, 0))["match_churn"] == 0
    assert logged(agreeing, (9, 0))["match_churn"] == 0  # more objects than queries: those left over are in both
