"""What an evaluation leaves in its folder: tables as CSV and pictures as PNG."""

import csv
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..visualization.detection import draw_confusions, draw_precision_recall
from .box_eval import BoxEval

logger = logging.getLogger(__name__)


def write_report(output_dir: str, evaluation: BoxEval, confusions: np.ndarray, score_threshold: float) -> None:
    """Write the tables `classes.csv`, `pr_curves.csv`, `confusion_matrix.csv`, and pictures of the latter two.

    confusions: from `count_confusions`, of detections of `score_threshold` and more.
    """
    folder = Path(output_dir)
    classes = class_reports(evaluation)
    names = [report.name for report in classes]
    _write(folder / "classes.csv", ClassReport.header(), (report.row() for report in classes))
    curves = precision_recall(evaluation)
    _write(folder / "pr_curves.csv", ("class", "iou", "recall", "precision", "score"), curve_rows(names, curves))
    _write(
        folder / "confusion_matrix.csv",
        ("true class", *names, "missed"),
        ((name, *row) for name, row in zip((*names, "background"), confusions.tolist(), strict=True)),
    )
    save(draw_precision_recall(names, curves.recall, curves.overlaps, curves.precision), folder / "pr_curves.png")
    save(draw_confusions(names, confusions, score_threshold), folder / "confusion_matrix.png")
    logger.info("Curves, confusion matrix and numbers by class are in %s", folder)


@dataclass(frozen=True, kw_only=True)
class ClassReport:
    """One class of an evaluation. Precisions in percent, NaN where there is nothing to compute them of.

    threshold: the score at which precision and recall (at IoU 0.5) have their greatest harmonic mean, `f1`.
    """

    id: int
    name: str
    objects: int
    precisions: tuple[float, ...]
    threshold: float
    precision: float
    recall: float
    f1: float

    @staticmethod
    def header() -> tuple[str, ...]:
        best = ("best threshold", "precision there", "recall there", "F1 there")
        return ("id", "class", "objects", "AP", "AP50", "AP75", "APs", "APm", "APl", *best)

    def row(self) -> tuple:
        numbers = (*self.precisions, self.threshold, self.precision, self.recall, self.f1)
        return (self.id, self.name, self.objects, *(f"{x:.4g}" for x in numbers))


@dataclass(frozen=True, kw_only=True)
class Curves:
    """precision and score, (T, R, K), over T `overlaps` and R values of `recall`; NaN for classes without objects."""

    overlaps: np.ndarray
    recall: np.ndarray
    precision: np.ndarray
    score: np.ndarray


def precision_recall(evaluation: BoxEval) -> Curves:
    """The curves of an evaluation, of all areas and the full number of detections."""
    precision, scores = (evaluation.eval[key][:, :, :, 0, -1] for key in ("precision", "scores"))
    none = precision < 0
    return Curves(
        overlaps=evaluation.params.iouThrs,
        recall=evaluation.params.recThrs,
        precision=np.where(none, np.nan, precision),
        score=np.where(none, np.nan, scores),
    )


def class_reports(evaluation: BoxEval) -> list[ClassReport]:
    """All classes, in the order of their ids."""
    curves = precision_recall(evaluation)
    truth = evaluation.cocoGt
    reports = []
    for k, i in enumerate(evaluation.params.catIds):
        precision, score = curves.precision[0, :, k], curves.score[0, :, k]
        total = np.maximum(precision + curves.recall, 1e-9)
        f1 = np.nan_to_num(2 * precision * curves.recall / total)
        best = f1.argmax()
        reached = f1[best] > 0
        reports.append(
            ClassReport(
                id=i,
                name=truth.cats[i]["name"],
                objects=sum(not x.get("iscrowd") for x in truth.loadAnns(truth.getAnnIds(catIds=[i]))),
                precisions=tuple(_mean_precision(evaluation, k)),
                threshold=score[best] if reached else np.nan,
                precision=100 * precision[best] if reached else np.nan,
                recall=100 * curves.recall[best] if reached else np.nan,
                f1=100 * f1[best] if reached else np.nan,
            )
        )
    return reports


def curve_rows(names: Sequence[str], curves: Curves) -> Iterable[tuple]:
    """Lines of the curves at IoU 0.5 and 0.75, class by class."""
    for k, name in enumerate(names):
        for t in np.flatnonzero(np.isclose(curves.overlaps, 0.5) | np.isclose(curves.overlaps, 0.75)):
            for recall, precision, score in zip(
                curves.recall, curves.precision[t, :, k], curves.score[t, :, k], strict=True
            ):
                yield name, f"{curves.overlaps[t]:.2f}", f"{recall:.2f}", f"{precision:.4f}", f"{score:.4f}"


def _mean_precision(evaluation: BoxEval, k: int) -> Iterable[float]:
    """AP, AP50, AP75, APs, APm, APl of class number `k` in percent."""
    overlaps = evaluation.params.iouThrs
    precision = evaluation.eval["precision"][:, :, k, :, -1]
    for chosen, area in ((overlaps > 0, 0), (np.isclose(overlaps, 0.5), 0), (np.isclose(overlaps, 0.75), 0),
                         (overlaps > 0, 1), (overlaps > 0, 2), (overlaps > 0, 3)):  # fmt: skip
        values = precision[chosen, :, area]
        values = values[values > -1]
        yield 100 * values.mean() if values.size else np.nan


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
