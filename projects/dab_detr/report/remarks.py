"""Remarks about the numbers of a training: classes that are not found, and AP that still rises at the end."""

from collections.abc import Sequence

LOST, FOUND = 1.0, 10.0  # highest AP of a class that is not found, and lowest AP of one that is
NAMES = 8  # classes that a remark names
EVALUATIONS, RISE = 3, 1.05  # fewest evaluations of a curve, and least factor between two thirds of it and its end


def lost_classes(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str | None:
    """Return a sentence if some classes with objects have almost no AP while others are found.

    header, rows: of the evaluation's classes.csv. AP of a class without objects is not a number.
    """
    columns = [header.index(x) for x in ("class", "objects", "AP")]
    found = [(name, int(objects), float(ap)) for name, objects, ap in ([x[i] for i in columns] for x in rows)]
    lost = [f"{name} (objects: {objects:,})" for name, objects, ap in found if objects and ap < LOST]
    if not lost or not any(ap > FOUND for _, _, ap in found):
        return None
    more = f" and {len(lost) - NAMES} more" if lost[NAMES:] else ""
    return (
        f"The model finds almost no object of these classes, AP is below {LOST:g}: {', '.join(lost[:NAMES])}{more}. "
        "Look at their labels, and at how many of their objects the training data has."
    )


def rising(metric: str, points: Sequence[tuple[int, float]]) -> str | None:
    """Return a sentence if a metric still rose clearly at the end of a training.

    The last evaluation is then the best one, and at least 5 % above the last one in the first two thirds.

    metric: its name for readers, such as AP. points: iterations and values, ascending.
    """
    end, last = points[-1] if points else (0, 0.0)
    early = [x for x in points if x[0] <= 2 / 3 * end]
    if len(points) < EVALUATIONS or not early:
        return None
    start, first = early[-1]
    if not (last > 0 and last >= RISE * first and all(last >= value for _, value in points)):
        return None
    return (
        f"{metric} still rose at the end: from {first:.1f} at iteration {start:,} to {last:.1f} at iteration {end:,}. "
        "Train for longer."
    )
