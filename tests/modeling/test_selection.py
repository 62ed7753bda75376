"""Which query answers with which class."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_convert

from dab_detr.modeling.selection import LEAST, BestClasses, TopPairs, soft_nms
from golden_cases import GOLDEN

B, Q, K = 2, 5, 4


@pytest.mark.parametrize("num_select", [1, 7, Q * K, 300])
def test_top_pairs_are_the_best_of_all_queries_and_classes(num_select):
    logits = torch.randn(B, Q, K)
    answers = TopPairs(num_select=num_select)(logits)
    assert all(x.shape == (B, min(num_select, Q * K)) for x in answers)
    for b in range(B):
        pairs = sorted(((logits[b, q, k].sigmoid().item(), q, k) for q in range(Q) for k in range(K)), reverse=True)
        assert list(zip(*(x[b].tolist() for x in answers), strict=True)) == pairs[:num_select]


def test_best_classes_are_one_of_each_query_and_never_no_object():
    logits = torch.randn(B, Q, K + 1)
    logits[0, 2, K] = 50.0  # sure that there is nothing: last, and still with a class
    answers = BestClasses()(logits)
    assert all(x.shape == (B, Q) for x in answers)
    for b in range(B):
        expected = []
        for q in range(Q):
            probabilities = (logits[b, q].exp() / logits[b, q].exp().sum())[:K].tolist()
            expected.append((max(probabilities), q, probabilities.index(max(probabilities))))
        scores, queries, labels = (x[b].tolist() for x in answers)
        assert scores == pytest.approx([score for score, _, _ in sorted(expected, reverse=True)], rel=1e-5)
        assert list(zip(queries, labels, strict=True)) == [(q, k) for _, q, k in sorted(expected, reverse=True)]
    assert answers[1][0, -1] == 2


@pytest.mark.parametrize("selection", [TopPairs(num_select=10), BestClasses()])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_logits_have_fp32_scores(selection, dtype):
    logits = torch.randn(B, Q, K).to(dtype)
    for ours, exact in zip(selection(logits), selection(logits.float()), strict=True):
        assert torch.equal(ours, exact) and ours.dtype == exact.dtype


CASES = dict(np.load(GOLDEN / "codetr_soft_nms.npz"))


@pytest.mark.parametrize("case", range(2))
def test_soft_nms_is_that_of_mmcv(case):
    """The same detections in the same order, by the scores that they end with."""
    boxes, scores, labels, keep, kept = (
        torch.from_numpy(CASES[f"{name}{case}"]) for name in ("boxes", "scores", "labels", "keep", "kept_scores")
    )
    found, order = soft_nms(boxes, scores, labels, float(CASES[f"threshold{case}"])).sort(descending=True)
    assert torch.equal(order[: len(keep)], keep)
    assert (found[: len(keep)] - kept).abs().max() < 1e-6  # mmcv shifts the boxes of each class, which rounds them
    assert (found[len(keep) :] == -torch.inf).all()


def by_hand(boxes: list, scores: list, labels: list, threshold: float) -> list:
    """Soft-NMS as it is written in the paper, one box and class after the other."""
    final, left = [-float("inf")] * len(scores), dict(enumerate(scores))
    while left:
        best = max(left, key=left.get)
        final[best] = left.pop(best)
        for other in list(left):
            x0, y0 = (max(boxes[best][i], boxes[other][i]) for i in (0, 1))
            x1, y1 = (min(boxes[best][i], boxes[other][i]) for i in (2, 3))
            common = max(0.0, x1 - x0) * max(0.0, y1 - y0)
            areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (boxes[best], boxes[other]))
            overlap = common / (areas - common)
            if labels[best] == labels[other] and overlap >= threshold:
                left[other] *= 1 - overlap
            if left[other] < LEAST:
                del left[other]
    return final


POINTS = st.integers(0, 6)
BOXES = st.tuples(POINTS, POINTS, st.integers(1, 5), st.integers(1, 5), st.integers(0, 1))


@given(st.lists(BOXES, min_size=1, max_size=12), st.randoms(use_true_random=False), st.sampled_from([0.3, 0.55, 0.8]))
def test_soft_nms_is_what_a_slow_form_of_it_gives(rows, random, threshold):
    boxes = [[float(x), float(y), float(x + w), float(y + h)] for x, y, w, h, _ in rows]
    labels = [label for *_, label in rows]
    scores = [random.choice([0.5, 0.01, 0.0011]) * (1 - 0.01 * i) for i in range(len(rows))]
    tensors = torch.tensor(boxes).double(), torch.tensor(scores).double(), torch.tensor(labels)
    assert soft_nms(*tensors, threshold).tolist() == pytest.approx(by_hand(boxes, scores, labels, threshold))


def test_the_best_detection_stays_however_low_its_score():
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(2, 1)
    found = soft_nms(boxes, torch.tensor([1e-4, 2e-4]), torch.zeros(2), 0.8)
    assert found.tolist() == [-float("inf"), pytest.approx(2e-4)]


@pytest.mark.parametrize("kind", [lambda **x: TopPairs(num_select=12, **x), BestClasses])
def test_soft_nms_in_a_selection(kind):
    """Better detections come first, boxes are seen as far as they lie in the image, and no more than asked for stay."""
    generator = torch.Generator().manual_seed(0)
    logits, boxes = torch.randn(B, Q, K, generator=generator), torch.rand(B, Q, 4, generator=generator)
    boxes[:, 1], logits[:, 1] = boxes[:, 0], logits[:, 0] - 0.1 * torch.rand(K, generator=generator)
    scores, query, labels = kind()(logits)
    for x, best in zip(kind(num_keep=3)(logits), (scores, query, labels), strict=True):
        assert torch.equal(x, best[:, :3])
    found = kind(soft_nms=0.8)(logits, boxes)
    corners = box_convert(boxes, "cxcywh", "xyxy").clamp(0, 1)
    for b in range(B):
        lowered = soft_nms(corners[b, query[b]], scores[b], labels[b], 0.8)
        pairs = sorted(zip(lowered.tolist(), query[b].tolist(), labels[b].tolist(), strict=True), key=lambda x: -x[0])
        assert list(zip(*(x[b].tolist() for x in found), strict=True)) == pairs
    assert (found[0] != scores).any()


def test_an_iou_is_from_0_to_1():
    with pytest.raises(ValueError, match=r"model.selection.soft_nms must be an IoU from 0 to 1, got 80"):
        TopPairs(num_select=1, soft_nms=80)
