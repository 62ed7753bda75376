"""The section of a report about the data."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.structures import BoxMode

from ..data.pictures import read_image
from ..data.summary import DatasetSummary, summarize
from ..visualization.html import jpeg_address
from ..visualization.preview import Style, spread
from .section import Figure, Section, Table, number

EXAMPLES = 4


def dataset_section(splits: Mapping[str, Sequence[dict]], names: Sequence[str], style: Style) -> Section:
    """Numbers of each split, objects by class, and pictures of the first split with their objects.

    splits: the dataset dicts of each split by its name.
    """
    found = {split: summarize(records, names) for split, records in splits.items()}
    header = ("", *found)
    classes = [(name, *(f"{x.objects[name]:,}" for x in found.values())) for name in names]
    figures = [ground_truth(record, style) for record in spread(next(iter(splits.values())), EXAMPLES)]
    return Section(
        title="Data",
        tables=[
            Table(header=header, rows=numbers(list(found.values()))),
            Table(header=("objects of class", *found), rows=classes),
        ],
        figures=figures,
    )


def numbers(found: Sequence[DatasetSummary]) -> list[tuple[str, ...]]:
    """The rows of a table with one column for each split."""
    sides = [[number(side, 0) for side in x.object_sides] for x in found]
    return [
        ("pictures", *(f"{x.images:,}" for x in found)),
        ("pictures without objects", *(f"{x.empty:,}" for x in found)),
        ("objects", *(f"{x.num_objects:,}" for x in found)),
        ("most objects in one picture", *(f"{x.most_objects:,}" for x in found)),
        ("median picture, pixels", *(f"{x.long_side:.0f} x {x.short_side:.0f}" for x in found)),
        ("side of small, median and large objects, pixels", *(" / ".join(x) for x in sides)),
    ]


def ground_truth(record: dict, style: Style) -> Figure:
    """A picture with its objects."""
    image, objects = read_image(record["file_name"], "RGB"), record.get("annotations", [])
    boxes = [BoxMode.convert(x["bbox"], x["bbox_mode"], BoxMode.XYXY_ABS) for x in objects]
    labels = [x["category_id"] for x in objects]
    drawn = style.panel(
        image, f"ground truth: {len(objects)}", np.array(boxes).reshape(-1, 4), labels, [style.name(x) for x in labels]
    )
    return Figure(image=jpeg_address(drawn), caption=Path(record["file_name"]).name)
