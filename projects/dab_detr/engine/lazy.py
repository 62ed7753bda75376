"""Training and evaluation by a LazyConfig: what train_net.py does with a .py file."""

import argparse
import logging
from contextlib import suppress

from detectron2.config import LazyConfig, instantiate
from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase, hooks
from detectron2.evaluation import DatasetEvaluators, inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from ..checkpoint.checkpointer import DABDETRCheckpointer
from ..data.coco import dataset_dicts, dataset_name
from ..evaluation.validation import ValidationLosses, with_objects
from ..export.detector import ExportedDetector
from ..export.runtime import is_exported
from ..modeling.mode import evaluating
from ..modeling.optimization import optimize_for_inference
from ..overrides import apply_overrides
from ..visualization.curves import CurvesHook
from ..visualization.preview import PreviewHook
from .best import BestCheckpoint
from .checkpoints import PeriodicCheckpointer
from .compilation import compile_parts
from .description import DescribeResults, classes_of, describer, plain_lazy
from .device import available_device, distribute, precision_of
from .early_stopping import EarlyStopping
from .ema import FinalAverage, UpdateAverage, WeightAverage, parts, weight_average
from .evaluation import BEST, EARLY_STOPPING, Evaluation, watched_metrics
from .loop import TrainingLoop, check_batch_size
from .progress import progress_writers
from .reproducibility import reproducibility
from .schedule import check_iterations, count_in_epochs, with_warmup
from .setup import num_classes_for, set_up
from .stopping import Stopped, Stopping
from .trackers import check_trackers
from .watchdog import watchdog

logger = logging.getLogger(__name__)


def configure(args: argparse.Namespace) -> DictConfig:
    """The config of `args`, checked against the data. Raises ValueError for what the user has to set right."""
    cfg = LazyConfig.load(args.config_file)
    overridden = apply_overrides(cfg, args.opts)
    set_up(cfg, args, cfg.train.output_dir)
    cfg.train.device = available_device(cfg.train.device)
    if not args.eval_only:
        check_batch_size(cfg.dataloader.train.total_batch_size, cfg.train.get("accumulate", 1))
        check_trackers(cfg.train.get("writers", ()))
    if "dataset" in cfg:
        val = registered(cfg.dataset.val)
        cfg.model.num_classes = num_classes_for(
            val if args.eval_only else registered(cfg.dataset.train),
            [val],
            configured=cfg.model.num_classes,
            is_set="model.num_classes" in overridden,
            key="model.num_classes",
            queries=cfg.model.get("queries"),
        )
    if not args.eval_only:
        count_in_epochs(cfg, overridden)
        check_iterations(cfg, overridden)
        if comm.is_main_process():
            LazyConfig.save(cfg, f"{cfg.train.output_dir}/config.yaml")
    return cfg


def run(cfg: DictConfig, args: argparse.Namespace) -> dict:
    """Train, or with --eval-only evaluate. Returns the results of the evaluation."""
    if args.eval_only and is_exported(cfg.train.init_checkpoint):
        return evaluate(cfg, ExportedDetector(cfg.train.init_checkpoint))
    model = instantiate(cfg.model).to(cfg.train.device)
    average = weight_average(model, **cfg.train.get("ema", {}))
    if not args.eval_only:
        return train(cfg, model, average, resume=args.resume)
    names = class_names(cfg, "val")
    checkpointer = DABDETRCheckpointer(model, cfg.train.output_dir, class_names=names, strict=True, **parts(average))
    path = args.resume and checkpointer.get_checkpoint_file() or cfg.train.init_checkpoint
    checkpointer.load(path)
    if average and not average.n_averaged:
        logger.warning("%s has no average of weights: what is reported as ema/ is of the weights themselves.", path)
        average.begin(model)
    return evaluate(cfg, model, average)


def registered(split: DictConfig) -> str:
    """The name in Detectron2's catalogs of `dataset.train` or `dataset.val`, whose files win over its name.

    The name may be a node, of a function that registers the dataset and returns it.
    """
    default = None if split.annotations else instantiate(split.name)
    return dataset_name(annotations=split.annotations, images=split.images, default=default)


def class_names(cfg: DictConfig, split: str) -> list[str] | None:
    """Names of the classes of `dataset.train` or `dataset.val`, if they are known."""
    return classes_of(registered(cfg.dataset[split]))[0] if "dataset" in cfg else None


def evaluate(cfg: DictConfig, model: nn.Module, average: WeightAverage | None = None) -> dict:
    """Results of `dataloader.evaluator` on `dataloader.test` by task and metric; empty but in the main process.

    With `train.validation_loss` they have the losses as the task "validation", with an average its own as "ema".
    """
    if "evaluator" not in cfg.dataloader:
        return {}
    averaged = {} if average is None else {"ema": evaluate(with_folder(cfg, "_ema"), average.module)}
    optimized = cfg.train.get("optimized_evaluation", True) and not isinstance(model, ExportedDetector)
    detector = optimize_for_inference(model) if optimized else model
    loader, evaluators = cfg.dataloader.test, [instantiate(cfg.dataloader.evaluator)]
    if cfg.train.get("validation_loss"):
        loader, evaluators = with_objects(loader), [*evaluators, ValidationLosses(detector)]
    with evaluating(detector):
        results = inference_on_dataset(detector, instantiate(loader), DatasetEvaluators(evaluators))
    if comm.is_main_process():
        print_csv_format(results)
    return {**results, **averaged}


