"""What all tests share: where the shared data is, the option --no-skips, one thread each, the random seed."""

import os
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

import released
from dab_detr.zoo import table

pytest_plugins = ["no_skips"]

SHARED = Path(__file__).resolve().parents[2] / "shared"
if SHARED.is_dir():
    os.environ.setdefault("DAB_DETR_SHARED", str(SHARED))

# Workers share the cores. Besides, torch 2.14's gradient of a strided 1x1 convolution in bf16 writes past its memory
# with two threads where there are 4 or 8 channels, as only the narrow models of the tests have.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_random_numbers():
    """Every test starts from the same seed of torch, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def catalogs():
    """Detectron2's catalogs are left as they were before the test."""
    known = set(DatasetCatalog), set(MetadataCatalog)
    yield
    for catalog, names in zip((DatasetCatalog, MetadataCatalog), known, strict=True):
        for name in set(catalog) - names:
            catalog.remove(name)


@pytest.fixture
def tiny_release(tmp_path, monkeypatch):
    """A small DAB-DETR that the table of released models has under the name `tiny`, on a server of this machine."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    with released.tiny_release(tmp_path / "server") as model:
        monkeypatch.setattr(table, "MODELS", (*table.MODELS, model))
        yield model
