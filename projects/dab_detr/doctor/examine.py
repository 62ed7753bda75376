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
    """All findings about one or two datasets, keyed by the annotation file (or pair of files) they concern.

    num_queries: number of queries of the model; None if it is not known.
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
        found[annotations] = list(check_split(file, root, num_queries, trained=(annotations, root) != val))
    if len(files) == 2:
        found[f"{train[0]} and {val[0]}"] = list(check_pair(*files))
    return found


def check_split(file: AnnotationFile, root: str, num_queries: int | None, *, trained: bool) -> Iterator[Finding]:
    """Check one dataset, whose images are in the folder `root`."""
    yield from file.findings_for(trained=trained)
    yield from check_files(root, file.images)
    if os.path.isdir(root):
        yield from check_leftovers(root, file.images)
        copies = same_files([(root, file.images)], content=True)
        copies = (sorted({str(x) for _, x in group}) for group in copies if len({x.file_name for _, x in group}) > 1)
        text = "images exist several times, under several names"
        yield from Finding.counted("picture twice", Severity.WARNING, text, (" and ".join(same) for same in copies))
    if num_queries is not None:
        yield from check_queries(file.images, num_queries)


def check_pair(train: tuple[AnnotationFile, str], val: tuple[AnnotationFile, str]) -> Iterator[Finding]:
    """Check two datasets together, each an annotation file and its image folder."""
    (train_file, train_root), (val_file, val_root) = train, val
    yield from check_categories((train_file.path, train_file.categories), (val_file.path, val_file.categories))
    yield from check_overlap((train_root, train_file.images), (val_root, val_file.images), content=True)
    yield from check_unlearned((train_file.path, train_file.learned), (val_file.path, val_file.evaluated))
