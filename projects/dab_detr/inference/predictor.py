"""Detection in one line: `Predictor.from_checkpoint("model_final.pth")("street.jpg")`."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import length_hint

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.structures import Instances
from omegaconf import DictConfig
from torch import nn
from tqdm import tqdm

from ..checkpoint.checkpointer import DABDETRCheckpointer
from ..checkpoint.description import read_described
from ..config import load as load_config
from ..data.content import printable
from ..engine.description import classes_of
from ..engine.device import available_device, usable_cores
from ..export.detector import ExportedDetector
from ..export.runtime import is_exported
from ..modeling.optimization import optimize_for_inference
from .detections import Detections
from .images import Picture, Source, UnreadableImage, sources_of
from .pipeline import Prepared, in_groups, read_ahead, readable, until_closed
from .pretrained import pretrained
from .recipe import build_stored, dataset_of, recipe_of

THREADS = min(4, usable_cores())
"""Threads that read images, by default."""


class Predictor:
    """A model with everything that turns images into detections with names.

    model: takes Detectron2's inputs and returns `instances`; the predictor runs a faster copy of it, on `device`.
    augmentations: how an image is resized before, as at test time; threads call them.
    class_names: of the model's classes; without them, classes are called by their numbers.
    category_ids: the dataset's ids of the classes, for COCO files; by default they count from 1.
    device: as torch names it; for "cuda" on a machine without it, the CPU with a warning.
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
        exported = isinstance(model, ExportedDetector)
        self.model = model if exported else optimize_for_inference(model.to(self.device))
        self.augmentations = augmentations
        self.class_names = list(class_names or map(str, range(model.num_classes)))
        self.category_ids = category_ids

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike,
        *,
        allow: Collection[str] = (),
        device: str = "cuda",
        autocast: torch.dtype | None = None,
    ) -> "Predictor":
        """Build a predictor from a checkpoint of train_net.py, a file or URL, and nothing else.

        The config inside the checkpoint builds the parts of this project and nothing that could run code. A file that
        tools/export_model.py wrote (.onnx, .xml, .pt2) runs in its own runtime, on the CPU.

        allow: full names of further classes and functions that the config may build, such as "my_package.MyPrior".
            They are imported and called: name only code that you trust.

        Raises ValueError for a checkpoint that cannot be read or has no description, and for a config that cannot be
        built or names something that is not allowed.
        """
        if is_exported(path):
            return cls.from_exported(path)
        content, about = read_described(os.fspath(path))
        if about.config is None:
            raise ValueError(
                f"checkpoint {path} carries no config: give it, with --config-file or Predictor.from_config"
            )
        model, augmentations = build_stored(about.config, path, allow, weights=content["model"])
        DABDETRCheckpointer(model, class_names=about.class_names, strict=True).load_content(content, os.fspath(path))
        return cls(
            model,
            augmentations=augmentations,
            class_names=about.class_names,
            category_ids=about.category_ids,
            device=device,
            autocast=autocast,
        )

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike, *, device: str = "cuda", autocast: torch.dtype | None = None
    ) -> "Predictor":
        """Build a predictor from a released model, which is downloaded the first time.

        name: one of `python -m dab_detr.zoo`, such as "dab_detr_r50_50ep"; "hf://owner/repository" for a DAB-DETR of
            transformers on the Hugging Face hub, or a folder that transformers wrote.

        Raises ValueError for a name that does not exist and for a model that cannot be built, and OSError, which says
        which file to put where, for weights that cannot be downloaded.
        """
        found = pretrained(os.fspath(name))
        return cls.from_config(
            found.config, found.weights, class_names=found.class_names, device=device, autocast=autocast
        )

    @classmethod
    def from_exported(cls, path: str | os.PathLike) -> "Predictor":
        """Build a predictor from an exported file. Raises ValueError for a file that is foreign or damaged."""
        model = ExportedDetector(path)
        about = model.metadata
        return cls(
            model,
            augmentations=about.augmentations(),
            class_names=about.class_names,
            category_ids=about.category_ids,
            device="cpu",
        )

    @classmethod
    def from_config(
        cls,
        config: str | os.PathLike | DictConfig,
        checkpoint: str | os.PathLike,
        *,
        class_names: Sequence[str] | None = None,
        device: str = "cuda",
        autocast: torch.dtype | None = None,
    ) -> "Predictor":
        """Build a predictor from a config of yours, a file or loaded, and any weights that train_net.py takes.

        class_names: the names of the model's classes, used to find their rows in the weights. By default they are those
            of the config's validation dataset, if it is on this machine and has as many classes as the model.

        Raises ValueError for weights that do not fill the model.
        """
        cfg = load_config(config) if isinstance(config, (str, os.PathLike)) else config
        model, augmentations = recipe_of(cfg).build()
        names, ids = classes_of(dataset_of(cfg))
        if names is None or len(names) != model.num_classes:
            names = ids = None
        class_names = class_names or names
        ids = ids if class_names == names else None
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
        """Detect objects in one image.

        image: a file, a URL, the bytes of a file, an array (H, W, 3) or a tensor (3, H, W) uint8 in RGB, or a PIL
            image.
        threshold: lowest score of a detection.
        """
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
        threads: int = THREADS,
    ) -> Iterator[Detections]:
        """Detect objects in any number of images, in their order.

        Memory does not grow with the number of images: for a sequence or a folder, at most
        `4 * batch_size + 2 * threads` of them are held at once; for any other iterable, such as a Video, `batch_size`.

        images: as `__call__` takes them, any number; folders, with all images below them; a Video.
        threshold: lowest score of a detection.
        batch_size: how many images go through the model together, if they are of one size. In a sequence or a folder
            they need not be neighbors. Each gives what it gives alone.
        pad: run images of different sizes together, padded to the largest of them, which may be faster on a GPU. Their
            detections differ slightly from those of each image alone, because a backbone sees the padding.
        skip_unreadable: name images that cannot be read in a warning and continue, instead of raising UnreadableImage.
        progress: show a progress bar.
        threads: threads that read and resize images while the model works, for a sequence or a folder; 0 for none.

        Raises ValueError at once for files that do not exist, folders without images, a batch_size below 1 and a
        threshold outside of 0 to 1, and TypeError for what is not an image.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be a score from 0 to 1, got {threshold}")
        sources = sources_of(images)
        known = isinstance(sources, Sequence)
        threads = max(0, min(threads, len(sources) - 1)) if known else 0
        total = length_hint(sources) or length_hint(images) or None
        bar = tqdm(sources, total=total, unit="image", disable=not progress)
        prepared = read_ahead(bar, self.prepare, threads=threads, ahead=2 * threads)
        found = in_groups(
            readable(prepared, skip=skip_unreadable),
            self.run,
            size=batch_size,
            window=4 * batch_size if known and batch_size > 1 and not pad else batch_size,
            key=lambda x: None if pad else x.inputs["image"].shape,
        )
        return (self.detections(image, instances, threshold) for image, instances in until_closed(found, bar))

    def prepare(self, source: Source) -> Prepared:
        """Read an image and resize it as Detectron2's DatasetMapper does at test time. Raises UnreadableImage."""
        image = source.read()
        height, width = image.shape[:2]
        augmented = T.AugInput(image[:, :, ::-1] if self.model.input_format == "BGR" else image)
        try:
            self.augmentations(augmented)
        except Exception as error:  # libraries raise all kinds for sizes below a pixel
            raise UnreadableImage(
                f"cannot resize {printable(source.name)} of {width} x {height} pixels: {error}"
            ) from error
        tensor = torch.as_tensor(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
        return Prepared(name=source.name, image=image, inputs={"image": tensor, "height": height, "width": width})

    @torch.no_grad()
    def run(self, images: Sequence[Prepared]) -> list[Instances]:
        """Run the model on some images together. Returns their instances, on the CPU."""
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            outputs = self.model([x.inputs for x in images])
        return [x["instances"].to("cpu") for x in outputs]

    def detections(self, image: Prepared, instances: Instances, threshold: float) -> Detections:
        """Return the instances of an image from `threshold` up, the highest score first."""
        instances = instances[instances.scores.argsort(descending=True)]
        highest = instances.scores[0].item() if len(instances) else 0.0
        return Detections(
            name=image.name,
            image=image.image,
            instances=instances[instances.scores >= threshold],
            class_names=self.class_names,
            highest=highest,
        )


def load(model: nn.Module, checkpoint: str | os.PathLike, class_names: Sequence[str] | None) -> None:
    """All weights of a model whose classes have these names. Raises ValueError for those that do not fill it."""
    DABDETRCheckpointer(model, class_names=class_names, strict=True).load(os.fspath(checkpoint), checkpointables=[])
