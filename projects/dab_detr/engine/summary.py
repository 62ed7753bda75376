"""Texts for the screen: at the start of a training, after an evaluation, and at the end."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from ..report.commands import checkpoint_in, evaluating, exporting, predicting

WEIGHTS = {
    "model_best.pth": "weights with the best evaluation",
    "model_final.pth": "final weights",
    "model_final_ema.pth": "final moving average of the weights",
}
FILES = {
    "report.html": "everything on one page",
    "preview/contact_sheet.png": "ground truth and predictions",
    "curves.png": "losses and AP",
    "inference/classes.csv": "results by class",
    "log.txt": "the log",
}


def beginning(cfg: DictConfig, model: nn.Module, *, images: int | None, start: int) -> str:
    """Describe a training: model, data, length, device and output folder. images: the number of training images."""
    settings, batch = cfg.train, cfg.dataloader.train.get("total_batch_size")
    trained = millions(sum(x.numel() for x in model.parameters() if x.requires_grad))
    everything = millions(sum(x.numel() for x in model.parameters()))
    lines = {
        "model": f"{Path(cfg.source.file).stem or type(model).__name__}, {everything} parameters"
        + (f", {trained} of them trained" if trained != everything else ""),
        "data": data_line(cfg, model, images),
        "length": f"{settings.max_iter:,} iterations" + (f" of {batch} images" if batch else "")
        + (f", {settings.max_iter * batch / images:.1f} epochs" if images and batch else "")
        + (f"; it continues after {start:,}" if start else ""),
        "device": f"{settings.device}, {count} processes" if (count := comm.get_world_size()) > 1 else settings.device,
        "output": str(settings.output_dir),
    }  # fmt: skip
    return "\n".join(f"{name:<8}{text}" for name, text in lines.items() if text)


def data_line(cfg: DictConfig, model: nn.Module, images: int | None) -> str:
    """The training data, and the data of evaluations."""
    if "dataset" not in cfg:
        return f"{images:,} images" if images else ""
    train, val = (split.annotations or named(split.name) for split in (cfg.dataset.train, cfg.dataset.val))
    count = f"{images:,} images, " if images else ""
    period = cfg.train.eval_period
    when = f"every {period:,} iterations and at the end" if 0 < period < cfg.train.max_iter else "at the end"
    evaluated = f"evaluated on {val} {when}" if val else "never evaluated"
    return f"{train} ({count}{model.num_classes} classes), {evaluated}"


def named(name: object) -> str:
    """The name of a dataset; for a node that makes one, the name of the function that it calls."""
    if isinstance(name, DictConfig):
        target = name.get("_target_")
        return getattr(target, "__name__", str(target).rpartition(".")[2])
    return name or ""


def millions(count: int) -> str:
    return f"{count / 1e6:.1f} million" if count >= 1e5 else f"{count:,}"


def evaluated(results: Mapping, *, after: int | None = None) -> str | None:
    """Describe the results of an evaluation, and those of the averaged weights, in one line; None without results."""
    parts = [scores(results)] if scores(results) else []
    if scores(results.get("ema", {})):
        parts.append(f"the moving average of the weights (EMA) has {scores(results['ema'])}")
    when = f"after {after:,} iterations: " if after else ""
    return when + "; ".join(parts) if parts else None


def scores(results: Mapping) -> str:
    """AP, AP50, AP75 and the validation loss, if the evaluation has them."""
    boxes, losses = results.get("bbox", {}), results.get("validation", {})
    found = [f"{name} {boxes[name]:.1f}" for name in ("AP", "AP50", "AP75") if name in boxes]
    return ", ".join([*found, *(f"validation loss {losses[x]:.3g}" for x in ("total_loss",) if x in losses)])


def ending(folder: str, done: int, *, evaluates: bool, allow: Sequence[str] = ()) -> str:
    """List the files of a finished training, and the commands that use them.

    done: the number of iterations, including those before a resume. evaluates: whether there is data to evaluate on.
    allow: the user's own parts in the config, which a prediction must allow.
    """
    path = Path(folder)
    left = {name: text for name, text in (WEIGHTS | FILES).items() if (path / name).is_file()}
    lines = [f"finished after {done:,} iterations; in {folder}:"]
    lines += [f"  {name:<{max(map(len, left))}}  {text}" for name, text in left.items()]
    best = checkpoint_in(path)
    commands = [predicting(best, allow), *([evaluating(path, best)] if evaluates else [])]
    commands.append(exporting(path, best, allow))
    return "\n".join([*lines, "next:", *(f"  {command}" for command in commands)])
