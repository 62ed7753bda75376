"""A graph captured at one size is right at every size: no part of a detector branches on a size or keeps one."""

import os

import pytest
import torch
from detectron2.config import instantiate
from torch import Tensor, nn

from dab_detr import optimize_for_inference
from dab_detr.detector import DABDETR, padding_outside, select
from dab_detr.export.graph import DetectionGraph
from dab_detr.modeling.proposals import ProposalQueries
from dab_detr.models import MODELS
from samples import random_input, worst
from tiny import shrink, tell_apart

SIZES = [(96, 192), (97, 131), (256, 64)]


class Traceable(nn.Module):
    """A detector on any number of images, without Detectron2's dicts."""

    def __init__(self, model: DABDETR):
        super().__init__()
        self.model = model

    def forward(self, *images: Tensor) -> tuple[Tensor, ...]:
        found = [x["instances"] for x in self.model([{"image": image} for image in images])]
        return tuple(y for x in found for y in (x.pred_boxes.tensor, x.scores, x.pred_classes))


class Exportable(Traceable):
    """A detector on a batch of images (B, 3, H, W) of these sizes (B, 2)."""

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        padding = padding_outside(sizes, *images.shape[-2:])
        prediction = self.model.detect(self.model.backbone(images), padding)
        return select(self.model.selection, prediction, sizes)[:3]


def small(name: str) -> DABDETR:
    return tell_apart(instantiate(shrink(MODELS[name]()))).eval()


def check_same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], side: int) -> None:
    """Equal scores; equal boxes and labels, except that detections with the same score may change places."""
    (boxes, scores, labels), (their_boxes, their_scores, their_labels) = found, expected
    assert worst(scores, their_scores) < 1e-5
    close = (boxes[..., :, None, :] - their_boxes[..., None, :, :]).abs().amax(-1) < 1e-4 * side
    close &= (scores[..., :, None] - their_scores[..., None, :]).abs() < 1e-5
    assert (close & (labels[..., :, None] == their_labels[..., None, :])).any(-1).all()


IGNORED = "ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"


@torch.no_grad()
@pytest.mark.filterwarnings(*IGNORED)
@pytest.mark.parametrize("name", MODELS)
def test_traced_at_one_size_it_is_right_at_others(name):
    """With normalization, padding to a batch, and boxes in the size of each image."""
    model = Traceable(small(name))
    example = random_input(128, 160)["image"], random_input(112, 176)["image"]
    traced = torch.jit.trace(model, example, check_trace=False)
    for height, width in SIZES:
        images = random_input(height, width)["image"], random_input(height - 7, width + 7)["image"]
        found, expected = traced(*images), model(*images)
        for i in (0, 3):
            check_same(found[i : i + 3], expected[i : i + 3], max(height, width))


@torch.no_grad()
@pytest.mark.filterwarnings(*IGNORED)
@pytest.mark.parametrize("name", MODELS)
def test_traced_with_one_batch_it_is_right_for_others(name):
    """The copy for inference, also where images have fewer cells than there are queries."""
    node = shrink(MODELS[name]())
    if issubclass(node.queries._target_, ProposalQueries):
        node.queries.num_queries = 50
    model = Exportable(optimize_for_inference(tell_apart(instantiate(node)).eval()))
    traced = torch.jit.trace(model, batch_of(2, 160, 192), check_trace=False)
    for count, (height, width) in enumerate([(97, 131), (33, 48), (256, 64)], 1):
        images, sizes = batch_of(count, height, width)
        check_same(traced(images, sizes), model(images, sizes), max(height, width))


ALL = os.environ.get("DAB_DETR_EXPORT_ALL")
# torch.export takes many seconds for each member. By default it takes the one with row-column attention here, and
# tests/export takes one with attention over all cells and one with deformable attention, two stages and exact padding.
MEMBERS = sorted(MODELS) if ALL else ["anchor_detr"]


@torch.no_grad()
@pytest.mark.parametrize("name", MEMBERS)
def test_exported_once_it_takes_any_batch_and_size(name):
    """`torch.export` refuses a branch on a dynamic size."""
    model, any_size = Exportable(small(name)), torch.export.Dim.DYNAMIC
    shapes = {0: any_size, 2: any_size, 3: any_size}, {0: any_size}
    exported = torch.export.export(model, batch_of(2, 96, 128), dynamic_shapes=shapes).module()
    for count, (height, width) in enumerate(SIZES[:2], 1):
        inputs = batch_of(count, height, width)
        check_same(exported(*inputs), model(*inputs), max(height, width))


@torch.no_grad()
@pytest.mark.filterwarnings(*IGNORED)
def test_soft_nms_is_refused_with_the_override_that_switches_it_off():
    model = small("dab_detr")
    model.selection.soft_nms = 0.8
    with pytest.raises(ValueError, match="set model.selection.soft_nms=null"):
        torch.jit.trace(Traceable(model), random_input(64, 96)["image"])
    with pytest.raises(ValueError, match="set model.selection.soft_nms=null"):
        DetectionGraph(model)


def batch_of(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Images (count, 3, height, width) and their sizes (count, 2), which leave some padding."""
    return torch.randn(count, 3, height, width), torch.tensor([[height - 3 * i, width - 3] for i in range(count)])
