"""The tasks that are timed. Each has several forms of dab_detr, and with --peer one of transformers."""

import argparse
import copy
from collections.abc import Callable

import torch
from detectron2.data.transforms import AugmentationList
from torch import Tensor, nn

from dab_detr.detector import DABDETR, padding_of
from dab_detr.engine.compilation import compile_parts
from dab_detr.engine.optimizer import ClippedAdamW
from dab_detr.explanation import explain
from dab_detr.explanation.page import page
from dab_detr.inference import Predictor
from dab_detr.modeling.recomputation import recompute
from dab_detr.modeling.structures import Prediction, Target

from .deployment import deployment
from .measure import Forms
from .sampling import by_grids, sampling
from .subjects import build, compiled, fast, in_precision, inputs_for, predicting, with_precision


def inference(model: DABDETR, args: argparse.Namespace) -> Forms:
    """The whole model: from images to detections; for transformers, from normalized pixels to logits and boxes."""
    inputs, plain, quick = inputs_for(model, args), with_precision(model.eval(), args), fast(model, args)
    forms = {}
    if args.peer:
        from . import peer

        theirs, (pixels, mask) = peer.same_model(model), peer.tensors(model.preprocess(inputs))
        peer.check_same(detect(model, pixels, mask == 0), lambda: theirs(pixels, pixel_mask=mask))
        quickest = compiled(theirs, args)
        forms["transformers"] = predicting(lambda: quickest(pixels, pixel_mask=mask), args)
    grids = copy.deepcopy(plain)
    if by_grids(grids):
        forms["dab_detr by grid_sample"] = predicting(lambda: grids(inputs), args)
    forms["dab_detr"] = predicting(lambda: plain(inputs), args)
    forms["dab_detr optimized"] = predicting(lambda: quick(inputs), args)
    return forms


def transformer(model: DABDETR, args: argparse.Namespace) -> Forms:
    """The model after the backbone: from its feature map to logits and boxes."""
    images = model.eval().preprocess(inputs_for(model, args))
    padding, quick, forms = padding_of(images), fast(model, args), {}
    with torch.no_grad():
        features = {name: x.contiguous() for name, x in model.backbone(images.tensor).items()}
    if args.peer:
        from . import peer

        theirs, (pixels, mask) = peer.same_model(model), peer.tensors(images)
        peer.check_same(detect(model, pixels, padding), lambda: theirs(pixels, pixel_mask=mask))
        peer.give_features(theirs, features.values())
        quickest = compiled(theirs, args)
        forms["transformers"] = predicting(lambda: quickest(pixels, pixel_mask=mask), args)
    forms["dab_detr"] = predicting(lambda: model.detect(features, padding), args)
    forms["dab_detr optimized"] = predicting(lambda: quick.detect(features, padding), args)
    return forms


def training(model: DABDETR, args: argparse.Namespace) -> Forms:
    """Steps of training: losses, gradients, clipped AdamW; without and with activation checkpointing."""
    inputs, forms = inputs_for(model.train(), args), {}
    if args.peer:
        from . import peer

        (pixels, mask), labels = peer.tensors(model.preprocess(inputs)), peer.labels(model.targets(inputs))
        theirs = peer.same_model(model)  # it has no activation checkpointing
        quickest = compiled(theirs, args)
        loss = in_precision(lambda: quickest(pixels, pixel_mask=mask, labels=labels).loss, args)
        forms["transformers"] = step(loss, theirs)
    for name in ("dab_detr by grid_sample", "dab_detr", "dab_detr checkpointing"):
        ours = with_precision(copy.deepcopy(model), args)
        if name.endswith("grid_sample") and not by_grids(ours):
            continue
        if name.endswith("checkpointing"):
            recompute(ours, ("backbone", "encoder", "decoder"))
        if args.compile:
            compile_parts(ours)
        forms[name] = step(in_precision(lambda f=ours: sum(f(inputs).values()), args), ours)
    return forms


def collaboration(model: DABDETR, args: argparse.Namespace) -> Forms:
    """Steps of training without auxiliary heads, with the ATSS head, and with that and Faster R-CNN's."""
    inputs, forms = inputs_for(model, args), {}
    for name, heads in {"dab_detr": "", "one head": "atss", "two heads": "rcnn,atss"}.items():
        opts = [*args.opts, f"model.collaboration.heads=[{heads}]"]
        member = with_precision(build(argparse.Namespace(**vars(args) | {"opts": opts})).train(), args)
        forms[name] = step(in_precision(lambda f=member: sum(f(inputs).values()), args), member)
    return forms


def explanation(model: DABDETR, args: argparse.Namespace) -> Forms:
    """A plain prediction of one picture, and the page that explains 20 of its detections."""
    (image,) = inputs_for(model, args)
    picture = image["image"].permute(1, 2, 0).numpy()
    predictor = Predictor(model.eval(), augmentations=AugmentationList([]), device=args.device)
    return {
        "prediction": lambda: predictor(picture, threshold=0.0),
        "page": lambda: page(explain(predictor, picture, threshold=0.0)),
    }


def criterion(model: DABDETR, args: argparse.Namespace, objects: int = 20) -> Forms:
    """Matching and losses of random predictions of all layers, forward and backward."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(model.decoder.layers), args.batch, model.queries.num_queries)
    logits = torch.randn(*shape, model.num_classes, generator=generator).to(args.device).requires_grad_()
    boxes = random_boxes(*shape, generator=generator).to(args.device).requires_grad_()
    targets = [
        Target(
            labels=torch.randint(model.num_classes, (objects,), generator=generator).to(args.device),
            boxes=random_boxes(objects, generator=generator).to(args.device),
        )
        for _ in range(args.batch)
    ]
    forms = {}
    if args.peer:
        from . import peer

        theirs, labels = peer.same_model(model), peer.labels(targets)
        forms["transformers"] = gradients(lambda: peer.loss(theirs, logits, boxes, labels), logits, boxes)
    prediction = Prediction(logits, boxes)
    forms["dab_detr"] = gradients(lambda: sum(model.criterion(prediction, targets).values()), logits, boxes)
    return forms


TASKS = {
    "inference": inference,
    "transformer": transformer,
    "training": training,
    "collaboration": collaboration,
    "explanation": explanation,
    "criterion": criterion,
    "sampling": sampling,
    "deployment": deployment,
}


def random_boxes(*shape: int, generator: torch.Generator) -> Tensor:
    """(*shape, 4) cxcywh, normalized."""
    return 0.1 + 0.3 * torch.rand(*shape, 4, generator=generator)


@torch.no_grad()
def detect(model: DABDETR, pixels: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and boxes of the last layer, in fp32."""
    prediction = model.detect(model.backbone(pixels), padding)
    return prediction.logits[-1], prediction.boxes[-1]


def gradients(loss: Callable[[], Tensor], *inputs: Tensor) -> Callable:
    return lambda: torch.autograd.grad(loss(), inputs)


def step(loss: Callable[[], Tensor], model: nn.Module) -> Callable:
    """A function that takes one step on the loss, with the optimizer of our recipes."""
    optimizer = ClippedAdamW([p for p in model.parameters() if p.requires_grad], max_norm=0.1, lr=1e-6)

    def run():
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()

    return run
