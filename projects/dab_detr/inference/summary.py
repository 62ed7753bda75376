"""The last lines of a prediction: counts, paths, and advice if nothing was found."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from .detections import Detections
from .shares import Processes

NAMES = 8  # classes that the advice names


@dataclass(kw_only=True)
class Counts:
    """The numbers of images and objects of a run, and the highest score of all images, even below the threshold."""

    images: int = 0
    objects: int = 0
    highest: float = 0.0

    def add(self, detections: Detections) -> None:
        """Count one image."""
        self.images, self.objects = self.images + 1, self.objects + len(detections)
        self.highest = max(self.highest, detections.highest)

    def of_all(self, processes: Processes) -> "Counts":
        """The counts of all processes together."""
        images, objects = processes.total(self.images, self.objects)
        highest = processes.total(*(self.highest if i == processes.rank else 0.0 for i in range(processes.count)))
        return Counts(images=images, objects=objects, highest=max(highest))


def summary(
    args: argparse.Namespace, counts: Counts, class_names: Sequence[str], left: int = 0, stopped: bool = False
) -> str:
    """The last line of a run, with counts and paths; a second one if no object was found."""
    parts = [f"{counts.images} images with {counts.objects} objects"]
    if left:
        parts.append(f"{left} images {'are left, --resume continues with them' if stopped else 'could not be read'}")
    parts += [f"{'video' if args.video else 'pictures'} in {args.output}"] if args.output else []
    parts += [f"detections in {args.json}"] if args.json else []
    nothing = counts.images and not counts.objects
    return "; ".join(parts) + (f"\n{advice(args.threshold, counts.highest, class_names)}" if nothing else "")


def advice(threshold: float, highest: float, class_names: Sequence[str]) -> str:
    """Say how far the scores were from the threshold, which classes the model has, and which threshold draws more."""
    more = f" and {len(class_names) - NAMES} more classes" if class_names[NAMES:] else ""
    known = f"The model knows {', '.join(class_names[:NAMES])}{more}."
    if highest <= 0:
        return f"The model gave no box at all. {known}"
    return (
        f"No score reached {threshold:g}; the highest was {rounded_down(highest, 2)}. {known} "
        f"--threshold {rounded_down(highest, 1)} draws more."
    )


def rounded_down(value: float, digits: int) -> str:
    """A positive number with some significant digits, never above the value."""
    exact = Decimal(value)
    return f"{exact.quantize(Decimal(1).scaleb(exact.adjusted() + 1 - digits), ROUND_FLOOR):f}"