def with_folder(cfg: DictConfig, suffix: str) -> DictConfig:
    """The config, whose evaluator leaves its files in another folder."""
    cfg = cfg.copy()
    if "output_dir" in cfg.dataloader.evaluator:
        cfg.dataloader.evaluator.output_dir = f"{cfg.dataloader.evaluator.output_dir}{suffix}"
    return cfg


def train(cfg: DictConfig, model: nn.Module, average: WeightAverage | None = None, *, resume: bool = False) -> dict:
    """Train from `train.init_checkpoint`, or with `resume` from the last checkpoint in `train.output_dir` if any.

    Returns the results of the evaluation at the end.
    """
    logger.info("Model:\n%s", model)
    results = {}
    dataset = registered(cfg.dataset.train) if "dataset" in cfg else None
    description = describer(model, config=lambda: plain_lazy(cfg), dataset=dataset, results=lambda: results)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    loader = instantiate(cfg.dataloader.train)
    if cfg.train.get("compile", False):
        compile_parts(model)
    trainer = TrainingLoop(
        distribute(model, **cfg.train.ddp),
        loader,
        optimizer,
        accumulate=cfg.train.get("accumulate", 1),
        precision=precision_of(cfg.train.amp.enabled, cfg.train.device),
        output_dir=cfg.train.output_dir,
    )
    checkpointer = DABDETRCheckpointer(
        model,
        cfg.train.output_dir,
        class_names=class_names(cfg, "train"),
        partial=cfg.train.get("init_partially", False),
        description=description,
        trainer=trainer,
        **parts(average),
    )
    trainer.register_hooks([reproducibility(loader), *training_hooks(cfg, model, average, checkpointer, results)])
    if "dataset" in cfg:
        trainer.register_hooks([watchdog(loader, dataset)])
    start = 0
    if resume and checkpointer.has_checkpoint():
        checkpointer.resume_or_load("", resume=True)
        start = trainer.iter + 1
    else:
        if checkpointer.has_checkpoint():
            logger.warning("%s has checkpoints of another training; --resume would go on.", cfg.train.output_dir)
        checkpointer.load(cfg.train.init_checkpoint, checkpointables=[])
    with suppress(Stopped):
        trainer.train(start, cfg.train.max_iter)
    return results


def training_hooks(
    cfg: DictConfig,
    model: nn.Module,
    average: WeightAverage | None,
    checkpointer: DABDETRCheckpointer,
    results: dict,
) -> list[HookBase | None]:
    """The hooks in their order; evaluations leave what they find in `results`."""

    def evaluation() -> dict:
        results.update(evaluate(cfg, model, average))
        return results

    settings, output_dir = cfg.train, cfg.train.output_dir
    watched, stopping = watched_metrics(settings), Stopping(checkpointer)
    schedule = with_warmup(instantiate(cfg.lr_multiplier), settings.get("warmup_iters", 0), settings.max_iter)
    stepping = [
        hooks.IterationTimer(),
        hooks.LRScheduler(scheduler=schedule),
        average and UpdateAverage(average, model),
    ]
    evaluations = Evaluation(settings.eval_period, evaluation, watched=watched)
    ending = [
        EarlyStopping(stopping, **settings.early_stopping) if EARLY_STOPPING in watched else None,
        stopping,
    ]
    if not comm.is_main_process():
        return [*stepping, evaluations, *ending]
    return [
        *stepping,
        PeriodicCheckpointer(checkpointer, **settings.checkpointer),
        evaluations,
        BestCheckpoint(checkpointer, average, **settings.best) if BEST in watched else None,
        average and FinalAverage(average, checkpointer, stopping),
        DescribeResults(checkpointer),
        *ending,
        preview_hook(cfg, model),
        hooks.PeriodicWriter(
            progress_writers(output_dir, settings.max_iter, settings.get("writers", ())), period=settings.log_period
        ),
        CurvesHook(output_dir=output_dir, period=settings.eval_period),
    ]


def preview_hook(cfg: DictConfig, model: nn.Module) -> PreviewHook | None:
    """Pictures of `dataset.val`, if `train.preview` asks for any."""
    preview = cfg.train.get("preview")
    if "dataset" not in cfg or not preview or not preview.num_images:
        return None
    name = registered(cfg.dataset.val)
    return PreviewHook(
        model=model,
        dataset=dataset_dicts(name=name),
        mapper=instantiate(cfg.dataloader.test.mapper),
        metadata=MetadataCatalog.get(name),
        output_dir=cfg.train.output_dir,
        period=cfg.train.eval_period,
        **preview,
    )
