"""Training and evaluation by a yacs config: what train_net.py does with a .yaml file."""

import argparse
import weakref
from contextlib import suppress
from pathlib import Path

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import (
    DatasetCatalog,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.detection_utils import build_augmentation
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase
from detectron2.engine.hooks import EvalHook
from detectron2.evaluation import COCOEvaluator, verify_results
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch import nn
from torch.utils.data import DataLoader

from ..checkpoint.checkpointer import DABDETRCheckpointer
from ..config import add_dab_detr_config, model_node, register_datasets
from ..data.augmentation import random_crop
from ..data.loader import TrainLoader
from ..data.mapper import NamingMapper
from ..evaluation.coco import coco_evaluator
from ..overrides import merge_overrides
from ..visualization.curves import CurvesHook
from ..visualization.preview import PreviewHook
from .best import BestCheckpoint
from .description import DescribeResults, classes_of, describer, plain_yacs
from .device import available_device, distribute, precision_of
from .evaluation import Evaluation
from .loop import TrainingLoop, check_batch_size
from .optimizer import ClippedAdamW, parameter_groups
from .progress import progress_writers
from .reproducibility import reproducibility
from .setup import num_classes_for, set_up
from .stopping import Stopped, Stopping
from .trackers import check_trackers
from .watchdog import watchdog


def configure(args: argparse.Namespace) -> CfgNode:
    """The config of `args`, checked against the data. Raises ValueError for what the user has to set right."""
    cfg = get_cfg()
    add_dab_detr_config(cfg)
    cfg.merge_from_file(args.config_file)
    overridden = merge_overrides(cfg, args.opts)
    set_up(cfg, args, cfg.OUTPUT_DIR)
    cfg.MODEL.DEVICE = available_device(cfg.MODEL.DEVICE)
    if not args.eval_only:
        check_batch_size(cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATE)
        check_trackers(cfg.WRITERS)
    register_datasets(cfg)
    own, val = cfg.MODEL.DAB_DETR, cfg.DATASETS.TEST
    for train in val[:1] if args.eval_only else cfg.DATASETS.TRAIN:
        own.NUM_CLASSES = num_classes_for(
            train,
            val,
            configured=own.NUM_CLASSES,
            is_set="MODEL.DAB_DETR.NUM_CLASSES" in overridden,
            key="MODEL.DAB_DETR.NUM_CLASSES",
            queries=model_node(cfg).queries,
        )
    cfg.freeze()
    if comm.is_main_process() and not args.eval_only:
        Path(cfg.OUTPUT_DIR, "config.yaml").write_text(cfg.dump())
    return cfg


def run(cfg: CfgNode, args: argparse.Namespace) -> dict:
    """Train, or with --eval-only evaluate. Returns the results of the evaluation."""
    if not args.eval_only:
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        with suppress(Stopped):
            trainer.train()
        return trainer.results
    model = Trainer.build_model(cfg)
    names, _ = classes_of(cfg.DATASETS.TEST[0])
    checkpointer = DABDETRCheckpointer(model, cfg.OUTPUT_DIR, class_names=names, strict=True)
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


class Trainer(DefaultTrainer):
    """Detectron2's trainer with the recipe of DETR: AdamW with a slower backbone, the whole gradient clipped, crops
    as augmentation, COCO's metrics. It runs on CPU too, and resumes the optimiser with Detectron2 0.5 as well.
    """

    def __init__(self, cfg: CfgNode):
        TrainerBase.__init__(self)  # not DefaultTrainer's, which knows no other checkpointer and only GPUs
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        loader = self.build_train_loader(cfg)
        self._trainer = TrainingLoop(
            distribute(model, broadcast_buffers=False),
            loader,
            optimizer,
            accumulate=cfg.SOLVER.ACCUMULATE,
            precision=precision_of(cfg.SOLVER.AMP.ENABLED, cfg.MODEL.DEVICE),
            output_dir=cfg.OUTPUT_DIR,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        me = weakref.proxy(self)
        dataset = next(iter(cfg.DATASETS.TRAIN), None)
        self.checkpointer = DABDETRCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            class_names=classes_of(dataset)[0],
            partial=cfg.MODEL.DAB_DETR.INIT_PARTIALLY,
            description=describer(model, config=lambda: plain_yacs(cfg), dataset=dataset, results=lambda: me.results),
            trainer=me,
        )
        self.start_iter, self.max_iter, self.cfg = 0, cfg.SOLVER.MAX_ITER, cfg
        self.register_hooks([*self.build_hooks(), watchdog(loader, cfg.DATASETS.TRAIN[0])])

    @property
    def results(self) -> dict:
        """What the last evaluation found; empty but in the main process."""
        return getattr(self, "_last_eval_results", {})

    def build_hooks(self) -> list[HookBase | None]:
        """Detectron2's hooks, those that resume and stop without a loss, the best checkpoint, and pictures of the first
        test set."""
        evaluation = Evaluation(self.cfg.TEST.EVAL_PERIOD, self.evaluate)
        hooks = [evaluation if type(hook) is EvalHook else hook for hook in super().build_hooks()]
        hooks, stopping = [reproducibility(self._trainer.data_loader), *hooks], Stopping(self.checkpointer)
        if not comm.is_main_process():
            return [*hooks, stopping]
        *hooks, writer = hooks
        if not self.cfg.DATASETS.TEST:
            return [*hooks, stopping, writer]
        name, output_dir, period = self.cfg.DATASETS.TEST[0], self.cfg.OUTPUT_DIR, self.cfg.TEST.EVAL_PERIOD
        preview = PreviewHook(
            model=self.model,
            dataset=DatasetCatalog.get(name),
            mapper=NamingMapper(self.cfg, is_train=False),
            metadata=MetadataCatalog.get(name),
            output_dir=output_dir,
            period=period,
        )
        best = BestCheckpoint(self.checkpointer, None, metric="bbox/AP")
        curves = CurvesHook(output_dir=output_dir, period=period)
        return [*hooks, best, DescribeResults(self.checkpointer), stopping, preview, writer, curves]

    def evaluate(self) -> dict:
        """Results on all test sets, by task and metric, which `results` remembers."""
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    def build_writers(self) -> list[EventWriter]:
        return progress_writers(self.cfg.OUTPUT_DIR, self.max_iter, self.cfg.WRITERS)

    def state_dict(self) -> dict:
        return {**TrainerBase.state_dict(self), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        TrainerBase.load_state_dict(self, state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        solver = cfg.SOLVER
        groups = parameter_groups(model, lr=solver.BASE_LR, lr_factors={"backbone": solver.BACKBONE_MULTIPLIER})
        settings = {"lr": solver.BASE_LR, "weight_decay": solver.WEIGHT_DECAY}
        if not solver.CLIP_GRADIENTS.ENABLED:
            return torch.optim.AdamW(groups, **settings)
        if solver.CLIP_GRADIENTS.CLIP_TYPE != "norm":
            raise ValueError(f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE must be 'norm', got {solver.CLIP_GRADIENTS.CLIP_TYPE!r}")
        return ClippedAdamW(groups, max_norm=solver.CLIP_GRADIENTS.CLIP_VALUE, **settings)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode):
        """Ours, which goes on where a training stopped; Detectron2's where another sampler is asked for."""
        augmentations = build_augmentation(cfg, is_train=True)
        crop = cfg.INPUT.CROP
        if crop.ENABLED:
            augmentations.insert(0, random_crop(short_side=crop.SHORT_SIDE, crop_side=crop.SIZE))
        mapper = NamingMapper(is_train=True, augmentations=augmentations, image_format=cfg.INPUT.FORMAT)
        settings = cfg.DATALOADER
        if settings.SAMPLER_TRAIN != "TrainingSampler":  # others deal out images and no visits
            return build_detection_train_loader(cfg, mapper=mapper)
        return TrainLoader(
            dataset=get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=settings.FILTER_EMPTY_ANNOTATIONS),
            mapper=mapper,
            total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
            seed=cfg.SEED,
            aspect_ratio_grouping=settings.ASPECT_RATIO_GROUPING,
            num_workers=settings.NUM_WORKERS,
        )

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> DataLoader:
        return build_detection_test_loader(cfg, dataset_name, mapper=NamingMapper(cfg, is_train=False))

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> COCOEvaluator:
        folder = Path(cfg.OUTPUT_DIR, "inference", *([dataset_name] if len(cfg.DATASETS.TEST) > 1 else []))
        return coco_evaluator(
            dataset_name=dataset_name, output_dir=str(folder), max_detections=cfg.TEST.DETECTIONS_PER_IMAGE
        )
