"""Records the attention and the predictions of queries in every decoder layer, without a change to the model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .structures import Look, Memory, Position, Prediction, Queries


@dataclass(frozen=True, kw_only=True)
class LayerRecord:
    """The record of n queries of one image in one decoder layer.

    anchors: (n, D) at the start of the layer, normalized: cxcywh for D = 4, a point for D = 2, none for D = 0.
    boxes: (n, 4) predictions of the layer, cxcywh, normalized. logits: (n, K).
    cross_attention: the view of the memory.
    self_attention: the view of all queries.
    unmodulated: the cross-attention as it would be without width and height modulation; None without a modulation.
    modulation: (n, 2) ratios w_ref / w and h_ref / h of Eq. 6 of the paper; None without a modulation.
    """

    anchors: Tensor
    boxes: Tensor
    logits: Tensor
    cross_attention: Look
    self_attention: Look
    unmodulated: Look | None = None
    modulation: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record of chosen queries of one image in all decoder layers, on the CPU.

    queries: (n,) indices of the recorded queries.
    layers: the decoder layers, first to last.
    shapes: (height, width) of each level of the memory. valid_ratios: (levels, 2) the part (x, y) that is image.
    anchors: (Q, D) the anchors that all queries start from. In two-stage detectors these are the chosen proposals.
    two_stage: whether the encoder proposed the anchors.
    """

    queries: Tensor
    layers: tuple[LayerRecord, ...]
    shapes: tuple[tuple[int, int], ...]
    valid_ratios: Tensor
    anchors: Tensor
    two_stage: bool


@dataclass(kw_only=True)
class Recorder:
    """Collect one forward pass; `record` is None before it."""

    rows: Tensor
    record: Record | None = None
    looks: list[dict] = field(default_factory=list)
    memory: Memory | None = None
    start: Queries | None = None

    def prior(self, prior: nn.Module, inputs: tuple[Queries, Memory, int], position: Position) -> None:
        """Note the start of a layer; a forward hook of the prior."""
        queries, memory, layer = inputs
        if layer == 0:
            self.looks, self.memory, self.start = [], memory, queries
        look = {"anchors": queries.anchors[0, self.rows]}
        if hasattr(prior, "modulation"):
            look["modulation"] = prior.modulation(queries)[0, self.rows]
            look["without"] = prior.unmodulated(queries, memory, layer)
        self.looks.append(look)

    def self_attention(self, attention: nn.Module, inputs: tuple, output: Tensor) -> None:
        """Record the attention among queries; a forward hook."""
        self.looks[-1]["self_attention"] = attention.look(*inputs, self.rows)

    def cross_attention(self, attention: nn.Module, inputs: tuple, output: Tensor) -> None:
        """Record the attention to the memory; a forward hook."""
        content, position, memory = inputs
        look = self.looks[-1]
        look["cross_attention"] = attention.look(content, position, memory, self.rows)
        if "without" in look:
            look["unmodulated"] = attention.look(content, look.pop("without"), memory, self.rows)

    def decoder(self, decoder: nn.Module, inputs: tuple, prediction: Prediction) -> None:
        """Complete the record; a forward hook."""
        outputs = zip(prediction.logits[:, 0, self.rows], prediction.boxes[:, 0, self.rows], strict=True)
        layers = [
            LayerRecord(logits=logits, boxes=boxes, **look)
            for look, (logits, boxes) in zip(self.looks, outputs, strict=True)
        ]
        self.record = Record(
            queries=self.rows,
            layers=tuple(layers),
            shapes=self.memory.shapes,
            valid_ratios=self.memory.valid_ratios[0],
            anchors=self.start.anchors[0],
            two_stage=self.start.proposals is not None,
        )


@contextmanager
def recording(model: nn.Module, queries: Sequence[int]) -> Iterator[Recorder]:
    """Record the next forward passes of a detector in evaluation; `Recorder.record` holds the last one.

    Hooks compute the recorded numbers beside the pass, for the first image of a batch and for `queries` alone, so
    that large images fit. Outside a recording there are no hooks, and nothing is slower. It works for every member of
    the family and for copies by `optimize_for_inference`.

    queries: indices of the queries to record.

    Raises ValueError in training, whose denoising queries move the indices.
    """
    if model.training:
        raise ValueError("a recording needs the model in evaluation: call model.eval() first")
    decoder = model.decoder
    recorder = Recorder(rows=torch.as_tensor(queries, dtype=torch.long, device=model.device))
    hooks = [(decoder.prior, recorder.prior), (decoder, recorder.decoder)]
    for layer in decoder.layers:
        hooks += [(layer.self_attention, recorder.self_attention), (layer.cross_attention, recorder.cross_attention)]
    handles = [module.register_forward_hook(torch.no_grad()(hook)) for module, hook in hooks]
    try:
        yield recorder
    finally:
        for handle in handles:
            handle.remove()
