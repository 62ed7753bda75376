"""Size and speed of a model."""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from ..modeling.mode import evaluating
from ..modeling.optimization import optimize_for_inference
from .section import Section, Table, number

RUNS = 5


def speed_section(
    model: nn.Module, records: Sequence[dict], mapper: Callable[[dict], dict], checkpoint: Path
) -> Section:
    """Parameters, size of the checkpoint, and the time of one picture, as tools/predict.py runs the model.

    records: dataset dicts; without any, nothing is timed.
    """
    rows = [
        ("parameters", f"{sum(x.numel() for x in model.parameters()):,}"),
        ("of the backbone", f"{sum(x.numel() for x in model.backbone.parameters()):,}"),
    ]
    if checkpoint.is_file():
        rows.append((checkpoint.name, f"{number(checkpoint.stat().st_size / 1e6)} MB"))
    note = ""
    if records:
        inputs = mapper(records[0])
        height, width = inputs["image"].shape[-2:]
        milliseconds = 1e3 * time_of(optimize_for_inference(model), inputs)
        device = next(model.parameters()).device
        place = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_threads(torch.get_num_threads())
        rows.append((f"one picture of {width} x {height}", f"{number(milliseconds)} ms"))
        note = f"The median of {RUNS} runs with one picture at a time, on {place}, without reading the file."
    return Section(title="Size and speed", note=note, tables=[Table(rows=rows)])


def cpu_threads(count: int) -> str:
    """The number of CPU threads in words."""
    return f"{count} CPU thread{'s' if count > 1 else ''}"


@torch.no_grad()
def time_of(model: nn.Module, inputs: dict) -> float:
    """The median time in seconds of one image, after a first run that does not count."""
    times = []
    with evaluating(model):
        for _ in range(RUNS + 1):
            start = time.perf_counter()
            model([inputs])[0]["instances"].scores.cpu()  # waits for the device
            times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
