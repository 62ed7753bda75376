"""The sections of a report about the evaluation: metrics, classes, curves, and the worst and best pictures."""

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..visualization.html import jpeg_address, png_address
from ..visualization.preview import Style, draw_picture
from .ranking import Judged, judged
from .remarks import lost_classes
from .sameness import same_everywhere
from .section import Figure, Section, Table, number

logger = logging.getLogger(__name__)

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
PICTURES = 4
CURVES = {"curves.png": "Losses, learning rate and AP by iteration."}
EVALUATION = {
    "pr_curves.png": "Precision over recall.",
    "confusion_matrix.png": "How often each class was detected as each class.",
}


def metrics_section(metrics: Mapping[str, dict], remark: str | None = None) -> Section | None:
    """AP of the weights and of their average in the last evaluation; None without an evaluation.

    remark: a sentence about AP, to begin with.
    """
    rows = {"weights": metrics.get("bbox"), "moving average": metrics.get("ema", {}).get("bbox")}
    rows = [(name, *(number(found.get(x)) for x in METRICS)) for name, found in rows.items() if found]
    note = "COCO's average precision in percent: s, m and l are small, medium and large objects."
    note = f"{remark} {note}" if remark else note
    return (
        Section(title="Average precision", note=note, tables=[Table(header=("", *METRICS), rows=rows)])
        if rows
        else None
    )


def classes_section(folder: Path) -> Section | None:
    """The results of each class from the evaluation's classes.csv; None without that file.

    If some classes are not found, the section and a warning say so.
    """
    path = folder / "classes.csv"
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        header, *rows = csv.reader(file)
    remark = lost_classes(header, rows)
    header = header[1:]  # without the id
    digits = [0 if title == "objects" else 3 if title == "best threshold" else 1 for title in header]
    rows = [[x[1], *(number(value, d) for value, d in zip(x[2:], digits[1:], strict=True))] for x in rows]
    note = (
        "At its best threshold, a class has its highest F1, the harmonic mean of precision and recall, at an IoU of "
        "0.5. Use it with tools/predict.py --threshold."
    )
    if remark:
        logger.warning(remark)
        note = f"{remark} {note}"
    return Section(title="Classes", note=note, tables=[Table(header=header, rows=rows)])


def curves_section(title: str, folder: Path, captions: Mapping[str, str]) -> Section | None:
    """Pictures that the training or the evaluation drew; None if there are none."""
    figures = [
        Figure(image=png_address(folder / name), caption=caption)
        for name, caption in captions.items()
        if (folder / name).is_file()
    ]
    return Section(title=title, figures=figures) if figures else None


def pictures_sections(
    folder: Path, records: Sequence[dict], *, labels: Mapping[int, int], score_threshold: float, style: Style
) -> list[Section]:
    """The sections with the pictures of the lowest and the highest F1, ground truth beside predictions.

    There are no sections if the evaluation wrote no detections. If the model finds the same in every picture, the
    first section and a warning say so.
    """
    path = folder / "coco_instances_results.json"
    if not path.is_file() or not records:
        return []
    found = judged(path, records, labels=labels, score_threshold=score_threshold)
    worst = found[: min(PICTURES, (len(found) + 1) // 2)]
    best = found[len(worst) :][-PICTURES:][::-1]
    note = f"Detections with a score of {score_threshold:g} or more, IoU 0.5 or more and the right class are right."
    groups = [("Worst pictures", note, worst), ("Best pictures", note, best)]
    if warning := same_everywhere(found):
        logger.warning(warning)
        groups[0] = ("Worst pictures", f"{warning} {note}", worst)
    return [
        Section(title=title, note=text, figures=[drawn(x, score_threshold, style) for x in some])
        for title, text, some in groups
        if some
    ]


def drawn(picture: Judged, score_threshold: float, style: Style) -> Figure:
    """A picture with its ground truth and its detections."""
    image = draw_picture(picture.record, picture.detections, score_threshold, style)
    return Figure(image=jpeg_address(image), caption=str(picture))
