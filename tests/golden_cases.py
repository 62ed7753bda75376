"""The golden cases: results of the original code, and the rule that makes its weights from their names."""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from detectron2.config import instantiate
from omegaconf import DictConfig
from torch import Tensor

from dab_detr.checkpoint import original
from dab_detr.detector import DABDETR
from dab_detr.modeling.structures import Target
from dab_detr.models import dab_detr

GOLDEN = Path(__file__).parent / "golden"
CASES = ("base", "patterns3", "no_modulation", "cond_scalar", "no_iter_update")

# each option of the original, as an override of our config
OVERRIDES = {
    ("num_patterns", 3): ("queries.num_patterns", 3),
    ("modulate_hw_attn", False): ("decoder.prior.modulate", False),
    ("query_scale_type", "cond_scalar"): ("decoder.prior.query_scale", "scalar"),
    ("query_scale_type", "fix_elewise"): ("decoder.prior.query_scale", "layer"),
    ("iter_update", False): ("decoder.refinement._target_", "dab_detr.FixedAnchors"),
    ("query_dim", 2): ("queries.anchor_dim", 2),
    ("keep_query_pos", True): ("decoder.layers.keep_query_pos", True),
    ("bbox_embed_diff_each_layer", True): ("decoder.box_heads.shared", False),
    ("activation", "relu"): ("encoder.activation._target_", "torch.nn.ReLU"),
}


@dataclass(frozen=True)
class GoldenCase:
    """One case: its description, the arrays of inputs and results, and the original's state dict."""

    meta: dict
    arrays: dict[str, np.ndarray]
    state: dict[str, Tensor]

    def tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    @property
    def targets(self) -> list[Target]:
        return [Target(self.tensor(f"labels{i}").long(), self.tensor(f"gt{i}")) for i in range(2)]


def load_case(name: str) -> GoldenCase:
    name = f"official_{name}" if name in CASES else name
    meta = json.loads((GOLDEN / f"{name}.json").read_text())
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = dict(file)
    shapes = {key: entry["shape"] for key, entry in meta["params"].items()}
    tied = {key: entry["tied"] for key, entry in meta["params"].items() if "tied" in entry}
    return GoldenCase(meta, arrays, make_weights(shapes, tied))


def make_weights(shapes: dict[str, list[int]], tied: dict[str, str] | None = None) -> dict[str, Tensor]:
    """Every parameter as a function of its original name: weights that differ, so that queries do."""
    tied = tied or {}
    return {name: torch.from_numpy(make_weight(tied.get(name, name), shape)) for name, shape in shapes.items()}


def make_weight(name: str, shape: list[int]) -> np.ndarray:
    x = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith("refpoint_embed.weight"):
        return x
    if not shape:
        return np.asarray(1 + 0.1 * x, np.float32)
    if len(shape) > 1:
        return x * np.float32(1 / np.sqrt(np.prod(shape[1:])))
    if name.endswith("weight"):
        return np.float32(1 + 0.1 * x) if "norm" in name else np.float32(0.25 + 0.05 * x)
    return np.float32(0.1 * x)


def small_config(options: dict | None = None) -> DictConfig:
    """Our config of the model that made the golden cases, with options of the original."""
    model = dab_detr()
    model.num_classes, model.queries.num_queries, model.neck.in_channels = 7, 12, 32
    model.encoder.num_layers, model.encoder.hidden, model.decoder.layers.num_layers = 2, 512, 3
    model.backbone.depth, model.backbone.width = 18, 4  # not part of the cases: they begin at the feature map
    for option in (options or {}).items():
        key, value = OVERRIDES[option]
        node = model
        *path, last = key.split(".")
        for part in path:
            node = node[part]
        node[last] = value
    return model


def small_model(options: dict | None = None) -> DABDETR:
    return instantiate(small_config(options))


def load_original(model: DABDETR, state: dict[str, Tensor]) -> None:
    """Loads a state dict of the original without backbone, strictly."""
    converted, unknown = original.table_of_theirs(state).to_ours(state)
    assert not unknown
    expected = {key for key in model.state_dict() if not key.startswith("backbone.")}
    assert set(converted) == expected
    model.load_state_dict(converted, strict=False)
