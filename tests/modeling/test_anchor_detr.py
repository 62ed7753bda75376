"""Anchor DETR written a second time, from the description of the original: no other implementation is at hand.

Plain functions over our state dict, one image after the other.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import instantiate
from torch import Tensor

from dab_detr.models import anchor_detr
from samples import worst
from tiny import shrink, tell_apart

HEADS, LAYERS = 4, 2


class Reference:
    def __init__(self, state: dict[str, Tensor]):
        self.state = state

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def mlp(self, name: str, x: Tensor, layers: int = 2) -> Tensor:
        for i in range(layers):
            x = self.linear(f"{name}.{2 * i}", x.relu() if i else x)
        return x

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def feed_forward(self, name: str, x: Tensor, norm: str) -> Tensor:
        inner = self.linear(f"{name}.ffn.linear1", x).relu()
        return self.norm(f"{name}.{norm}", x + self.linear(f"{name}.ffn.linear2", inner))

    def position_1d(self, coordinate: Tensor) -> Tensor:
        """All channels for one coordinate, through the MLP that image and queries share."""
        return self.mlp("neck.position.mlp", sine(coordinate, 32))

    def row_column(self, name: str, content: Tensor, at: tuple, cells: Tensor, of: tuple, valid: tuple) -> Tensor:
        """Queries (Q, C) at (x, y), each (Q, C), over cells (H, W, C) of columns (W, C) and rows (H, C)."""
        query_row, query_column = self.linear(f"{name}.query_row", content + at[0]), content + at[1]
        query_column = self.linear(f"{name}.query_column", query_column)
        key_row = self.linear(f"{name}.key_row", cells + of[0]).mean(0)  # (W, C); linear, so the order is free
        key_column = self.linear(f"{name}.key_column", cells + of[1][:, None]).mean(1)
        value, out = self.linear(f"{name}.value", cells), []
        for c in torch.arange(32).chunk(HEADS):
            columns = (query_row[:, c] @ key_row[: valid[1], c].T / math.sqrt(len(c))).softmax(-1)
            rows = (query_column[:, c] @ key_column[: valid[0], c].T / math.sqrt(len(c))).softmax(-1)
            out.append(torch.einsum("qh,qw,hwc->qc", rows, columns, value[: valid[0], : valid[1], c]))
        return self.linear(f"{name}.out", torch.cat(out, -1))

    def self_attention(self, name: str, content: Tensor, position: Tensor) -> Tensor:
        query, key = (self.linear(f"{name}.{x}", content + position) for x in ("query", "key"))
        value, out = self.linear(f"{name}.value", content), []
        for c in torch.arange(32).chunk(HEADS):
            out.append((query[:, c] @ key[:, c].T / math.sqrt(len(c))).softmax(-1) @ value[:, c])
        return self.linear(f"{name}.out", torch.cat(out, -1))

    def __call__(self, feature: Tensor, valid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(in_channels, H, W), of which `valid` is image, to logits (L, Q, K) and boxes (L, Q, 4)."""
        name = "neck.projections.0"
        cells = F.conv2d(feature[None], self.state[f"{name}.0.weight"], self.state[f"{name}.0.bias"])
        cells = F.group_norm(cells, 8, self.state[f"{name}.1.weight"], self.state[f"{name}.1.bias"])
        _, _, height, width = cells.shape
        cells = cells[0].permute(1, 2, 0)
        # what is padded has the coordinate of the last cell that is not
        rows = (torch.arange(height).clamp(max=valid[0] - 1) + 0.5).double() / valid[0]
        columns = (torch.arange(width).clamp(max=valid[1] - 1) + 0.5).double() / valid[1]
        of = self.position_1d(columns), self.position_1d(rows)

        name, at = "encoder.layers.0", (of[0].expand(height, -1, -1).flatten(0, 1), of[1].repeat_interleave(width, 0))
        x = cells.flatten(0, 1)
        x = self.norm(f"{name}.norm1", x + self.row_column(f"{name}.attention", x, at, cells, of, valid))
        cells = self.feed_forward(name, x, "norm2").view(height, width, -1)

        points, patterns = self.state["queries.points"], self.state["queries.patterns"]
        x, points = patterns.repeat_interleave(len(points), 0), points.repeat(len(patterns), 1)
        at = self.position_1d(points[:, 0]), self.position_1d(points[:, 1])
        position = self.mlp("decoder.prior.embed", torch.cat([sine(points[:, i], 16) for i in (1, 0)], -1))
        logits, boxes = [], []
        for i in range(LAYERS):
            name = f"decoder.layers.{i}"
            x = self.norm(f"{name}.norm1", x + self.self_attention(f"{name}.self_attention", x, position))
            update = self.row_column(f"{name}.cross_attention", x, at, cells, of, valid)
            x = self.feed_forward(name, self.norm(f"{name}.norm2", x + update), "norm3")
            logits.append(self.linear("decoder.class_heads.0", x))
            delta = self.mlp("decoder.box_heads.0", x, layers=3)
            inner = points.clamp(1e-5, 1 - 1e-5)
            boxes.append((delta + F.pad((inner / (1 - inner)).log(), (0, 2))).sigmoid())
        return torch.stack(logits), torch.stack(boxes)


def sine(coordinate: Tensor, dim: int) -> Tensor:
    i = torch.arange(dim)
    phase = 2 * math.pi * coordinate[:, None] / 10000.0 ** ((i // 2) * 2 / dim)
    return torch.where(i % 2 == 0, phase.sin(), phase.cos())


@torch.no_grad()
@pytest.mark.parametrize("size", [(4, 6), (6, 3)], ids=["wide", "tall"])
def test_whole_model(size):
    model = tell_apart(instantiate(shrink(anchor_detr()))).eval().double()
    with torch.no_grad():
        model.queries.points.uniform_(-0.2, 1.2)  # learned as they are: nothing holds them in the image
    valid = [size, (size[0] - 1, size[1] - 2)]
    features = torch.randn(2, 32, *size, dtype=torch.float64)
    padding = torch.ones(2, 32 * size[0], 32 * size[1], dtype=torch.bool)
    for i, (h, w) in enumerate(valid):
        padding[i, : 32 * h, : 32 * w] = False
    prediction = model.detect({"res5": features}, padding)
    reference = Reference(model.state_dict())
    for i in range(2):
        logits, boxes = reference(features[i], valid[i])
        assert logits[:, :, 0].std(1).min() > 0.01  # queries differ
        assert worst(prediction.logits[:, i], logits) < 1e-6
        assert worst(prediction.boxes[:, i], boxes) < 1e-6
