"""Detectron2's way to write a training script, on the same engine as train_net.py."""

import argparse

from detectron2.config import CfgNode, instantiate
from torch import nn

from .engine.ema import weight_average
from .engine.evaluation import evaluate
from .engine.setup import configure
from .engine.training import Training
from .schema import Schema
from .yacs import node_keys, translate


class Trainer(Training):
    """`Trainer(cfg).resume_or_load(resume)`, `train()`: for scripts that subclass Detectron2's `DefaultTrainer`.

    cfg: a yacs config. A subclass overrides `build_model`, `build_optimizer`, `build_train_loader` or `hooks`;
    they take the nodes that the yacs config is translated to.
    """

    def __init__(self, cfg: CfgNode):
        nodes = translate(cfg)
        Schema(cfg=nodes, names=node_keys()).check()
        configure(nodes, argparse.Namespace(eval_only=False, config_file="", resume=False))
        model = self.build_model(nodes)
        parts = {"optimizer": self.build_optimizer(nodes, model), "loader": self.build_train_loader(nodes)}
        super().__init__(nodes, model=model, average=weight_average(model, **nodes.train.ema), **parts)

    def resume_or_load(self, resume: bool = True) -> None:
        self.start_iter = self.start(resume)

    def train(self, start: int | None = None) -> None:
        super().train(self.start_iter if start is None else start)

    @classmethod
    def build_model(cls, cfg) -> nn.Module:
        return instantiate(cfg.model).to(cfg.train.device)

    @classmethod
    def build_optimizer(cls, cfg, model: nn.Module):
        return None  # by the node

    @classmethod
    def build_train_loader(cls, cfg):
        return None

    test = staticmethod(evaluate)
