"""Detection in one line: `Predictor.from_checkpoint("model_final.pth")("street.jpg")`."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import length_hint

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.structures import Instances
from omegaconf import DictConfig
from torch import nn
from tqdm import tqdm

from ..checkpoint.checkpointer import DABDETRCheckpointer
from ..checkpoint.description import read_description
from ..engine.description import classes_of
from ..engine.device import available_device
from ..modeling.optimization import optimize_for_inference
from .detections import Detections
from .images import Picture, Source, UnreadableImage, sources_of
from .recipe import build_stored, dataset_of, load_config, recipe_of

logger = logging.getLogger(__name__)


class Predictor:
    """A model with all that turns images into detections with names.

    model: takes Detectron2's inputs and gives `instances`; what works is a faster copy of it, on `device`.
    augmentations: what is done to an image before, as at test time.
    class_names: of the model's classes; without, classes are called by their numbers.
    category_ids: the dataset's ids of the classes, for COCO files; by default they count from 1.
    device: as torch names it; the CPU with a warning where that is CUDA and there is none.
    autocast: type for automatic mixed precision, such as torch.bfloat16; None for none.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        augmentations: T.AugmentationList,
        class_names: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
        device: str = "cuda",
        autocast: torch.dtype | None = None,
    ):
        for name, values in {"class_names": class_names, "category_ids": category_ids}.items():
            if values is not None and len(values) != model.num_classes:
                raise ValueError(f"the model has {model.num_classes} classes, {name} {len(values)}")
        self.device, self.autocast = torch.device(available_device(device)), autocast
        self.model = optimize_for_inference(model.to(self.device))
        self.augmentations = augmentations
        self.class_names = list(class_names or map(str, range(model.num_classes)))
        self.category_ids = category_ids

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike, *, device: str = "cuda", autocast: torch.dtype | None = None
    ) -> "Predictor":
        """By a checkpoint of train_net.py, a file or URL, and nothing else.

        The config inside it builds what the project's own configs are made of, and nothing that could run code.

        Raises ValueError for a checkpoint that does not describe itself, that cannot be read, or whose config
        cannot be built or names what it may not.
        """
        about = read_description(os.fspath(path))
        if about.config is None:
            raise ValueError(
                f"checkpoint {path} carries no config: give it, with --config-file or Predictor.from_config"
            )
        model, augmentations = build_stored(about.config, path)
        load(model, path, about.class_names)
        return cls(
            model,
            augmentations=augmentations,
            class_names=about.class_names,
            category_ids=about.category_ids,
            device=device,
            autocast=autocast,
        )

    @classmethod
    def from_config(
        cls,
        config: str | os.PathLike | DictConfig | CfgNode,
        checkpoint: str | os.PathLike,
        *,
        class_names: Sequence[str] | None = None,
        device: str = "cuda",
        autocast: torch.dtype | None = None,
    ) -> "Predictor":
        """By a config of yours, a file or loaded, and any weights that train_net.py takes.

        class_names: of the model's classes, by which they are found in the weights; by default those of the dataset
            that the config evaluates on, where that is here and has as many.

        Raises ValueError for weights that do not fill the model.
        """
        cfg = load_config(os.fspath(config)) if isinstance(config, (str, os.PathLike)) else config
        model, augmentations = recipe_of(cfg).build()
        names, ids = classes_of(dataset_of(cfg))
        if names is None or len(names) != model.num_classes:
            names = ids = None
        class_names = class_names or names
        load(model, checkpoint, class_names)
        return cls(
            model,
            augmentations=augmentations,
            class_names=class_names,
            category_ids=ids,
            device=device,
            autocast=autocast,
        )

    def __call__(self, image: Picture, *, threshold: float = 0.3) -> Detections:
        """Detections in one image: a file, a URL, the bytes of a file, an array (H, W, 3) or a tensor (3, H, W) uint8
        in RGB, or a PIL image."""
        sources = sources_of(image)
        if len(sources) != 1:
            raise ValueError(f"{len(sources)} images instead of one: predict() takes any number")
        return next(self.predict(sources, threshold=threshold))

    def predict(
        self,
        images: Picture | Iterable[Picture | Source],
        *,
        threshold: float = 0.3,
        batch_size: int = 1,
        pad: bool = False,
        skip_unreadable: bool = False,
        progress: bool = False,
    ) -> Iterator[Detections]:
        """Detections in each of `images`, in their order, while they are read.

        images: as `__call__` takes them, any number; folders, with all images below them; a Video.
        threshold: lowest score of a detection that is given.
        batch_size: images that are read before the model looks at them; those of one size go through it together,
            and give what each gives alone.
        pad: all of a batch go together, padded to the largest of them, which may be faster on a GPU. Their
            detections are not quite those of each alone, for a backbone sees padding at an image's border.
        skip_unreadable: leave out images that cannot be read and name them in a warning, instead of
            raising UnreadableImage.
        progress: show a progress bar.

        Raises ValueError at once for files that do not exist, folders without images and a batch_size below 1, and
        TypeError for what is no image.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        sources = sources_of(images)
        total = length_hint(sources) or length_hint(images) or None
        bar = tqdm(sources, total=total, unit="image", disable=not progress)
        return self._detections(_readable(bar, skip_unreadable), threshold, batch_size, pad)

    def _detections(
        self, images: Iterator[tuple[str, np.ndarray]], threshold: float, batch_size: int, pad: bool
    ) -> Iterator[Detections]:
        for batch in _batches(images, batch_size):
            for (name, image), instances in zip(batch, self._instances([x for _, x in batch], pad), strict=True):
                instances = instances[instances.scores.argsort(descending=True)]
                instances = instances[instances.scores >= threshold]
                yield Detections(name=name, image=image, instances=instances, class_names=self.class_names)

    @torch.no_grad()
    def _instances(self, images: list[np.ndarray], pad: bool) -> list[Instances]:
        """Of each image, on the CPU."""
        inputs = [self._input(image) for image in images]
        groups = defaultdict(list)  # of images that go through the model together, by their places
        for i, x in enumerate(inputs):
            groups[None if pad else x["image"].shape].append(i)
        found = {}
        for places in groups.values():
            with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
                outputs = self.model([inputs[i] for i in places])
            found.update(zip(places, (x["instances"].to("cpu") for x in outputs), strict=True))
        return [found[i] for i in range(len(images))]

    def _input(self, image: np.ndarray) -> dict:
        """What Detectron2's DatasetMapper makes of an image at test time."""
        height, width = image.shape[:2]
        augmented = T.AugInput(image[:, :, ::-1] if self.model.input_format == "BGR" else image)
        self.augmentations(augmented)
        tensor = torch.as_tensor(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
        return {"image": tensor, "height": height, "width": width}


def load(model: nn.Module, checkpoint: str | os.PathLike, class_names: Sequence[str] | None) -> None:
    """All weights of a model whose classes have these names. Raises ValueError for those that do not fill it."""
    DABDETRCheckpointer(model, class_names=class_names, strict=True).load(os.fspath(checkpoint), checkpointables=[])


def _batches(images: Iterator[tuple[str, np.ndarray]], size: int) -> Iterator[list[tuple[str, np.ndarray]]]:
    """So many images at a time; where one cannot be read, first those before it."""
    batch = []
    try:
        for image in images:
            batch.append(image)
            if len(batch) == size:
                yield batch
                batch = []
    except UnreadableImage:
        yield batch
        raise
    yield batch


def _readable(sources: Iterable[Source], skip_unreadable: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Name and image of each source."""
    for source in sources:
        try:
            image = source.read()
        except UnreadableImage as error:
            if not skip_unreadable:
                raise
            logger.warning("Left out: %s", error)
            continue
        yield source.name, image
