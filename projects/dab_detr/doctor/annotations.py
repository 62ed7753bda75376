"""One annotation file in COCO format: its content, as far as training needs it, and its faults.

Detectron2 and pycocotools meet most of these faults with an assert or a KeyError, some only at the first evaluation,
and some never: then the AP is 0. The doctor reports them before a model is built.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from ..data.annotations import local_file, names_by_id
from ..data.content import Content, has_size, is_id
from .boxes import check_boxes
from .files import ImageEntry
from .finding import Finding, Severity
from .objects import check_ground_truth, check_objects, evaluated_objects, trained_objects
from .reading import read_content
from .references import check_references

SPLIT_AGAIN = "another split may have some: tools/convert_dataset.py --val-fraction takes them from every class"


@dataclass(frozen=True, kw_only=True)
class AnnotationFile:
    """The content that one reading of an annotation file keeps.

    path: the path of the file, as it was given.
    categories: names by id, in the order of the ids. Detectron2's class i is the i-th of them.
    annotated: whether there is a list of annotations; files of test images have none.
    images: all images, each with the number of its objects.
    learned: names of the categories with objects for training.
    evaluated: names of the categories with objects for evaluation.
    findings: faults of the content for training and evaluation, and notes.
    evaluation_findings: the same for evaluation alone.
    """

    path: str
    categories: dict[int, str]
    annotated: bool
    images: tuple[ImageEntry, ...]
    learned: frozenset[str]
    evaluated: frozenset[str]
    findings: tuple[Finding, ...]
    evaluation_findings: tuple[Finding, ...]

    def findings_for(self, *, trained: bool) -> list[Finding]:
        """Findings about the file, for a training set if `trained`, otherwise for a validation set."""
        evaluation = self.evaluation_findings
        if trained:
            evaluation = [replace(x, severity=Severity.WARNING) for x in evaluation]
        return [*self.findings, *evaluation, *self.check_use(trained=trained)]

    def check_use(self, *, trained: bool) -> Iterator[Finding]:
        """Find out which categories have objects to learn from, or to evaluate on."""
        severity = Severity.ERROR if trained else Severity.WARNING
        if not self.annotated:
            yield Finding(kind="no annotations", severity=severity, text="it has no annotations at all, only images")
            return
        if any(x.kind == "no annotations" for x in self.findings):
            return
        found = self.learned if trained else self.evaluated
        if not found and trained:
            text = (
                "there is nothing to learn: every annotation is a crowd region (iscrowd 1), or has no box or no "
                "outline that counts. Set iscrowd to 0 for single objects"
            )
            yield Finding(kind="nothing to learn", severity=severity, text=text)
        elif not found:
            text = "there is nothing to evaluate, every AP will be nan: every annotation is a crowd region (iscrowd 1)"
            yield Finding(kind="nothing to evaluate", severity=severity, text=text, advice=SPLIT_AGAIN)
        else:
            unused = [f"{i} {name!r}" for i, name in self.categories.items() if name not in found]
            text, advice = (
                ("categories have no object to learn from", "")
                if trained
                else ("categories have no object to evaluate: their AP is nan and not in the mean", SPLIT_AGAIN)
            )
            yield from Finding.counted("unused category", Severity.WARNING, text, unused, advice)


def read_annotations(path: str | os.PathLike) -> AnnotationFile:
    """Read and check an annotation file. The result is cached until the file changes.

    Raises ValueError if the file is missing, is not JSON, or is not an annotation file in COCO format.
    """
    path = os.fspath(path)
    status = os.stat(local_file(path))
    return annotations_of(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def annotations_of(path: str, modified: int, size: int) -> AnnotationFile:
    """Check a file in one state, given by its time of change and its size in bytes."""
    raw, findings = read_content(path)
    content = Content.from_json(raw)
    categories = names_by_id(path, raw)
    ids = [x.get("category_id") for x in content.objects]

    def names(chosen) -> frozenset[str]:
        used = {i for i, is_chosen in zip(ids, chosen, strict=True) if is_chosen and is_id(i)}
        return frozenset(name for i, name in categories.items() if i in used)

    return AnnotationFile(
        path=path,
        categories=categories,
        annotated=content.annotations is not None,
        images=tuple(image_entry(image, content) for image in content.images),
        learned=names(trained_objects(content)),
        evaluated=names(evaluated_objects(content)),
        findings=(*findings, *check_references(content), *check_objects(content), *check_boxes(content)),
        evaluation_findings=tuple(check_ground_truth(content)),
    )


def image_entry(image: dict, content: Content) -> ImageEntry:
    """An image of the file; width and height are 0 if it states no usable size."""
    width, height = (int(image["width"]), int(image["height"])) if has_size(image) else (0, 0)
    return ImageEntry(image["id"], image["file_name"], width, height, content.counts[image["id"]])
