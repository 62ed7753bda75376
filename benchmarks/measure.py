"""Measurements: alternating times, additional memory, multiplications, arithmetic peaks."""

import ctypes
import gc
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from dab_detr.modeling.onednn import OneDNNLinear, can_run

Forms = dict[str, Callable[[], object]]


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def seconds(function: Callable, device: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """The wall time of one call. On a GPU, it includes the wait for the result."""
    synchronize(device)
    start = clock()
    function()
    synchronize(device)
    return clock() - start


def alternate(
    forms: Forms, *, runs: int, device: str, warmup: int = 2, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each form, measured in turn, so that a slow phase of the machine affects all of them."""
    times = {name: [] for name in forms}
    for i in range(warmup + runs):
        for name, function in forms.items():
            elapsed = seconds(function, device, clock)
            if i >= warmup:
                times[name].append(elapsed)
    return times


def summary(times: list[float], images: int) -> dict[str, float]:
    """Median and percentiles in milliseconds, images per second."""
    percentiles = statistics.quantiles(times, n=20, method="inclusive") if len(times) > 1 else times * 19
    median = statistics.median(times)
    return {
        "median_ms": 1e3 * median,
        "p5_ms": 1e3 * percentiles[0],
        "p95_ms": 1e3 * percentiles[-1],
        "images_per_s": images / median,
    }


def peak_memory(function: Callable, device: str, runs: int = 5) -> int:
    """Bytes that a call needs at its peak, beyond the memory of the process (on a GPU, of torch) before it.

    It is the median of a few calls, because a CPU's allocator places the same tensors differently each time.
    """
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if platform.system() != "Linux":
        return 0
    return statistics.median_low(peak_resident(function) for _ in range(runs))


def peak_resident(function: Callable) -> int:
    """The largest growth of the process during a call, in bytes."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    function()
    return resident("VmHWM") - before


def resident(field: str) -> int:
    """A line of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no {field}")


def gmac(function: Callable) -> float:
    """Billions of multiply-adds in one call, by torch's counter, which does not know oneDNN's kernels."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function()
    return counter.get_total_flops() / 2e9


@torch.no_grad()
def matrix_peak(dtype: torch.dtype, device: str, side: int = 2048, runs: int = 10) -> dict[str, float]:
    """GFLOP/s of a square matrix product, with torch.matmul and, if available, with oneDNN."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    forms = {"matmul": lambda: a @ b}
    if can_run(a):
        linear = OneDNNLinear(side, side, bias=False, dtype=dtype)
        forms["onednn"] = lambda: linear(a)
    times = alternate(forms, runs=runs, device=device)
    return {name: 2 * side**3 / min(values) / 1e9 for name, values in times.items()}
