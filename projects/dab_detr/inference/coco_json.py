"""Writes detections to a file in COCO format. However a run ends, the file is complete or absent."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from ..checkpoint.writing import atomic_write
from .detections import Detections


def categories_of(class_names: Sequence[str], category_ids: Sequence[int] | None = None) -> list[dict]:
    """COCO's categories for the classes of a model. Without ids, they count from 1."""
    ids = category_ids or range(1, len(class_names) + 1)
    return [{"id": i, "name": name} for i, name in zip(ids, class_names, strict=True)]


def record_of(detections: Detections, category_ids: Sequence[int], **more: object) -> dict:
    """One image with its objects, boxes as COCO's [left, top, width, height] in pixels."""
    height, width = detections.image.shape[:2]
    found = detections.instances
    boxes, scores, labels = found.pred_boxes.tensor.tolist(), found.scores.tolist(), found.pred_classes.tolist()
    objects = [
        {"category_id": category_ids[label], "bbox": [left, top, right - left, bottom - top], "score": score}
        for (left, top, right, bottom), score, label in zip(boxes, scores, labels, strict=True)
    ]
    return {"file_name": detections.name, "height": height, "width": width, **more, "objects": objects}


def write_coco(records: Iterable[dict], file: BinaryIO, **head: object) -> None:
    """Write images and annotations with ids from 1, after the entries of `head`; the records are read twice."""

    def rows(items: Iterator[dict]) -> Iterator[bytes]:
        for number, item in enumerate(items, 1):
            yield (b", " if number > 1 else b"") + json.dumps({"id": number, **item}).encode()

    images = ({name: value for name, value in record.items() if name != "objects"} for record in records)
    annotations = (
        {"image_id": number, **item, "area": item["bbox"][2] * item["bbox"][3], "iscrowd": 0}
        for number, record in enumerate(records, 1)
        for item in record["objects"]
    )
    file.write(json.dumps(head).encode()[:-1] + (b', "images": [' if head else b'"images": ['))
    file.writelines(rows(images))
    file.write(b'], "annotations": [')
    file.writelines(rows(annotations))
    file.write(b"]}")


class CocoFile:
    """Collects detections in memory: `images`, `annotations` with `score`, and `categories`.

    The file opens as a dataset in COCO's format; its `annotations` are COCO's results.

    category_ids: the dataset's ids of the classes; by default 1, 2, 3 and so on.
    """

    def __init__(self, *, class_names: Sequence[str], category_ids: Sequence[int] | None = None):
        self.categories = categories_of(class_names, category_ids)
        self.ids = [x["id"] for x in self.categories]
        self.records: list[dict] = []

    def add(self, detections: Detections) -> None:
        """Add an image. Ids count images from 1."""
        self.records.append(record_of(detections, self.ids))

    def save(self, path: str | os.PathLike) -> None:
        """Write the file, as a whole or not at all."""
        with atomic_write(Path(path)) as file:
            write_coco(self.records, file, categories=self.categories)


class Lines:
    """JSON lines of records, to iterate over any number of times; the first line is a header.

    A line that was cut by a kill is left out.
    """

    def __init__(self, path: Path):
        self.path = path

    def __iter__(self) -> Iterator[dict]:
        return islice(self.all(), 1, None)

    def all(self) -> Iterator[dict]:
        """The header, then the records. Raises ValueError, naming the file, for anything but JSON lines."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{self.path}, line {number} is not JSON: {error}") from error
                if not isinstance(record, dict) or not {"categories", "objects"} & set(record):
                    raise ValueError(f"{self.path}, line {number} was not written by tools/predict.py")
                yield record

    def cut(self) -> None:
        """Remove an incomplete last line, which a kill has left."""
        content = 0
        with self.path.open("r+b") as file:
            for line in file:
                content += len(line) if line.endswith(b"\n") else 0
            file.truncate(content)


class StreamedFile:
    """Writes detections as they are found, in flat memory.

    A path that ends in .jsonl gets JSON lines: a header, then a line for each image. Any other gets a file in COCO
    format when `close` is called; until then the lines are in a file beside it, which a kill leaves for `resume`.

    path: the file. head: settings that a resumed run must share, with COCO's `categories`.
    resume: continue after the images that are in the file already, instead of starting over.

    Raises ValueError if the file to resume comes from another model or threshold, or not from a prediction.
    """

    def __init__(self, path: Path, *, head: Mapping, resume: bool = False):
        self.path, self.head = path, dict(head)
        self.ids = [x["id"] for x in head["categories"]]
        self.streams = path.suffix == ".jsonl"
        lines = lines_beside(path)
        if resume and (path if self.streams else lines).exists():
            pass
        elif resume and path.exists():
            lines_of_coco(path, lines)
        else:
            lines.unlink(missing_ok=True)
        self.lines = Lines(lines)
        self.done: Counter[str] = Counter()
        self.pictures: set[str] = set()
        if lines.exists():
            self.check()
            self.lines.cut()
        self.file = lines.open("ab")
        if not self.file.tell():
            self.write(self.head)

    def check(self) -> None:
        """Count the images that are done. Raises ValueError if they belong to another run."""
        found = self.lines.all()
        head = next(found, self.head)
        differing = [name for name in self.head if head.get(name) != self.head[name]]
        if differing:
            raise ValueError(
                f"{self.path} cannot be resumed, its {' and '.join(differing)} differ: use the same checkpoint and "
                "--threshold, or choose another file"
            )
        for record in found:
            self.done[record["file_name"]] += 1
            self.pictures |= {record["picture"]} if "picture" in record else set()

    def add(self, detections: Detections, **more: object) -> None:
        """Write one image, so that a kill does not lose it."""
        self.write(record_of(detections, self.ids, **more))

    def write(self, record: dict) -> None:
        self.file.write(json.dumps(record).encode() + b"\n")
        self.file.flush()

    def close(self) -> None:
        """Complete the file, with all images so far."""
        self.file.close()
        if not self.streams:
            with atomic_write(self.path) as file:
                write_coco(self.lines, file, **self.head)
            self.lines.path.unlink()


def lines_beside(path: Path) -> Path:
    """The file of JSON lines for a file of detections. A .jsonl file is its own."""
    return path if path.suffix == ".jsonl" else path.with_name(f"{path.name}.jsonl")


def lines_of_coco(path: Path, lines: Path) -> None:
    """Write the lines from which a file in COCO format was made. Raises ValueError for any other file."""
    try:
        content = json.loads(path.read_bytes())
        objects = defaultdict(list)
        for item in content.pop("annotations"):
            objects[item["image_id"]].append({name: item[name] for name in ("category_id", "bbox", "score")})
        images = content.pop("images")
        records = [{k: v for k, v in x.items() if k != "id"} | {"objects": objects[x["id"]]} for x in images]
        rows = [content, *records]
        if "categories" not in content or any("file_name" not in x for x in records):
            raise KeyError("categories or file_name")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be resumed: tools/predict.py did not write it") from error
    with atomic_write(lines) as file:
        file.writelines(json.dumps(row).encode() + b"\n" for row in rows)
