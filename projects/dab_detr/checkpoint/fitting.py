"""Fits a state dict to a model, and refuses one that does not fit."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from .classes import class_rows, take_rows
from .report import FILLED, OTHER_CLASSES, Entry, Fate, LoadReport

CLASS_TENSORS = re.compile(
    r"(decoder\.class_heads\.\d+|queries\.class_head|collaboration\.heads\.\w+\.(classes|predictor\.cls_score))"
    r"\.(weight|bias)|denoising\.labels"
)
CLASS_BOXES = re.compile(r"collaboration\.heads\.\w+\.predictor\.bbox_pred\.(weight|bias)")  # four rows for a class
QUERY_TENSORS = re.compile(r"queries\.(centre|size|content|embed|points|patterns)")

TRAINING_ONLY = "collaboration."  # the prefix of tensors that inference does not need

PARTIAL = "train.init_partially=True (MODEL.DAB_DETR.INIT_PARTIALLY in a yaml config)"

# the config key that determines the shape of a tensor, for error messages; the first match counts
KEYS = {
    r"queries\.patterns": "model.queries.num_patterns",
    r"queries\.": "model.queries.num_queries",
    r"denoising\.labels": "model.denoising.groups",
    r"decoder\.layers\.\d+\.ffn|encoder\.layers\.\d+\.ffn": "model.encoder.hidden",
    r"decoder\.layers\.": "model.decoder.layers.num_layers",
    r"encoder\.layers\.": "model.encoder.num_layers",
    r"decoder\.box_heads\.": "model.decoder.box_heads.shared",
    r"decoder\.class_heads\.": "model.num_classes",
    r"backbone\.": "model.backbone.depth",
}


@dataclass(frozen=True)
class Fit:
    """Fits a checkpoint to a model.

    num_classes: number of classes of the model. class_names: their names, if known.
    strict: the checkpoint must fill the whole model, all classes included. Evaluating and resuming need this.
    partial: tensors that do not fit start from scratch. Otherwise only classes may differ, or the checkpoint may be a
        backbone alone.
    inference: the checkpoint need not fill what only training needs.
    """

    num_classes: int
    class_names: Sequence[str] | None = None
    strict: bool = False
    partial: bool = False
    inference: bool = False

    def __call__(
        self,
        state: Mapping[str, Tensor],
        model: Mapping[str, Tensor],
        source_names: Sequence[str | None] | None = None,
        unknown: Sequence[str] = (),
    ) -> tuple[dict[str, Tensor], LoadReport]:
        """The tensors to load, each with its shape in the model, and the report.

        state: the checkpoint's state dict, under our names. model: the state dict of the initialized model.
        source_names: names of the checkpoint's classes, if known. unknown: keys of the checkpoint without a name here.

        Raises ValueError, which lists the tensors that do not fit, and the way out.
        """
        shared = [name for name in model if name in state]
        if not shared:
            raise ValueError(
                f"nothing in the checkpoint fits the model: the checkpoint has {list(state)[:3]} ..., but "
                f"the model needs {list(model)[:3]} ... Is train.init_checkpoint the right file?"
            )
        fitted = {name: self.fit(name, state[name], model[name], source_names) for name in shared}
        entries = [entry for _, entry in fitted.values()]
        entries += [Entry(name, Fate.MISSING) for name in model if name not in state and not is_counter(name)]
        left_over = [name for name in state if name not in model and not is_counter(name)]
        training_only = [name for name in left_over if name.startswith(TRAINING_ONLY)]
        entries += [Entry(name, Fate.TRAINING_ONLY) for name in training_only]
        entries += [Entry(name, Fate.LEFT_OVER) for name in left_over if not name.startswith(TRAINING_ONLY)]
        entries += [Entry(name, Fate.LEFT_OVER, "not a tensor that this project knows") for name in unknown]
        report = LoadReport(tuple(entries))
        self.check(report, backbone_only=all(name.startswith("backbone.") for name in shared))
        return {name: tensor for name, (tensor, _) in fitted.items()}, report

    def fit(
        self, name: str, theirs: Tensor, ours: Tensor, source_names: Sequence[str | None] | None
    ) -> tuple[Tensor, Entry]:
        """The tensor to load and its entry in the report."""
        if theirs.ndim == ours.ndim and theirs.shape[1:] == ours.shape[1:]:
            if CLASS_TENSORS.fullmatch(name):
                return self.fit_classes(name, theirs, ours, source_names)
            if CLASS_BOXES.fullmatch(name):
                by_class = (x.unflatten(0, (-1, 4)) for x in (theirs, ours))
                taken, entry = self.fit_classes(name, *by_class, source_names)
                return taken.flatten(0, 1), entry
            if QUERY_TENSORS.fullmatch(name) and len(theirs) != len(ours):
                kept = min(len(theirs), len(ours))
                taken = take_rows(theirs, ours, [*range(kept), *[None] * (len(ours) - kept)])
                return taken, Entry(name, Fate.QUERIES, f"{kept} of {len(theirs)}, the model has {len(ours)}")
        if theirs.shape == ours.shape:
            return theirs, Entry(name, Fate.KEPT)
        return ours, Entry(
            name, Fate.SHAPE, f"{tuple(theirs.shape)} in the checkpoint, {tuple(ours.shape)} in the model"
        )

    def fit_classes(
        self, name: str, theirs: Tensor, ours: Tensor, source_names: Sequence[str | None] | None
    ) -> tuple[Tensor, Entry]:
        """Fit a tensor with a row for each class, and possibly one more for "no object" or "no label"."""
        num_source = len(theirs) - (len(ours) - self.num_classes)
        rows = class_rows(
            source=source_names if source_names and len(source_names) == num_source else None,
            target=self.class_names,
            num_source=num_source,
            num_target=self.num_classes,
        )
        if rows == list(range(num_source)):
            return theirs, Entry(name, Fate.KEPT)
        kept = len(rows) - rows.count(None)
        fate = Fate.CLASSES if kept == len(rows) else Fate.SOME_CLASSES if kept else Fate.NO_CLASSES
        names = self.class_names or [f"class {i}" for i in range(len(rows))]
        absent = [name for name, row in zip(names, rows, strict=True) if row is None]
        detail = f"{kept} of {num_source}, the model has {len(rows)}"
        detail += f"; without: {', '.join(absent[:5])}{' ...' if absent[5:] else ''}" if absent else ""
        return take_rows(theirs, ours, rows), Entry(name, fate, detail)

    def check(self, report: LoadReport, backbone_only: bool) -> None:
        """Raise ValueError for a load that fills less of the model than it must."""
        fine = FILLED if self.strict else frozenset(Fate) if self.partial else OTHER_CLASSES
        wrong = [x for x in report.entries if x.fate not in fine]
        if self.inference:
            wrong = [x for x in wrong if not x.name.startswith(TRAINING_ONLY)]
        if backbone_only and not self.strict:
            wrong = [x for x in wrong if x.fate is not Fate.LEFT_OVER and x.name.startswith("backbone.")]
        if wrong:
            raise ValueError(
                f"the checkpoint does not fit the model:\n{LoadReport(tuple(wrong))}\n{self.way_out(wrong)}"
            )

    def way_out(self, wrong: Sequence[Entry]) -> str:
        """Advice for the user about tensors that do not fit."""
        if self.strict and all(x.fate in OTHER_CLASSES for x in wrong):
            return "Its classes differ from those of the data: fine-tune it first, or evaluate on data with its classes"
        keys = [key for x in wrong for pattern, key in KEYS.items() if re.match(pattern, x.name)][:1]
        ways = [f"Give the model the shape of the checkpoint ({keys[0]} is the first key to look at)"] if keys else []
        ways += (
            [] if self.strict else [f"set {PARTIAL}: it keeps all tensors that fit, and the rest starts from scratch"]
        )
        return ", or ".join(ways) or "Is it the checkpoint of this model?"


def is_counter(name: str) -> bool:
    """Whether a tensor is batch norm's count of batches, which frozen batch norm does not have."""
    return name.endswith("num_batches_tracked")
