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
    """Build the model of the config, with random box heads, so that every layer moves the anchors."""
    cfg = load(args.config_file, args.opts)
    if args.peer:
        cfg.model.decoder.eps = 1e-5  # transformers supports no other value
        cfg.model.encoder.dropout = 0.0  # 0.1 in Deformable DETR; the time of random numbers does not matter here
    torch.manual_seed(0)
    model = instantiate(cfg.model).to(args.device)
    for head in model.decoder.box_heads:
        nn.init.normal_(head[-1].weight, std=0.05)  # it starts at zero and would move nothing
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
    """The copy for inference. --compile on a CPU takes the plain model, because oneDNN's layers cannot be compiled."""
    model = with_precision(copy.deepcopy(model), args).eval()
    if not args.compile:
        return optimize_for_inference(model)
    return compile_parts(model if args.device == "cpu" else optimize_for_inference(model))


def with_precision(model: DABDETR, args: argparse.Namespace) -> DABDETR:
    """Set the model's precision. It has no fp16 of its own; `in_precision` adds that."""
    model.precision = "bf16" if args.precision == "bf16" else "fp32"
    return model


def compiled(model: nn.Module, args: argparse.Namespace) -> nn.Module:
    """Another project's model, compiled with --compile."""
    return torch.compile(model, dynamic=True) if args.compile else model


def in_precision(function: Callable, args: argparse.Namespace) -> Callable:
    """Wrap a function in autocast to --precision."""

    def run():
        dtype = DTYPES[args.precision]
        with nullcontext() if dtype == torch.float32 else torch.autocast(args.device.split(":")[0], dtype):
            return function()

    return run


def predicting(function: Callable, args: argparse.Namespace) -> Callable:
    return torch.inference_mode()(in_precision(function, args))
