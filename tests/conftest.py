"""What all tests share: where the shared data is, the option --no-skips, the random seed."""

import os
from pathlib import Path

import pytest
import torch

pytest_plugins = ["no_skips"]

SHARED = Path(__file__).resolve().parents[2] / "shared"
if SHARED.is_dir():
    os.environ.setdefault("DAB_DETR_SHARED", str(SHARED))


@pytest.fixture(autouse=True)
def same_random_numbers():
    """Every test starts from the same seed of torch, whatever ran before it."""
    torch.manual_seed(0)
