"""Two datasets together: what training learns from must be what evaluation looks for, and not the same pictures."""

from collections.abc import Sequence

from ..data.content import first_few
from .files import ImageEntry, same_files
from .finding import Finding, Severity


def check_categories(train: tuple[str, dict[int, str]], val: tuple[str, dict[int, str]]) -> list[Finding]:
    """How the categories of two datasets, each a label and names by id, differ; their common order is the class."""
    (first, ours), (second, theirs) = train, val
    if ours == theirs:
        return []
    start = f"the categories of {first} and of {second} differ: "
    for by in (1, -1):
        if {i + by: name for i, name in ours.items()} == theirs:
            shift = (
                "it looks like a shift by one, the same names have the ids "
                f"{first_few(ours)} in the first and {first_few(theirs)} in the second"
            )
            return [Finding(kind="categories shifted by one", severity=Severity.ERROR, text=start + shift)]
    parts = []
    for label, mine, other in ((first, ours, theirs), (second, theirs, ours)):
        only = [f"{i} {name!r}" for i, name in mine.items() if i not in other]
        parts += [f"only {label} has {first_few(only)}"] if only else []
    renamed = [f"{i} is {name!r} and {theirs[i]!r}" for i, name in ours.items() if theirs.get(i, name) != name]
    parts += [first_few(renamed)] if renamed else []
    return [Finding(kind="categories differ", severity=Severity.ERROR, text=start + "; ".join(parts))]


def check_overlap(
    train: tuple[str, Sequence[ImageEntry]], val: tuple[str, Sequence[ImageEntry]], *, content: bool
) -> list[Finding]:
    """Images that are in both of two datasets, each an image folder and entries; `content` compares the files too."""
    both = []
    for group in same_files([train, val], content=content):
        ours, theirs = ([x for number, x in group if number == wanted] for wanted in (0, 1))
        if ours and theirs:
            both.append(f"{ours[0]} and {theirs[0]}")
    return Finding.counted(
        "image in both splits",
        Severity.WARNING,
        "images are in the training and in the validation set, whose AP is then too good",
        both,
    )


def check_unlearned(train: tuple[str, set[str]], val: tuple[str, set[str]]) -> list[Finding]:
    """Categories, by name, with annotations in the validation set and none in the training set."""
    (first, learned), (second, wanted) = train, val
    return Finding.counted(
        "category never learned",
        Severity.WARNING,
        f"categories have annotations in {second} and none in {first}",
        sorted(repr(name) for name in wanted - learned),
    )
