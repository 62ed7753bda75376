"""Training and evaluation by a LazyConfig: what train_net.py does with a .py file."""

import argparse
import logging

from detectron2.config import LazyConfig, instantiate
from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase, hooks
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from ..checkpoint.checkpointer import DABDETRCheckpointer
from ..data.coco import dataset_dicts, dataset_name
from ..modeling.optimization import optimize_for_inference
from ..overrides import apply_overrides
from ..visualization.curves import CurvesHook
from ..visualization.preview import PreviewHook
from .compilation import compile_parts
from .description import DescribeResults, classes_of, describer, plain_lazy
from .device import available_device, distribute, trainer_class
from .progress import progress_writers
from .setup import num_classes_for, set_up

logger = logging.getLogger(__name__)


def configure(args: argparse.Namespace) -> DictConfig:
    """The config of `args`, checked against the data. Raises ValueError for what the user has to set right."""
    cfg = LazyConfig.load(args.config_file)
    overridden = apply_overrides(cfg, args.opts)
    set_up(cfg, args, cfg.train.output_dir)
    cfg.train.device = available_device(cfg.train.device)
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
    if comm.is_main_process():
        LazyConfig.save(cfg, f"{cfg.train.output_dir}/config.yaml")
    return cfg


def run(cfg: DictConfig, args: argparse.Namespace) -> dict:
    """Train, or with --eval-only evaluate. Returns the results of the evaluation."""
    model = instantiate(cfg.model).to(cfg.train.device)
    if not args.eval_only:
        return train(cfg, model, resume=args.resume)
    names = class_names(cfg, "val")
    checkpointer = DABDETRCheckpointer(model, cfg.train.output_dir, class_names=names, strict=True)
    checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=args.resume)
    return evaluate(cfg, model)


def registered(split: DictConfig) -> str:
    """The name in Detectron2's catalogs of `dataset.train` or `dataset.val`, whose files win over its name.

    The name may be a node, of a function that registers the dataset and returns it.
    """
    default = None if split.annotations else instantiate(split.name)
    return dataset_name(annotations=split.annotations, images=split.images, default=default)


def class_names(cfg: DictConfig, split: str) -> list[str] | None:
    """Names of the classes of `dataset.train` or `dataset.val`, if they are known."""
    return classes_of(registered(cfg.dataset[split]))[0] if "dataset" in cfg else None


def evaluate(cfg: DictConfig, model: nn.Module) -> dict:
    """Results of `dataloader.evaluator` on `dataloader.test` by task and metric; empty but in the main process."""
    if "evaluator" not in cfg.dataloader:
        return {}
    if cfg.train.get("optimized_evaluation", True):
        model = optimize_for_inference(model)
    results = inference_on_dataset(model, instantiate(cfg.dataloader.test), instantiate(cfg.dataloader.evaluator))
    if comm.is_main_process():
        print_csv_format(results)
    return results


def train(cfg: DictConfig, model: nn.Module, *, resume: bool = False) -> dict:
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
    loop = trainer_class(cfg.train.amp.enabled, cfg.train.device)
    if cfg.train.get("compile", False):
        compile_parts(model)
    trainer = loop(distribute(model, **cfg.train.ddp), loader, optimizer)
    checkpointer = DABDETRCheckpointer(
        model,
        cfg.train.output_dir,
        class_names=class_names(cfg, "train"),
        partial=cfg.train.get("init_partially", False),
        description=description,
        trainer=trainer,
    )
    trainer.register_hooks(training_hooks(cfg, model, checkpointer, results))
    start = 0
    if resume and checkpointer.has_checkpoint():
        checkpointer.resume_or_load("", resume=True)
        start = trainer.iter + 1
    else:
        if checkpointer.has_checkpoint():
            logger.warning("%s has checkpoints of another training; --resume would go on.", cfg.train.output_dir)
        checkpointer.load(cfg.train.init_checkpoint, checkpointables=[])
    trainer.train(start, cfg.train.max_iter)
    return results


def training_hooks(
    cfg: DictConfig, model: nn.Module, checkpointer: DABDETRCheckpointer, results: dict
) -> list[HookBase | None]:
    """The hooks in their order; evaluations leave what they find in `results`."""

    def evaluation() -> dict:
        results.update(evaluate(cfg, model))
        return results

    everywhere = [
        hooks.IterationTimer(),
        hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
    ]
    evaluating = hooks.EvalHook(cfg.train.eval_period, evaluation)
    if not comm.is_main_process():
        return [*everywhere, evaluating]
    output_dir = cfg.train.output_dir
    return [
        *everywhere,
        hooks.PeriodicCheckpointer(checkpointer, **cfg.train.checkpointer),
        evaluating,
        DescribeResults(checkpointer),
        preview_hook(cfg, model),
        hooks.PeriodicWriter(
            progress_writers(output_dir, cfg.train.max_iter, cfg.train.get("writers", ())), period=cfg.train.log_period
        ),
        CurvesHook(output_dir=output_dir, period=cfg.train.eval_period),
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
