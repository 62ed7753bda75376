"""How many checkpoints are kept, over resume too."""

import pytest
import torch
from detectron2.engine import SimpleTrainer

from counting import Linear
from dab_detr.checkpoint.checkpointer import DABDETRCheckpointer
from dab_detr.engine.checkpoints import PeriodicCheckpointer


def train(folder, start, stop, *, resume=False, **options) -> set[int]:
    """A checkpoint after every step. Returns the iterations of which there are any."""
    model = Linear(1, 1)
    trainer = SimpleTrainer(model, [], torch.optim.SGD(model.parameters(), lr=0.1))
    trainer.run_step = lambda: None
    checkpointer = DABDETRCheckpointer(model, str(folder), trainer=trainer)
    trainer.register_hooks([PeriodicCheckpointer(checkpointer, 1, **options)])
    checkpointer.resume_or_load("", resume=resume)
    trainer.train(start, stop)
    return {int(x.stem[-7:]) for x in folder.glob("model_0*.pth")}


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_are_kept_over_resume(keep, tmp_path):
    assert train(tmp_path, 0, 6, max_to_keep=keep) == set(range(6 - keep, 6))
    assert train(tmp_path, 6, 8, resume=True, max_to_keep=keep) == set(range(8 - keep, 8))
    assert (tmp_path / "model_final.pth").is_file()


def test_fewer_than_before_and_what_was_saved_in_between(tmp_path):
    train(tmp_path, 0, 6)
    (tmp_path / "model_best.pth").touch()
    (tmp_path / "model_0000007.pth").touch()  # not yet the last one when the kill came
    assert train(tmp_path, 6, 7, resume=True, max_to_keep=2) == {5, 6, 7}
    assert (tmp_path / "model_best.pth").is_file()


def test_all_are_kept_where_no_number_is_given(tmp_path):
    train(tmp_path, 0, 3)
    assert train(tmp_path, 3, 5, resume=True) == set(range(5))


def test_those_of_another_training_are_left(tmp_path):
    train(tmp_path, 0, 5)
    assert train(tmp_path, 0, 2, max_to_keep=1) == {1, 2, 3, 4}
