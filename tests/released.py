"""A released model that is small, on a server of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from detectron2.config import instantiate

from dab_detr.config import load
from dab_detr.zoo.table import ReleasedModel
from serving import serving
from tiny import LAZY, model_opts, tell_apart


@contextmanager
def tiny_release(folder: Path) -> Iterator[ReleasedModel]:
    """Serve the weights of a small model of COCO's 80 classes; its entry in the table."""
    folder.mkdir()
    model = tell_apart(instantiate(load(LAZY, model_opts()).model))
    torch.save({"model": model.state_dict()}, folder / "tiny.pth")
    with serving(folder) as address:
        yield ReleasedModel(
            name="tiny",
            what="a small DAB-DETR",
            config=LAZY.stem,
            overrides=tuple(model_opts()),
            publisher="a test",
            ap=0.0,
            url=f"{address}/tiny.pth",
        )
