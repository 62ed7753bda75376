"""Which query answers with which class."""

import pytest
import torch

from dab_detr.modeling.selection import BestClasses, TopPairs

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
