"""The subjects of a measurement: the detector of a config, and images and objects to feed it."""

import argparse
import copy
from collections.abc import Callable
from contextlib import nullcontext

import torch
from detectron2.config import instantiate
from detectron2.structures import Boxes, Instances
from torch import nn

from dab_detr import optimize_for_inference
from dab_detr.config import load
from dab_detr.detector import DABDETR
from dab_detr.engine.compilation import compile_parts

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build(args: argparse.Namespace) -> DABDETR:
    """The model of the config, with anchors that differ from each other and heads that answer."""
    cfg = load(args.config_file, args.opts)
    if args.peer:
        cfg.model.decoder.eps = 1e-5  # transformers knows no other
        cfg.model.encoder.dropout = 0.0  # Deformable DETR's is 0.1; the time of random numbers is not compared
    torch.manual_seed(0)
    model = instantiate(cfg.model).to(args.device)
    for head in model.decoder.box_heads:
        nn.init.normal_(head[-1].weight, std=0.05)  # at the start it moves nothing
    return model


def inputs_for(model: DABDETR, args: argparse.Namespace, objects: int = 20) -> list[dict]:
    """Random images of one size, with random objects."""
    generator = torch.Generator().manual_seed(0)
    height, width = args.size
    inputs = []
    for _ in range(args.batch):
        corner = torch.rand(objects, 2, generator=generator) * 0.7
        side = 0.05 + 0.2 * torch.rand(objects, 2, generator=generator)
        boxes = torch.cat([corner, corner + side], 1) * torch.tensor([width, height, width, height])
        classes = torch.randint(model.num_classes, (objects,), generator=generator)
        image = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
        instances = Instances((height, width), gt_boxes=Boxes(boxes), gt_classes=classes)
        inputs.append({"image": image, "instances": instances})
    return inputs


def fast(model: DABDETR, args: argparse.Namespace) -> DABDETR:
    """The copy for inference, compiled where that is asked for: on a GPU, for the compiler has no part in oneDNN's."""
    model = with_precision(copy.deepcopy(model), args).eval()
    if not args.compile:
        return optimize_for_inference(model)
    return compile_parts(model if args.device == "cpu" else optimize_for_inference(model))


def with_precision(model: DABDETR, args: argparse.Namespace) -> DABDETR:
    """The same model; fp16, which it does not know as its own, comes from `in_precision`."""
    model.precision = "bf16" if args.precision == "bf16" else "fp32"
    return model


def compiled(model: nn.Module, args: argparse.Namespace) -> nn.Module:
    """A model of others, compiled where that is asked for."""
    return torch.compile(model, dynamic=True) if args.compile else model


def in_precision(function: Callable, args: argparse.Namespace) -> Callable:
    """The function under autocast to what --precision says."""

    def run():
        dtype = DTYPES[args.precision]
        with nullcontext() if dtype == torch.float32 else torch.autocast(args.device.split(":")[0], dtype):
            return function()

    return run


def predicting(function: Callable, args: argparse.Namespace) -> Callable:
    return torch.inference_mode()(in_precision(function, args))
