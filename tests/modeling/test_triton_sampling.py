"""The Triton kernels of deformable sampling against the plain form: interpreted, and compiled where there is a GPU."""

import importlib
import math
import sys
from types import SimpleNamespace

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dab_detr.modeling import deformable
from dab_detr.modeling.deformable import form_for, sample_from_grids

MODULE = "dab_detr.modeling.triton_sampling"
SHAPES = ((4, 6), (2, 3), (1, 1))


@pytest.fixture(scope="module", params=["interpreted", *(["compiled"] if torch.cuda.is_available() else [])])
def sample(request):
    """`sample_by_kernel` on the device that runs it; its answer comes back to the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "interpreted":
            patch.setenv("TRITON_INTERPRET", "1")
        patch.delitem(sys.modules, MODULE, raising=False)
        module = importlib.import_module(MODULE)
    device = "cuda" if request.param == "compiled" else "cpu"
    yield lambda value, shapes, points, weights: module.sample_by_kernel(
        value.to(device), shapes, points.to(device), weights.to(device)
    ).cpu()
    sys.modules.pop(MODULE)


def arguments(*, batch=2, queries=5, heads=4, channels=3, shapes=SHAPES, count=2, low=-0.3, high=1.3) -> tuple:
    """Values, shapes, points and weights in float64; points between `low` and `high` on both axes."""
    value = torch.randn(batch, sum(h * w for h, w in shapes), heads, channels, dtype=torch.float64)
    points = low + (high - low) * torch.rand(batch, queries, heads, len(shapes), count, 2, dtype=torch.float64)
    return value, shapes, points, torch.rand(points.shape[:-1], dtype=torch.float64)


SIDES = st.integers(1, 6)
COORDINATES = st.one_of(st.floats(-2, 3), st.sampled_from([0.0, 0.5, 1.0, -0.5, 1e30, -1e30, math.nan]))


@settings(deadline=None, max_examples=20)
@given(
    shapes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=3),
    batch=st.integers(1, 2),
    queries=st.integers(0, 3),
    coordinates=st.lists(COORDINATES, min_size=1, max_size=7),
)
def test_the_kernel_is_the_plain_form_wherever_the_points_lie(sample, shapes, batch, queries, coordinates):
    """Points on borders and outside, NaN, levels of one cell, no queries."""
    value, shapes, points, weights = arguments(batch=batch, queries=queries, heads=2, shapes=tuple(shapes))
    points = torch.tensor(coordinates, dtype=torch.float64).repeat(points.numel())[: points.numel()].view_as(points)
    found, expected = (form(value, shapes, points, weights) for form in (sample, sample_from_grids))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12, equal_nan=True)


@settings(deadline=None, max_examples=8)
@given(
    shapes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=2),
    coordinates=st.lists(COORDINATES.filter(math.isfinite), min_size=1, max_size=7),
)
def test_gradients_are_those_of_the_plain_form_wherever_the_points_lie(sample, shapes, coordinates):
    value, shapes, points, weights = arguments(batch=1, queries=2, heads=2, count=1, shapes=tuple(shapes))
    points = torch.tensor(coordinates, dtype=torch.float64).repeat(points.numel())[: points.numel()].view_as(points)
    assert_same_gradients(sample, value, shapes, points, weights, atol=1e-9)


def assert_same_gradients(sample, value, shapes, points, weights, *, atol: float) -> None:
    """Of values, points and weights, for a random gradient of the output."""
    given = [x.requires_grad_() for x in (value, points, weights)]
    outputs = [form(value, shapes, points, weights) for form in (sample, sample_from_grids)]
    grad = torch.randn(outputs[0].shape, dtype=torch.float64)
    found, expected = (torch.autograd.grad(out, given, grad.to(out.dtype)) for out in outputs)
    for a, b, x in zip(found, expected, given, strict=True):
        assert a.dtype == x.dtype
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


def test_rows_and_channels_that_do_not_fill_the_last_program(sample):
    """20 rows in programs of 16 and 8, with 50 of 64 channels, from values that are not contiguous."""
    value, shapes, points, weights = arguments(batch=1, channels=50, shapes=SHAPES[:1], count=1)
    value = value.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(
        sample(value, shapes, points, weights), sample_from_grids(value, shapes, points, weights), rtol=0, atol=1e-12
    )
    assert_same_gradients(sample, value, shapes, points, weights, atol=1e-9)


def test_infinite_points_read_nothing(sample):
    value, shapes, points, weights = arguments()
    assert sample(value.fill_(math.nan), shapes, points * math.inf, weights).abs().max() == 0


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_in_less_precision_values_are_rounded_and_points_are_not(sample, dtype, tolerance):
    value, shapes, points, weights = arguments(queries=2, heads=2, count=1)
    value, points, weights = value.to(dtype), points.float(), weights.to(dtype)
    found = sample(value, shapes, points, weights)
    assert found.dtype == dtype
    expected = sample_from_grids(value.double(), shapes, points.double(), weights.double())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)
    given = [x.requires_grad_() for x in (value, points, weights)]
    grads = torch.autograd.grad(sample(value, shapes, points, weights), given, torch.ones_like(found))
    exact = [x.detach().double().requires_grad_() for x in given]
    output = sample_from_grids(exact[0], shapes, *exact[1:])
    for a, b, x in zip(grads, torch.autograd.grad(output, exact, torch.ones_like(output)), given, strict=True):
        assert a.dtype == x.dtype
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["forward_kernel", "backward_kernel"])
def test_the_compiler_takes_what_the_interpreter_takes(name, monkeypatch, tmp_path):
    """For a GPU, which need not be there. Rows of a table are read and added to in vectors."""
    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path))
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    kernel = getattr(importlib.import_module(MODULE), name)
    constants = {"HEADS": 8, "CHANNELS": 32, "LEVELS": 1, "POINTS": 1, "ROWS": 16, "WIDTH": 32, "TYPE": tl.float32}
    types = dict.fromkeys(kernel.arg_names, "*fp32") | dict.fromkeys(("rows", "rows_per_image", "cells"), "i32")
    types |= dict.fromkeys(("value", "out", "grad_out"), "*bf16") | {"sides": ("i32", "i32")}
    types |= dict.fromkeys(constants, "constexpr")
    types = {x: types[x] for x in kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(types.values()) if kind[0] == "*"}
    source = ASTSource(fn=kernel, signature=types, constexprs=constants, attrs=aligned)
    code = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    assert "ld.global.v" in code and ("add.v4.f32" in code) == (name == "backward_kernel")


def test_gpus_get_the_kernel_where_triton_is_installed(sample, monkeypatch):
    value = SimpleNamespace(device=torch.device("cuda"))
    assert form_for(value, SHAPES, None).__name__ == "sample_by_kernel"
    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        assert form_for(value, SHAPES, None) is sample_from_grids
    monkeypatch.setattr(deformable, "has_triton", lambda: False)
    points = torch.zeros(1, 1, 1, 3, 1, 2)
    plain = SimpleNamespace(device=torch.device("cuda"), requires_grad=False)
    assert form_for(plain, SHAPES, points) is sample_from_grids
