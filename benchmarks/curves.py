"""Measures how the time of inference and of the criterion grows with image size, queries and objects."""

import argparse
import copy
import math
import statistics
from pathlib import Path
from unittest import mock

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from dab_detr.losses import matcher

from .measure import alternate
from .subjects import build
from .tasks import criterion, inference, transformer

matplotlib.use("Agg")
PICTURE = Path(__file__).parents[1] / "docs" / "benchmarks" / "curves.png"

SIDES = range(480, 1201, 120)
QUERIES = range(100, 901, 200)
OBJECTS = (10, 20, 40, 80, 160, 300)


def measure_curves(args: argparse.Namespace) -> dict:
    """Medians in ms along each axis, the fitted exponents, and a picture of both."""
    args.peer, args.batch = False, 1
    curves = {
        "inference, side of the image": along(SIDES, lambda side: inference_at(args, side)),
        "after the backbone, queries": along(QUERIES, lambda queries: queries_at(args, queries)),
        "criterion at batch 16, objects": along(OBJECTS, lambda objects: criterion_at(args, objects)),
        "without scipy's assignment, objects": along(OBJECTS, lambda objects: without_scipy(args, objects)),
    }
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    draw(curves).savefig(PICTURE, dpi=110)
    return {"forms": {name: row(points) for name, points in curves.items()}, "curves": curves}


def along(values, measured) -> dict[int, float]:
    return {value: measured(value) for value in values}


def inference_at(args: argparse.Namespace, side: int) -> float:
    return median(args, lambda given: inference(build(given), given), "dab_detr optimized", size=(side, side))


def queries_at(args: argparse.Namespace, queries: int) -> float:
    opts = [*args.opts, f"model.queries.num_queries={queries}"]
    return median(args, lambda given: transformer(build(given), given), "dab_detr optimized", opts=opts)


def criterion_at(args: argparse.Namespace, objects: int) -> float:
    return median(args, lambda given: criterion(build(given), given, objects), "dab_detr", batch=16)


def without_scipy(args: argparse.Namespace, objects: int) -> float:
    """Time the criterion without an assignment: the first queries get the objects."""
    with mock.patch.object(matcher, "assign", lambda cost: (np.arange(min(cost.shape)),) * 2):
        return criterion_at(args, objects)


def median(args: argparse.Namespace, forms, name: str, **changed) -> float:
    """Milliseconds of one form, with some arguments changed."""
    given = copy.copy(args)
    vars(given).update(changed)
    only = {name: forms(given)[name]}
    return 1e3 * statistics.median(alternate(only, runs=args.runs, device=args.device)[name])


def exponent(points: dict[int, float]) -> float:
    """The slope of a straight line through the logarithms: 1 for linear cost, 2 for quadratic."""
    x, y = (np.log(list(values)) for values in (points.keys(), points.values()))
    return float(np.polyfit(x, y, 1)[0])


def row(points: dict[int, float]) -> dict[str, float]:
    (first, start), *_, (last, end) = points.items()
    return {"from": first, "to": last, "ms at first": start, "ms at last": end, "exponent": exponent(points)}


def draw(curves: dict[str, dict[int, float]]) -> Figure:
    """One plot for each curve, both axes logarithmic, with the fitted line."""
    figure = Figure(figsize=(16, 4), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        x, y = list(points), list(points.values())
        slope = exponent(points)
        middle = math.exp(np.mean(np.log(y)) - slope * np.mean(np.log(x)))
        axes.loglog(x, y, "o", x, [middle * value**slope for value in x], "-")
        axes.set_title(f"{name}:\nexponent {slope:.2f}")
        axes.set_xlabel(name.split(", ")[1])
        axes.set_ylabel("ms")
        axes.grid(alpha=0.3, which="both")
    return figure
