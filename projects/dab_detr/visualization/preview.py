"""Pictures of ground truth beside predictions."""

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from detectron2.data import Metadata
from detectron2.engine import HookBase
from detectron2.modeling import detector_postprocess
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm
from detectron2.utils.visualizer import VisImage
from PIL import Image
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..data.pictures import read_image
from ..modeling.mode import evaluating
from .drawing import COLORS, draw_boxes
from .text import drawing, readable

__all__ = ["PreviewHook", "draw_preview"]

logger = logging.getLogger(__name__)

TITLE_HEIGHT, GAP, NARROWEST = 30, 8, 280  # pixels; at the narrowest width a title is still readable
BACKGROUND = (32, 32, 32)


class PreviewHook(HookBase):
    """Draw images of a dataset with `draw_preview`, after training and every `period` iterations.

    The images are the same each time, spread evenly over the dataset. `output_dir/preview` gets a PNG for each image,
    which the next drawing overwrites, and a contact sheet. Sheets drawn during training have the iteration in their
    name and are kept. TensorBoard gets the sheet too, as the image "preview". Only the main process draws. A training
    that failed gets no preview.

    model: the model in training. It may be wrapped for distributed training. Its mode stays as it was.
    dataset: Detectron2's dataset dicts with their `annotations`.
    num_images: images to draw, at most.
    period: iterations between drawings; 0 to draw after training only.
    options: mapper, metadata and score_threshold of `draw_preview`.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        dataset: Sequence[dict],
        output_dir: str,
        num_images: int = 8,
        period: int = 0,
        **options,
    ):
        folder = Path(output_dir) / "preview"
        self.draw = partial(draw_preview, model, spread(dataset, num_images), output_dir=folder, **options)
        self.period = period

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self.period > 0 and done % self.period == 0 and done < self.trainer.max_iter:
            self.draw_sheet(f"contact_sheet_{done:07d}.png")

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self.draw_sheet("contact_sheet.png")

    def draw_sheet(self, sheet: str) -> None:
        """Draw the pictures and the contact sheet of this file name, in the main process."""
        if comm.is_main_process():
            with drawing(f"preview/{sheet}"):
                picture = Image.open(self.draw(sheet=sheet)).convert("RGB")
                self.trainer.storage.put_image("preview", np.asarray(picture).transpose(2, 0, 1))


def draw_preview(
    model: nn.Module,
    dataset: Sequence[dict],
    *,
    mapper: Callable[[dict], dict],
    output_dir: str | os.PathLike,
    metadata: Metadata | None = None,
    score_threshold: float = 0.3,
    side: int = 480,
    sheet: str = "contact_sheet.png",
) -> Path:
    """Draw every image of `dataset`, ground truth on the left and predictions on the right, and a sheet of all.

    model: takes the output of `mapper` and returns `instances`. Its mode stays as it was.
    dataset: Detectron2's dataset dicts; `annotations` may be missing.
    mapper: turns a dataset dict into the model's input, as in the test loader.
    output_dir: folder for the PNG files; made if missing.
    metadata: the dataset's metadata with `thing_classes` and `thing_colors`; without it, classes are numbers.
    score_threshold: lowest score of a detection that is drawn.
    side: pixels of an image's longer side in the pictures, so that small images are readable too.
    sheet: file name of the contact sheet.

    Returns the path of the contact sheet. Raises ValueError for an empty dataset.
    """
    if not dataset:
        raise ValueError("a preview needs at least one image, the dataset has none")
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    if isinstance(model, DistributedDataParallel):
        model = model.module  # the other processes do not take part
    style = Style(metadata, side)
    pictures = []
    with evaluating(model), torch.no_grad():
        for number, record in enumerate(dataset):
            detections = model([mapper(record)])[0]["instances"].to("cpu")
            pictures.append(draw_picture(record, detections, score_threshold, style))
            name = f"{number:02d}_{Path(record['file_name']).stem}.png"
            Image.fromarray(pictures[-1]).save(output_dir / name)
    Image.fromarray(contact_sheet(pictures)).save(output_dir / sheet)
    logger.info("Drew %d images with ground truth and predictions: %s", len(pictures), output_dir / sheet)
    return output_dir / sheet


class Style:
    """Names and colors of the classes, and the size of the pictures."""

    def __init__(self, metadata: Metadata | None, side: int):
        self.names = metadata.get("thing_classes") if metadata else None
        own = metadata.get("thing_colors") if metadata else None
        self.colors = np.asarray(own) / 255 if own else COLORS
        self.side = side

    def name(self, label: int) -> str:
        """The name of a class, or its number, as it can be drawn."""
        return readable(self.names[label], label) if self.names else str(label)

    def panel(
        self, image: np.ndarray, title: str, boxes: np.ndarray, labels: list[int], texts: list[str]
    ) -> np.ndarray:
        """Draw boxes (N, 4), xyxy in pixels, on `image` (H, W, 3), with a title above, enlarged to the side."""
        scale = self.side / max(image.shape[:2])
        height, width = (max(1, round(x * scale)) for x in image.shape[:2])
        resized = np.asarray(Image.fromarray(image).resize((width, height)))
        drawn = draw_boxes(resized, boxes * scale, labels=labels, texts=texts, colors=self.colors)
        if width < NARROWEST:
            margin = NARROWEST - width
            drawn = np.pad(drawn, ((0, 0), (margin // 2, margin - margin // 2), (0, 0)), constant_values=BACKGROUND[0])
        return np.concatenate([title_strip(title, drawn.shape[1]), drawn])


def title_strip(title: str, width: int) -> np.ndarray:
    """Draw a title of one line, (TITLE_HEIGHT, width, 3), in the largest size up to 12 points that fits."""
    strip = VisImage(np.full((TITLE_HEIGHT, width, 3), BACKGROUND, np.uint8))
    text = strip.ax.text(width / 2, TITLE_HEIGHT / 2, title, size=12, color="w", ha="center", va="center")
    extent = text.get_window_extent(strip.canvas.get_renderer())
    text.set_size(12 * min(1, (width - 8) / extent.width))
    return strip.get_image()


def draw_picture(record: dict, detections: Instances, score_threshold: float, style: Style) -> np.ndarray:
    """Ground truth and predictions of one image, side by side, (H, W, 3) uint8."""
    image = read_image(record["file_name"], "RGB")
    objects = record.get("annotations", [])
    labels = [x["category_id"] for x in objects]
    left = style.panel(
        image,
        f"ground truth: {len(objects)}" if "annotations" in record else "no ground truth",
        np.array([BoxMode.convert(x["bbox"], x["bbox_mode"], BoxMode.XYXY_ABS) for x in objects]).reshape(-1, 4),
        labels,
        [style.name(label) + ("|crowd" if x.get("iscrowd") else "") for x, label in zip(objects, labels, strict=True)],
    )
    detections = detector_postprocess(detections, *image.shape[:2])  # the record may have no height and width
    shown = detections[detections.scores >= score_threshold]
    labels = shown.pred_classes.tolist()
    title = f"predictions of score {score_threshold:.2g} or more: {len(shown)}"
    if len(detections) and not len(shown):
        title += f" (highest {detections.scores.max():.2g})"
    right = style.panel(
        image,
        title,
        shown.pred_boxes.tensor.numpy(),
        labels,
        [f"{style.name(label)} {score:.0%}" for label, score in zip(labels, shown.scores.tolist(), strict=True)],
    )
    gap = np.full((len(left), GAP, 3), BACKGROUND, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def contact_sheet(pictures: list[np.ndarray], columns: int = 2) -> np.ndarray:
    """All pictures on one sheet, (H, W, 3) uint8."""
    height, width = np.max([picture.shape[:2] for picture in pictures], axis=0) + 2 * GAP
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * height, min(columns, len(pictures)) * width, 3), BACKGROUND, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * height + GAP, i % columns * width + GAP
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return sheet


def spread(dataset: Sequence[dict], number: int) -> list[dict]:
    """`number` images evenly spread over the dataset, or all if it has fewer."""
    number = min(number, len(dataset))
    return [dataset[i * len(dataset) // number] for i in range(number)]
