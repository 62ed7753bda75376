"""Watches the first epoch for four silent failures of a training, and warns early."""

import logging
from collections.abc import Sequence
from statistics import median

from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase
from detectron2.utils import comm

from ..data.content import first_few
from ..data.loader import TrainLoader

MESSAGES = {
    "collapsed": (
        "All queries of an image give nearly the same {what} ({name} is {value:.2g}, in a healthy training over "
        "{limit:g}): they have collapsed into one. Most likely the learning rate is too high for the batch (lower "
        "optimizer.lr, or raise dataloader.train.total_batch_size, with train.accumulate if memory is short), or "
        "weights were loaded that do not fit. They seldom recover."
    ),
    "churn": (
        "The last two decoder layers find {value:.0f} % of the objects with different queries (a healthy training has "
        "under {limit:g}): the matching does not settle. Most likely the learning rate is too high, or the weights of "
        "model.criterion and the costs of its matcher pull in different directions."
    ),
    "no AP": (
        "The loss has fallen from {first:.3g} to {last:.3g}, but AP is {value:.2g}: the model does not learn "
        "what is evaluated. Most likely the categories of dataset.train and dataset.val differ (ids shifted by one, "
        "another order), the boxes of one are in another format or unit, or their images are read differently."
    ),
    "unmatched": (
        "In the first epoch no query was ever matched with an object of {names}: the training data has none, or "
        "loses them (objects marked as crowd, boxes without area, augmentation that cuts them off). These "
        "classes cannot be learned. Check dataset.train, or leave them out of it."
    ),
}

logger = logging.getLogger(__name__)


class Watchdog(HookBase):
    """Warn, once each, of collapsed queries, matcher churn, AP 0 with falling loss, and classes that never match.

    It watches a training from its first iteration and ignores a resumed one. All processes need
    it, after the hook that evaluates.

    images: number of images in the training data. If it is None, classes are not watched.
    class_names: the class names of the training data.
    patience: number of iterations in which any training may look like this.
    window: number of iterations over whose median it judges.
    """

    def __init__(self, *, images: int | None, class_names: Sequence[str], patience: int = 1000, window: int = 100):
        self.images, self.class_names, self.patience, self.window = images, class_names, patience, window
        self.seen: set[int] = set()
        self.said: set[str] = set()
        self.visits = 0

    def after_step(self) -> None:
        """Judge the classes at the end of the epoch, the queries once, and every evaluation from then on."""
        if self.trainer.start_iter > 0:
            return
        iteration = self.trainer.iter + 1
        if self.images is not None and self.visits < self.images:
            self.count_classes()
        if iteration == self.patience and comm.is_main_process():
            self.judge_queries()
        if iteration >= self.patience and comm.is_main_process():
            self.judge_evaluation()

    def after_train(self) -> None:
        """Judge the last evaluation, which comes after the last step."""
        if self.trainer.start_iter == 0 and self.trainer.iter >= self.patience and comm.is_main_process():
            self.judge_evaluation()

    def count_classes(self) -> None:
        """Judge the classes at the epoch's last batch, in all processes together, because each has seen a part."""
        batch = getattr(self.trainer, "_trainer", self.trainer).batch
        self.visits += len(batch) * comm.get_world_size()
        for x in batch:
            self.seen.update(x["instances"].gt_classes.tolist())
        if self.visits >= self.images:
            missing = set(range(len(self.class_names))).difference(*comm.all_gather(self.seen))
            if missing and comm.is_main_process():
                self.say("unmatched", names=first_few([self.class_names[i] for i in sorted(missing)]))

    def judge_queries(self) -> None:
        scalars = self.trainer.storage.histories()
        for name, limit, what in (("box_spread", 0.01, "boxes"), ("logit_spread", 0.02, "classes")):
            if name in scalars and (value := scalars[name].median(self.window)) < limit:
                self.say("collapsed", name=name, value=value, limit=limit, what=what)
                return  # the matching is then arbitrary
        if "match_churn" in scalars and (value := scalars["match_churn"].median(self.window)) > 80:
            self.say("churn", value=value, limit=80)

    def judge_evaluation(self) -> None:
        storage = self.trainer.storage
        found = [x for name, x in storage.latest().items() if name.endswith("bbox/AP")]
        if any(value >= 0.1 or iteration < storage.iter for value, iteration in found) or not found:
            return
        loss = storage.history("total_loss")
        first, last = median(value for value, _ in loss.values()[: self.window]), loss.median(self.window)
        if last < 0.75 * first:
            self.say("no AP", first=first, last=last, value=max(value for value, _ in found))

    def say(self, case: str, **details) -> None:
        if case not in self.said:
            self.said.add(case)
            logger.warning("Watchdog: " + MESSAGES[case].format(**details))


def watchdog(loader, dataset: str) -> Watchdog:
    """Return the hook for a training with this loader on the registered dataset."""
    names = MetadataCatalog.get(dataset).get("thing_classes", [])
    return Watchdog(images=len(loader.visits) if isinstance(loader, TrainLoader) else None, class_names=names)
