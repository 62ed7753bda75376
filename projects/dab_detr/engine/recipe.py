"""The rules of `train.recipe=auto`: settings that fit a dataset, each with its reason.

`docs/own_data.md` has them as a table. They are a pure function of a `Situation`; `auto` applies them to a config.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..data.summary import DatasetSummary

Weights = Literal["detector", "backbone", "none"]

STEPS = {"detector": 3000, "backbone": 20000, "none": 30000}
EPOCHS = {"detector": (24, 300), "backbone": (50, 1000), "none": (75, 1500)}  # the fewest and the most
EVALUATIONS, LEAST_PERIOD, PATIENCE = 40, 25, 15
SIDE, ENLARGED = 800, 5 / 3  # the shorter side for COCO, and its ratio to COCO's median, 480
SIDE_ON_CPU, FINE_SIDE_ON_CPU, LEAST_SIDE, STEP = 480, 224, 320, 32
GIB_PER_PICTURE = 4  # of a GPU's memory, at a shorter side of 800
AUGMENTATION = "dataloader.train.mapper.augmentations"


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The facts that the rules use.

    data: the summary of dataset.train. evaluated: whether there is a dataset.val.
    weights: the kind of weights that the training starts from: a detector, a backbone, or nothing.
    released: address of the released weights of the config; None if there are none, or if they are not wanted.
    learning_rate: the config's learning rate, for batches of `base_batch`.
    queries: the config's number of queries. queries_are_set: whether the user has set it.
    max_detections: the evaluation's limit for an image.
    batch, iterations, epochs: the values that the user has set; None if the rules decide.
    averages: whether the training may keep a moving average, which the user can switch off.
    fine: whether attention is to all cells of a map of stride 8.
    memory: the memory of one GPU in GiB; None for a CPU. processes: the number of processes.
    """

    data: DatasetSummary
    evaluated: bool = True
    weights: Weights = "backbone"
    released: str | None = None
    learning_rate: float = 1e-4
    base_batch: int = 16
    queries: int = 300
    queries_are_set: bool = False
    max_detections: int = 100
    batch: int | None = None
    iterations: int | None = None
    epochs: float | None = None
    averages: bool = True
    fine: bool = False
    memory: float | None = None
    processes: int = 1


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A setting with the reason for its value."""

    key: str
    value: Any
    reason: str

    def __str__(self) -> str:
        value = self.value
        if isinstance(value, dict) and "_target_" in value:
            options = ", ".join(f"{key}={x}" for key, x in value.items() if key != "_target_")
            value = f"{value['_target_'].rpartition('.')[2]}({options})"
        return f"{self.key}={value}: {self.reason}"


def recipe(situation: Situation) -> list[Rule]:
    """The settings for a situation."""
    batch = situation.batch or batch_for(situation)
    side = side_for(situation)
    iterations, why = iterations_for(situation, batch)
    rules = [*start(situation), *steps(situation, batch, side)]
    if why:
        rules.append(Rule(key="train.max_iter", value=iterations, reason=why))
    return [*rules, *schedule(iterations), *averaging(situation, iterations), *sizes(side), *colors(situation),
            *crowds(situation)]  # fmt: skip


def start(situation: Situation) -> Iterator[Rule]:
    """The weights to start from, or the learning rate of a backbone without any."""
    if situation.released:
        yield Rule(
            key="train.init_checkpoint",
            value=situation.released,
            reason="a detector trained on COCO needs a fraction of the steps that a backbone alone needs",
        )
    elif situation.weights == "none":
        reason = "a backbone of random weights must learn as fast as the rest"
        yield Rule(key="optimizer.params.lr_factors", value={"backbone": 1.0}, reason=reason)
        yield Rule(key="model.backbone.norm", value="BN", reason="frozen norms of random weights normalize nothing")
        yield Rule(key="model.backbone.freeze_at", value=0, reason="random layers have to learn too")


def batch_for(situation: Situation) -> int:
    """The batch size: the largest power of two with at least five batches in an epoch, at most 16, or 4 on a CPU.

    It is rounded up to a multiple of the number of processes.
    """
    most = max(1, min(16 if situation.memory else 4, situation.data.images // 5))
    batch = 2 ** int(math.log2(most))
    return math.ceil(batch / situation.processes) * situation.processes


def steps(situation: Situation, batch: int, side: int) -> Iterator[Rule]:
    """The batch size, the number of micro-batches, and the learning rate that fits."""
    if situation.batch is None:
        reason = f"at least 5 batches in an epoch of {situation.data.images} pictures"
        reason += "" if situation.memory else ", and at most 4 pictures on a CPU"
        yield Rule(key="dataloader.train.total_batch_size", value=batch, reason=reason)
    share = batch // situation.processes
    fits = max(1, int(situation.memory / GIB_PER_PICTURE * (SIDE / side) ** 2)) if situation.memory else 2
    parts = next(n for n in range(1, share + 1) if share % n == 0 and share / n <= fits)
    if parts > 1:
        reason = f"the memory is sure to hold {share // parts} pictures at a time; the optimizer's steps stay the same"
        yield Rule(key="train.accumulate", value=parts, reason=reason)
    rate = float(f"{situation.learning_rate * math.sqrt(batch / situation.base_batch):.2g}")
    if rate != situation.learning_rate:
        reason = f"{situation.learning_rate:g} is for batches of {situation.base_batch}"
        reason += "; it scales with their square root"
        yield Rule(key="optimizer.lr", value=rate, reason=reason)


def iterations_for(situation: Situation, batch: int) -> tuple[int, str]:
    """The number of steps, and the reason, which is empty if the user has set the number."""
    weights = "detector" if situation.released else situation.weights
    epoch = max(1, situation.data.images // batch)
    if situation.iterations or situation.epochs:
        return situation.iterations or max(1, round(situation.epochs * epoch)), ""
    least, most = EPOCHS[weights]
    epochs = min(most, max(least, math.ceil(STEPS[weights] / epoch)))
    begins = {"detector": "a detector", "backbone": "a backbone alone", "none": "random weights"}[weights]
    why = {least: "the fewest epochs", most: "the most epochs"}.get(epochs, f"about {STEPS[weights]:,} steps")
    return epochs * epoch, f"{epochs} epochs of {epoch} steps, {why} when starting from {begins}"


def schedule(iterations: int) -> Iterator[Rule]:
    """The learning rate schedule and its warm-up."""
    yield Rule(
        key="lr_multiplier",
        value={
            "_target_": "fvcore.common.param_scheduler.CosineParamScheduler",
            "start_value": 1.0,
            "end_value": 0.01,
        },
        reason="the rate falls steadily, so that early stopping does not come before a late drop",
    )
    warmup = min(500, iterations // 20)
    if warmup:
        reason = "a twentieth of the steps, at most 500, for new class heads and Adam's first estimates"
        yield Rule(key="train.warmup_iters", value=warmup, reason=reason)


def averaging(situation: Situation, iterations: int) -> Iterator[Rule]:
    """The moving average of the weights, the evaluations, and early stopping."""
    metric, best = "bbox/AP", "without a moving average, these are the weights to keep"
    if situation.averages:
        metric, best = "ema/bbox/AP", "the averaged weights are the ones to keep"
        decay = round(min(0.9998, max(0.9, 1 - 20 / iterations)), 5)
        reason = "an average over about a twentieth of the steps evens out the noise of small batches"
        yield Rule(key="train.ema.enabled", value=True, reason=reason)
        yield Rule(key="train.ema.decay", value=decay, reason=reason)
    if situation.evaluated:
        period = max(LEAST_PERIOD, math.ceil(iterations / EVALUATIONS))
        reason = f"at most {EVALUATIONS} evaluations, {LEAST_PERIOD} or more steps apart, are enough for a curve"
        yield Rule(key="train.eval_period", value=period, reason=reason)
        yield Rule(key="train.best.metric", value=metric, reason=best)
        yield Rule(key="train.early_stopping.metric", value=metric, reason="the same metric as for the best")
        reason = f"after {PATIENCE} evaluations without a better one, the training only overfits"
        yield Rule(key="train.early_stopping.patience", value=PATIENCE, reason=reason)


def side_for(situation: Situation) -> int:
    """The shorter side of a picture, a multiple of 32."""
    most = SIDE if situation.memory else FINE_SIDE_ON_CPU if situation.fine else SIDE_ON_CPU
    side = ENLARGED * situation.data.short_side
    if situation.data.object_sides[0] and situation.data.object_sides[0] * side / situation.data.short_side < 16:
        side = most
    return min(most, max(LEAST_SIDE, STEP * round(side / STEP)))


def sizes(side: int) -> Iterator[Rule]:
    """The sizes of pictures in training and evaluation, and of crops."""
    reason = f"a shorter side of {side}: 5/3 of the median picture as for COCO, more for small objects"
    scale, longest = side / SIDE, round(side * ENLARGED)
    sides = list(range(STEP * math.ceil(0.6 * side / STEP), side + 1, STEP))
    yield Rule(key=f"{AUGMENTATION}.short_side", value=sides, reason=reason)
    bound = "5/3 of the shorter side, COCO's bound for long pictures"
    yield Rule(key=f"{AUGMENTATION}.max_side", value=longest, reason=bound)
    crops = [STEP * round(x * scale / STEP) for x in (400, 500, 600)]
    yield Rule(key=f"{AUGMENTATION}.crop_short_side", value=crops, reason="DETR's crops, in proportion")
    yield Rule(
        key=f"{AUGMENTATION}.crop_side",
        value=[round(x * scale) for x in (384, 600)],
        reason="the size of DETR's crops, in proportion",
    )
    test = "dataloader.test.mapper.augmentations.0"
    yield Rule(key=f"{test}.short_edge_length", value=side, reason="the largest size of the training")
    yield Rule(key=f"{test}.max_size", value=longest, reason=bound)


def colors(situation: Situation) -> Iterator[Rule]:
    """The strength of color changes in training."""
    images = situation.data.images
    strength = 0.4 if images < 1000 else 0.2 if images < 10_000 else 0.0
    if strength:
        reason = f"{images} pictures show few lights and cameras, so brightness, contrast and saturation vary"
        yield Rule(key=f"{AUGMENTATION}.color", value=strength, reason=reason)


def crowds(situation: Situation) -> Iterator[Rule]:
    """Queries, selected detections and evaluated detections for pictures with many objects."""
    most = situation.data.most_objects
    wanted = 100 * math.ceil(1.5 * most / 100)
    if situation.queries_are_set:
        wanted = min(wanted, situation.queries)
    if wanted > situation.queries:
        reason = f"1.5 times the most objects in a picture ({most}), rounded up to hundreds"
        yield Rule(key="model.queries.num_queries", value=wanted, reason=reason)
        yield Rule(key="model.selection.num_select", value=wanted, reason="as many as there are queries")
        if situation.released or situation.weights == "detector":
            reason = "the weights have fewer queries; the others start from random weights"
            yield Rule(key="train.init_partially", value=True, reason=reason)
    if wanted > situation.max_detections:
        reason = f"COCO's limit of {situation.max_detections} would cut pictures with {most} objects"
        yield Rule(key="dataloader.evaluator.max_detections", value=wanted, reason=reason)


def overfit_rules(pictures: int, batch: int | None, test_augmentations: Any) -> list[Rule]:
    """The settings with which a training overfits a few pictures.

    batch: the batch size that the user has given. test_augmentations: the node of the augmentations in an evaluation.
    """
    reason = "overfitting needs the same pictures each time"
    still = "nothing else may change the weights or end the training"
    return [
        Rule(key="dataloader.train.total_batch_size", value=batch or min(pictures, 4), reason="small batches are fast"),
        Rule(key=AUGMENTATION, value=test_augmentations, reason=reason),
        Rule(key="train.max_iter", value=1000, reason="enough from any starting weights"),
        Rule(key="train.eval_period", value=100, reason="a curve of ten evaluations"),
        Rule(key="train.ema.enabled", value=False, reason=still),
        Rule(key="train.best.metric", value="bbox/AP", reason=still),
        Rule(key="train.early_stopping.patience", value=0, reason=still),
    ]
