"""The commands that use the results of a training."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from ..overrides import assignment
from .section import Section

CHECKPOINTS = ("model_best.pth", "model_final.pth")


def checkpoint_in(folder: Path) -> Path:
    """The best checkpoint of a training, or its last one if it was never evaluated."""
    return next((folder / x for x in CHECKPOINTS if (folder / x).is_file()), folder / CHECKPOINTS[-1])


def override(key: str, value: str) -> str:
    """An override, quoted for the shell if needed."""
    return f"{key}={value}" if re.fullmatch(r"[\w./-]+", value) else shlex.quote(assignment(key, value))


def allowed(parts: Sequence[str]) -> str:
    """The options that allow parts of one's own, each with a space before it."""
    return "".join(f" --allow {shlex.quote(part)}" for part in parts)


def predicting(checkpoint: Path, allow: Sequence[str] = ()) -> str:
    """The command that detects objects in pictures. allow: parts of one's own that the config names."""
    path = shlex.quote(str(checkpoint))
    return f"python tools/predict.py --checkpoint {path} pictures/ --output found{allowed(allow)}"


def evaluating(folder: Path, checkpoint: Path) -> str:
    """The command that evaluates a checkpoint of the training in a folder again."""
    return (
        f"python train_net.py --config-file {shlex.quote(f'{folder}/config.yaml')} --eval-only "
        f"{override('train.init_checkpoint', str(checkpoint))} {override('train.output_dir', f'{folder}_evaluation')}"
    )


def exporting(folder: Path, checkpoint: Path, allow: Sequence[str] = ()) -> str:
    """The command that exports a checkpoint of the training in a folder. allow: see `predicting`."""
    path, file = shlex.quote(str(checkpoint)), shlex.quote(f"{folder}/model.onnx")
    return f"python tools/export_model.py --checkpoint {path} --to onnx {file}{allowed(allow)}"


def training_longer(folder: Path, iterations: int, *, stops_early: bool = False) -> str:
    """The command that continues a finished training in a folder up to some iterations.

    stops_early: whether the training may have ended early, which ends a longer one at once.
    """
    return (
        f"python train_net.py --config-file {shlex.quote(f'{folder}/config.yaml')} --resume "
        f"train.max_iter={iterations}{' train.early_stopping.patience=0' if stops_early else ''}"
    )


def commands(folder: Path, longer: str, allow: Sequence[str] = ()) -> Section:
    """The section with the commands that predict, evaluate, train for longer and export.

    longer: the command of `training_longer`. allow: see `predicting`.
    """
    best = checkpoint_in(folder)
    checkpoint, allowing = shlex.quote(str(best)), allowed(allow)
    found = [
        ("Detect objects in pictures:", predicting(best, allow)),
        (
            "See what the queries looked at:",
            f"python tools/explain.py --checkpoint {checkpoint} picture.jpg --output explained{allowing}",
        ),
        ("Evaluate again:", evaluating(folder, best)),
        ("Train for longer, here twice as long:", longer),
        ("Export as one graph from image to boxes:", exporting(folder, best, allow)),
    ]
    note = f"Run these commands in your clone of the project. They use the checkpoint {best.name}."
    return Section(title="Commands", note=note, commands=found)
