"""The report of an evaluation: tables as CSV and pictures as PNG."""

import csv
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..visualization.detection import draw_confusions, draw_precision_recall
from ..visualization.text import drawing, plain_text, readable
from .box_eval import BoxEval

logger = logging.getLogger(__name__)


def write_report(output_dir: str, evaluation: BoxEval, confusions: np.ndarray, score_threshold: float) -> None:
    """Write the tables `classes.csv`, `pr_curves.csv` and `confusion_matrix.csv`, and pictures of the last two.

    confusions: `count_confusions` for detections with a score of at least `score_threshold`.
    """
    folder = Path(output_dir)
    classes = class_reports(evaluation)
    names = [report.name for report in classes]
    write_table(folder / "classes.csv", ClassReport.header(), (report.row() for report in classes))
    curves = precision_recall(evaluation)
    write_table(folder / "pr_curves.csv", ("class", "iou", "recall", "precision", "score"), curve_rows(names, curves))
    write_table(
        folder / "confusion_matrix.csv",
        ("true class", *names, "missed"),
        ((name, *row) for name, row in zip((*names, "background"), confusions.tolist(), strict=True)),
    )
    labels = [readable(name, number) for number, name in enumerate(names)]
    with drawing("pr_curves.png"), plain_text(labels):
        save(draw_precision_recall(labels, curves.recall, curves.overlaps, curves.precision), folder / "pr_curves.png")
    with drawing("confusion_matrix.png"), plain_text(labels):
        save(draw_confusions(labels, confusions, score_threshold), folder / "confusion_matrix.png")
    logger.info("Curves, confusion matrix and results by class are in %s", folder)


@dataclass(frozen=True, kw_only=True)
class ClassReport:
    """Results of one class. Precision and recall are in percent, NaN without objects to compute them from.

    precisions: AP, AP50, AP75, APs, APm, APl.
    threshold: the score at which the harmonic mean `f1` of precision and recall (at IoU 0.5) is largest.
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
    """`precision` and `score` (T, R, K) by T `overlaps`, R values of `recall` and K classes; NaN without objects."""

    overlaps: np.ndarray
    recall: np.ndarray
    precision: np.ndarray
    score: np.ndarray


def precision_recall(evaluation: BoxEval) -> Curves:
    """Curves of an evaluation for all areas and the full number of detections."""
    precision, scores = (evaluation.eval[key][:, :, :, 0, -1] for key in ("precision", "scores"))
    none = precision < 0
    return Curves(
        overlaps=evaluation.params.iouThrs,
        recall=evaluation.params.recThrs,
        precision=np.where(none, np.nan, precision),
        score=np.where(none, np.nan, scores),
    )


def class_reports(evaluation: BoxEval) -> list[ClassReport]:
    """Results of all classes, in the order of their ids."""
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
                precisions=tuple(mean_precisions(evaluation, k)),
                threshold=score[best] if reached else np.nan,
                precision=100 * precision[best] if reached else np.nan,
                recall=100 * curves.recall[best] if reached else np.nan,
                f1=100 * f1[best] if reached else np.nan,
            )
        )
    return reports


def curve_rows(names: Sequence[str], curves: Curves) -> Iterable[tuple]:
    """Rows of `pr_curves.csv`: the curves at IoU 0.5 and 0.75, class by class."""
    for k, name in enumerate(names):
        for t in np.flatnonzero(np.isclose(curves.overlaps, 0.5) | np.isclose(curves.overlaps, 0.75)):
            for recall, precision, score in zip(
                curves.recall, curves.precision[t, :, k], curves.score[t, :, k], strict=True
            ):
                yield name, f"{curves.overlaps[t]:.2f}", f"{recall:.2f}", f"{precision:.4f}", f"{score:.4f}"


def mean_precisions(evaluation: BoxEval, k: int) -> Iterable[float]:
    """AP, AP50, AP75, APs, APm and APl of class number `k`, in percent."""
    overlaps = evaluation.params.iouThrs
    precision = evaluation.eval["precision"][:, :, k, :, -1]
    for chosen, area in ((overlaps > 0, 0), (np.isclose(overlaps, 0.5), 0), (np.isclose(overlaps, 0.75), 0),
                         (overlaps > 0, 1), (overlaps > 0, 2), (overlaps > 0, 3)):  # fmt: skip
        values = precision[chosen, :, area]
        values = values[values > -1]
        yield 100 * values.mean() if values.size else np.nan


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    figure.savefig(path, dpi=110)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a CSV file; half characters, which JSON's escapes can hold, become escapes again."""
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
