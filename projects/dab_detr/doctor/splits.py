"""Check two datasets together: training and evaluation need the same categories, and different images."""

from collections.abc import Collection, Sequence

from ..data.content import first_few
from .files import ImageEntry, same_files
from .finding import Finding, Severity


def check_categories(train: tuple[str, dict[int, str]], val: tuple[str, dict[int, str]]) -> list[Finding]:
    """Find differences between the categories of two datasets. Each is a label and names by id, in class order."""
    (first, first_names), (second, second_names) = train, val
    if first_names == second_names:
        return []
    start = f"the categories of {first} and of {second} differ: "
    for by in (1, -1):
        if {i + by: name for i, name in first_names.items()} == second_names:
            shift = (
                "it looks like a shift by one, the same names have the ids "
                f"{first_few(first_names)} in the first and {first_few(second_names)} in the second"
            )
            return [Finding(kind="categories shifted by one", severity=Severity.ERROR, text=start + shift)]
    parts = []
    for label, names, others in ((first, first_names, second_names), (second, second_names, first_names)):
        only = [f"{i} {name!r}" for i, name in names.items() if i not in others]
        parts += [f"only {label} has {first_few(only)}"] if only else []
    renamed = [
        f"{i} is {name!r} and {second_names[i]!r}"
        for i, name in first_names.items()
        if second_names.get(i, name) != name
    ]
    parts += [first_few(renamed)] if renamed else []
    return [Finding(kind="categories differ", severity=Severity.ERROR, text=start + "; ".join(parts))]


def check_overlap(
    train: tuple[str, Sequence[ImageEntry]], val: tuple[str, Sequence[ImageEntry]], *, content: bool
) -> list[Finding]:
    """Find images that both datasets have. Each is an image folder and entries. `content`: compare the files too."""
    both = []
    for group in same_files([train, val], content=content):
        trained, evaluated = ([x for number, x in group if number == split] for split in (0, 1))
        if trained and evaluated:
            both.append(f"{trained[0]} and {evaluated[0]}")
    return Finding.counted(
        "image in both splits",
        Severity.WARNING,
        "images are in the training and in the validation set, whose AP is then too good",
        both,
    )


def check_unlearned(train: tuple[str, Collection[str]], val: tuple[str, Collection[str]]) -> list[Finding]:
    """Find categories with objects in the validation set but not in the training set. Each is a label and names."""
    (first, learned), (second, evaluated) = train, val
    return Finding.counted(
        "category never learned",
        Severity.WARNING,
        f"categories have objects in {second} and none in {first}",
        sorted(repr(name) for name in set(evaluated) - set(learned)),
    )
