"""The dataset doctor in full: every check on every image."""

import os
from collections.abc import Iterator

from .annotations import AnnotationFile, read_annotations
from .files import check_files, check_leftovers, same_files
from .finding import Finding, Severity
from .objects import check_queries
from .splits import check_categories, check_overlap, check_unlearned

Split = tuple[str, str]  # an annotation file and its image folder


def examine(train: Split, val: Split | None = None, *, num_queries: int | None = None) -> dict[str, list[Finding]]:
    """All that is to be said of one dataset or two, by the annotation file, or both of them, that it is of.

    num_queries: of the model; None where it is not known.
    """
    splits = [train] if val is None else [train, val]
    found: dict[str, list[Finding]] = {}
    files = []
    for annotations, root in splits:
        try:
            file = read_annotations(annotations)
        except ValueError as error:
            found[annotations] = [Finding(kind="not COCO format", severity=Severity.ERROR, text=str(error))]
            continue
        files.append((file, root))
        found[annotations] = list(_of_one(file, root, num_queries, trained=(annotations, root) != val))
    if len(files) == 2:
        found[f"{train[0]} and {val[0]}"] = list(_of_both(*files))
    return found


def _of_one(file: AnnotationFile, root: str, num_queries: int | None, *, trained: bool) -> Iterator[Finding]:
    yield from file.findings_for(trained=trained)
    yield from check_files(root, file.images)
    if os.path.isdir(root):
        yield from check_leftovers(root, file.images)
        copies = same_files([(root, file.images)], content=True)
        copies = (sorted({str(x) for _, x in group}) for group in copies if len({x.file_name for _, x in group}) > 1)
        text = "pictures are there several times, under several names"
        yield from Finding.counted("picture twice", Severity.WARNING, text, (" and ".join(same) for same in copies))
    if num_queries is not None:
        yield from check_queries(file.images, num_queries)


def _of_both(train: tuple[AnnotationFile, str], val: tuple[AnnotationFile, str]) -> Iterator[Finding]:
    (ours, our_root), (theirs, their_root) = train, val
    yield from check_categories((ours.path, ours.categories), (theirs.path, theirs.categories))
    yield from check_overlap((our_root, ours.images), (their_root, theirs.images), content=True)
    yield from check_unlearned((ours.path, ours.used), (theirs.path, theirs.used))
