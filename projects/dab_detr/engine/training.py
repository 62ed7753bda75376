"""The training: a model, its data, loop, checkpoints and hooks, by the nodes of a config."""

import argparse
import logging
from pathlib import Path

from detectron2.config import instantiate
from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from ..checkpoint.checkpointer import CheckpointError, DABDETRCheckpointer
from ..data.coco import dataset_dicts
from ..download import WITHOUT_NETWORK
from ..export.detector import ExportedDetector
from ..export.runtime import is_exported
from ..report import write_report
from ..visualization.curves import CurvesHook
from ..visualization.preview import PreviewHook
from ..visualization.text import drawing
from .anchor_start import start_anchors
from .best import BestCheckpoint
from .checkpoints import PeriodicCheckpointer
from .compilation import compile_parts
from .description import DescribeResults, describer, own_parts, plain_lazy
from .device import distribute, precision_of
from .early_stopping import EarlyStopping
from .ema import FinalAverage, UpdateAverage, WeightAverage, checkpointables, weight_average
from .evaluation import BEST, EARLY_STOPPING, Evaluation, evaluate, save_results, watched_metrics
from .loop import TrainingLoop
from .progress import ShowProgress, progress_writers
from .reproducibility import reproducibility
from .run_folder import earlier_run
from .schedule import with_warmup
from .setup import class_names, registered
from .shared_memory import check_shared_memory
from .stopping import FINAL, Stopped, Stopping
from .summary import beginning, ending, evaluated
from .watchdog import watchdog

EVALUATIONS = "evaluations.json"  # the metrics of --eval-only; metrics.json is a training's
OFFLINE = "or train a small model without any download (docs/own_data.md)"

logger = logging.getLogger(__name__)


def run(cfg: DictConfig, args: argparse.Namespace) -> dict:
    """Train, or with --eval-only evaluate, by a config that `configure` has completed. Returns the metrics by task."""
    if args.eval_only:
        return evaluate_checkpoint(cfg, resume=args.resume)
    model = instantiate(cfg.model).to(cfg.train.device)
    return Training(cfg, model=model, average=weight_average(model, **cfg.train.ema)).run(resume=args.resume)


def evaluate_checkpoint(cfg: DictConfig, *, resume: bool) -> dict:
    """Evaluate `train.init_checkpoint`, or with `resume` the last checkpoint. Returns the metrics by task.

    They are a line of `evaluations.json` in the output folder too.

    Raises ValueError if there is no `dataset.val`.
    """
    if "evaluator" not in cfg.dataloader:
        raise ValueError("there is nothing to evaluate on: give dataset.val.annotations and dataset.val.images")
    path = cfg.train.init_checkpoint
    if is_exported(path):
        detector = ExportedDetector(path)
        detector.check_classes(class_names(cfg, "val"))
        results = evaluate(cfg, detector)
    else:
        model = instantiate(cfg.model).to(cfg.train.device)
        average = weight_average(model, **cfg.train.ema)
        checkpointer = DABDETRCheckpointer(
            model, cfg.train.output_dir, class_names=class_names(cfg, "val"), strict=True, **checkpointables(average)
        )
        path = resume and checkpointer.get_checkpoint_file() or path
        checkpointer.load(path)
        if average and not average.n_averaged:
            logger.warning("%s has no moving average: what is reported as ema/ is of the weights themselves.", path)
            average.begin(model)
        results = evaluate(cfg, model, average)
    if comm.is_main_process() and results:
        file = Path(cfg.train.output_dir, EVALUATIONS)
        save_results(file, str(path), results)
        logger.info("%s: %s. In %s: %s", path, evaluated(results), cfg.train.output_dir, f"{file.name}, inference")
    return results


class TrainingError(RuntimeError):
    """A fault that ended a training which had begun: data, disk or numbers. Bad settings raise ValueError before."""


