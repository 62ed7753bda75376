"""Count and report steps with infinite or NaN losses or gradients; stop the training after three in a row."""

import json
import logging
import math
from pathlib import Path

from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn

IN_A_ROW = 3
ADVICE = (
    "Things to try, the likeliest first: look at the images and boxes that the report names; lower optimizer.lr "
    "(SOLVER.BASE_LR), or warm it up over more iterations; train in single precision (train.amp.enabled=False "
    "model.precision=fp32, SOLVER.AMP.ENABLED False); clip harder by optimizer.max_norm "
    "(SOLVER.CLIP_GRADIENTS.CLIP_VALUE). Then continue from the last checkpoint with --resume: its weights are finite."
)

logger = logging.getLogger(__name__)


class NonFiniteSteps:
    """Count skipped steps, in total and in a row. A step that is taken ends the row.

    Each skipped step gets a report in `output_dir`/nonfinite.
    """

    def __init__(self, output_dir: str):
        self.folder = Path(output_dir, "nonfinite") if output_dir else None
        self.skipped = self.in_a_row = 0

    def skip(self, iteration: int, batch: list[dict], losses: list[dict[str, float]], model: nn.Module) -> None:
        """Record a skipped step; all processes call it together. `losses` are the losses of each micro-batch.

        Raises FloatingPointError if it is the third in a row.
        """
        self.skipped += 1
        self.in_a_row += 1
        get_event_storage().put_scalar("nonfinite_steps", self.skipped, smoothing_hint=False)
        processes = comm.gather({"images": [described(x) for x in batch], "losses": readable(losses)})
        where = self.folder / f"iteration_{iteration:07d}.json" if self.folder else "no file"
        if comm.is_main_process():
            report = {"iteration": iteration, "gradient": gradient_report(model), "processes": processes}
            if self.folder:
                self.folder.mkdir(parents=True, exist_ok=True)
                where.write_text(json.dumps(report, indent=1))
            logger.warning(
                "Iteration %d: a loss or gradient is infinite or NaN. Skipping this step (%d skipped so far); "
                "its batch is described in %s.",
                iteration,
                self.skipped,
                where,
            )
        if self.in_a_row >= IN_A_ROW:
            raise FloatingPointError(
                f"{IN_A_ROW} steps in a row had infinite or NaN losses or gradients, the last at iteration "
                f"{iteration} ({where}). {ADVICE}"
            )

    def state_dict(self) -> dict[str, int]:
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.skipped, self.in_a_row = state.get("skipped", 0), state.get("in_a_row", 0)


def described(x: dict) -> dict:
    """Describe one input of the model in a few words."""
    boxes = x["instances"].gt_boxes.tensor if "instances" in x else None
    return {
        "file_name": str(x.get("file_name", "unknown")),
        "image_id": x.get("image_id"),
        "size": list(x["image"].shape[-2:]),
        "pixels_finite": bool(x["image"].isfinite().all()),
        "objects": 0 if boxes is None else len(boxes),
        "boxes_finite": boxes is None or bool(boxes.isfinite().all()),
    }


def gradient_report(model: nn.Module) -> dict:
    """List the tensors with gradients that are not finite, and the largest gradient; NaN counts as the largest."""
    worst, largest, bad = ("", 0.0), -1.0, []
    for name, parameter in model.named_parameters():
        if parameter.grad is None or not parameter.grad.numel():
            continue
        name, value = name.removeprefix("module."), parameter.grad.abs().max().item()
        if not math.isfinite(value):
            bad.append(name)
        rank = math.inf if math.isnan(value) else value
        if rank > largest:
            worst, largest = (name, value), rank
    return {"largest_in": worst[0], "largest": readable(worst[1]), "not_finite": bad}


def readable(x):
    """Write NaN and infinities as text, because JSON has no numbers for them."""
    if isinstance(x, dict):
        return {key: readable(value) for key, value in x.items()}
    if isinstance(x, list):
        return [readable(value) for value in x]
    return x if math.isfinite(x) else str(x)
