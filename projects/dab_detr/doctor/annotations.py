"""One annotation file in COCO format: what a training has to know of it, and the faults that would spoil it.

Detectron2 and pycocotools meet most of these faults with an assert or a KeyError, some only at the first
evaluation, and some never: then the AP is 0. Here they have words, before a model is built.
"""

import os
from codecs import BOM_UTF8
from dataclasses import dataclass, replace
from functools import lru_cache

from ..data.annotations import load_content, local_file
from ..data.content import Content, has_size, refers
from .boxes import check_boxes
from .files import ImageEntry
from .finding import Finding, Severity
from .objects import check_ground_truth, check_objects
from .references import check_references


@dataclass(frozen=True, kw_only=True)
class AnnotationFile:
    """What of an annotation file is kept after one reading.

    Attributes:
        path: the file, as it was given.
        categories: names by id, in the order of the ids. Detectron2's class i is the i-th of them.
        annotated: whether there is a list of annotations; files of test images have none.
        images: all images, each with the number of its objects.
        used: names of the categories that have annotations.
        findings: what is wrong with the content, or to be known of it, for training and evaluation.
        evaluation_findings: likewise, for evaluation alone.
    """

    path: str
    categories: dict[int, str]
    annotated: bool
    images: tuple[ImageEntry, ...]
    used: frozenset[str]
    findings: tuple[Finding, ...]
    evaluation_findings: tuple[Finding, ...]

    def findings_for(self, *, trained: bool) -> list[Finding]:
        """What is to be said of the file where it is trained on, or else evaluated on."""
        evaluation = self.evaluation_findings
        if trained:
            evaluation = [replace(x, severity=Severity.WARNING) for x in evaluation]
        found = [*self.findings, *evaluation]
        if not self.annotated:
            severity = Severity.ERROR if trained else Severity.WARNING
            text = "it has no annotations at all, only images"
            found.append(Finding(kind="no annotations", severity=severity, text=text))
        return found


def read_annotations(path: str | os.PathLike) -> AnnotationFile:
    """Read an annotation file, or remember it from before where it has not changed since.

    Raises:
        ValueError: the file is missing, is not JSON, or is not an annotation file in COCO format.
    """
    path = os.fspath(path)
    local = local_file(path)
    status = os.stat(local)
    return _read(path, local, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _read(path: str, local: str, modified: int, size: int) -> AnnotationFile:
    raw = load_content(path)
    content = Content(images=raw["images"], annotations=raw.get("annotations"), categories=raw["categories"])
    categories = {c["id"]: str(c["name"]) for c in sorted(raw["categories"], key=lambda c: c["id"])}
    used = {x["category_id"] for x in content.objects if refers(x.get("category_id"))}
    return AnnotationFile(
        path=path,
        categories=categories,
        annotated=content.annotations is not None,
        images=tuple(_entry(image, content) for image in content.images),
        used=frozenset(name for i, name in categories.items() if i in used),
        findings=(*_mark(local), *check_references(content), *check_objects(content), *check_boxes(content)),
        evaluation_findings=tuple(check_ground_truth(content)),
    )


def _entry(image: dict, content: Content) -> ImageEntry:
    width, height = (int(image["width"]), int(image["height"])) if has_size(image) else (0, 0)
    return ImageEntry(image["id"], image["file_name"], width, height, content.counts[image["id"]])


def _mark(local: str) -> list[Finding]:
    """pycocotools, by which training and evaluation read, takes no mark; the doctor does, to mend it."""
    with open(local, "rb") as file:
        marked = file.read(len(BOM_UTF8)) == BOM_UTF8
    text = "it begins with a byte order mark, at which pycocotools stops: save it as UTF-8 without"
    return [Finding(kind="byte order mark", severity=Severity.ERROR, text=text)] if marked else []