class Training:
    """All parts of one training, built from the nodes of a config.

    cfg: as `configure` has completed it.
    model: on its device. average: of its weights, if there is one.
    optimizer, loader: take the place of the nodes `optimizer` and `dataloader.train`.

    results: the metrics of the last evaluation by task; empty but in the main process.
    """

    def __init__(
        self, cfg: DictConfig, *, model: nn.Module, average: WeightAverage | None = None, optimizer=None, loader=None
    ):
        self.cfg, self.model, self.average, self.results = cfg, model, average, {}
        settings = cfg.train
        self.dataset = registered(cfg.dataset.train) if "dataset" in cfg else None
        if optimizer is None:
            cfg.optimizer.params.model = model
            optimizer = instantiate(cfg.optimizer)
            del cfg.optimizer.params["model"]  # the config stays plain data
        loader = instantiate(cfg.dataloader.train) if loader is None else loader
        check_shared_memory(loader)
        if settings.compile:
            compile_parts(model)
        self.loop = TrainingLoop(
            distribute(model, **settings.ddp),
            loader,
            optimizer,
            accumulate=settings.accumulate,
            precision=precision_of(settings.amp.enabled, settings.device),
            output_dir=settings.output_dir,
        )
        self.checkpointer = DABDETRCheckpointer(
            model,
            settings.output_dir,
            class_names=class_names(cfg, "train"),
            partial=settings.init_partially,
            description=describer(
                model, config=lambda: plain_lazy(cfg), dataset=self.dataset, results=lambda: self.results
            ),
            trainer=self.loop,
            **checkpointables(average),
        )
        self.loop.register_hooks([reproducibility(loader), *self.hooks()])
        if self.dataset:
            self.loop.register_hooks([watchdog(loader, self.dataset)])

    def run(self, *, resume: bool = False) -> dict:
        """Train from `train.init_checkpoint`, or with `resume` from the last checkpoint in `train.output_dir` if any.

        Returns the metrics of the last evaluation.
        """
        self.train(self.start(resume))
        return self.results

    def start(self, resume: bool) -> int:
        """Load the weights. Returns the iteration to begin with."""
        if resume and self.checkpointer.has_checkpoint():
            self.checkpointer.resume_or_load("", resume=True)
            done, wanted = self.loop.iter + 1, self.cfg.train.max_iter
            if done > wanted:
                raise ValueError(
                    f"{done} iterations are done, and train.max_iter is {wanted}: give {done} to evaluate and end this "
                    "training, or more to continue it"
                )
            return done
        if self.checkpointer.has_checkpoint():
            raise earlier_run(self.cfg.train.output_dir)
        start_anchors(self.model, self.dataset)
        try:
            self.checkpointer.load(self.cfg.train.init_checkpoint, checkpointables=[])
        except CheckpointError as error:
            if WITHOUT_NETWORK in str(error):
                raise CheckpointError(f"{error}, {OFFLINE}") from error
            raise
        return 0

    def train(self, start: int) -> None:
        """Train from iteration `start` to the end, and write the report.

        Raises TrainingError for a fault in the middle, and KeyboardInterrupt after Ctrl-C, with everything saved.
        """
        visits = getattr(self.loop.data_loader, "visits", None)
        images = None if visits is None else len(visits)
        logger.info("%s", beginning(self.cfg, self.model, images=images, start=start))
        try:
            self.loop.train(start, self.cfg.train.max_iter)
        except Stopped as stopped:
            if stopped.interrupted:
                raise KeyboardInterrupt(str(stopped)) from None
            if not stopped.saved:
                logger.warning("The training ends: %s", stopped)
        except (ValueError, OSError, FloatingPointError) as error:
            raise TrainingError(str(error)) from error
        allow = own_parts(self.cfg)
        if self.finished and self.cfg.train.report and comm.is_main_process():
            datasets = {x: registered(self.cfg.dataset[x]) if "dataset" in self.cfg else None for x in ("train", "val")}
            with drawing("report.html"):
                write_report(self.cfg, self.model, datasets=datasets, metrics=self.results, allow=allow)
        if self.finished:
            done = min(self.loop.iter + 1, self.cfg.train.max_iter)
            evaluates = "evaluator" in self.cfg.dataloader
            logger.info("%s", ending(self.cfg.train.output_dir, done, evaluates=evaluates, allow=allow))

    @property
    def finished(self) -> bool:
        """Whether the training has come to its end, by its last iteration or by early stopping."""
        return self.loop.iter >= self.cfg.train.max_iter or self.stopping.name == FINAL

    def evaluate(self) -> dict:
        self.results.update(evaluate(self.cfg, self.model, self.average))
        done = min(self.loop.storage.iter + 1, self.loop.max_iter)
        if comm.is_main_process() and (text := evaluated(self.results, after=done)):
            logger.info("%s", text)
        return self.results

    def hooks(self) -> list[HookBase | None]:
        """The hooks in their order."""
        settings, average, checkpointer = self.cfg.train, self.average, self.checkpointer
        watched, stopping = watched_metrics(settings), Stopping(checkpointer)
        self.stopping = stopping
        schedule = with_warmup(
            instantiate(self.cfg.lr_multiplier), settings.warmup_iters, settings.max_iter, settings.warmup_factor
        )
        stepping = [
            hooks.IterationTimer(),
            hooks.LRScheduler(scheduler=schedule),
            average and UpdateAverage(average, self.model),
        ]
        evaluations = Evaluation(settings.eval_period, self.evaluate, watched=watched)
        ending = [
            EarlyStopping(stopping, **settings.early_stopping) if EARLY_STOPPING in watched else None,
            stopping,
        ]
        if not comm.is_main_process():
            return [*stepping, evaluations, *ending]
        writers = progress_writers(settings.output_dir, settings.max_iter, settings.writers)
        return [
            *stepping,
            PeriodicCheckpointer(checkpointer, **settings.checkpointer),
            evaluations,
            BestCheckpoint(checkpointer, average, **settings.best) if BEST in watched else None,
            average and FinalAverage(average, checkpointer, stopping),
            DescribeResults(checkpointer),
            *ending,
            preview_hook(self.cfg, self.model),
            hooks.PeriodicWriter(writers, period=settings.log_period),
            CurvesHook(output_dir=settings.output_dir, period=settings.eval_period),
            ShowProgress(),
        ]


def preview_hook(cfg: DictConfig, model: nn.Module) -> PreviewHook | None:
    """The hook that draws `dataset.val`, if `train.preview` asks for pictures."""
    preview = cfg.train.preview
    name = registered(cfg.dataset.val) if "dataset" in cfg and preview and preview.num_images else None
    if name is None:
        return None
    return PreviewHook(
        model=model,
        dataset=dataset_dicts(name=name),
        mapper=instantiate(cfg.dataloader.test.mapper),
        metadata=MetadataCatalog.get(name),
        output_dir=cfg.train.output_dir,
        period=cfg.train.eval_period,
        **preview,
    )
