"""DETR's augmentation from Detectron2's stock parts."""

from collections.abc import Sequence

from detectron2.data import transforms as T

COLOR = "dataloader.train.mapper.augmentations.color"
MAX_ASPECT = 20  # longer images than this are resized by their longer side, before a crop too


def random_crop(*, short_side: Sequence[int], crop_side: Sequence[int]) -> T.Augmentation:
    """Half of the time: a resize, which enlarges small objects, and then a crop; sizes in pixels.

    Without its bound on the longer side, the resize would turn a strip of 1300 x 1 pixels into one of 520,000 x 400.

    short_side: lengths, one of which the shorter side of the image gets before the crop.
    crop_side: smallest and largest side of a crop, drawn separately for height and width.
    """
    resize = T.ResizeShortestEdge(list(short_side), MAX_ASPECT * max(short_side), sample_style="choice")
    return T.RandomApply(T.AugmentationList([resize, T.RandomCrop("absolute_range", tuple(crop_side))]), prob=0.5)


def detr_augmentations(
    *,
    short_side: Sequence[int],
    max_side: int,
    crop_short_side: Sequence[int],
    crop_side: Sequence[int],
    color: float = 0.0,
) -> list[T.Augmentation]:
    """A flip half of the time, a `random_crop` half of the time, then a resize; sizes in pixels.

    short_side: lengths, one of which the shorter side of the image gets in the end.
    max_side: upper bound for the longer side after that.
    crop_short_side, crop_side: as for `random_crop`; an empty list of lengths switches crops off.
    color: by how much brightness, contrast and saturation vary, at most: 0.4 is from 60% to 140%. 0 leaves colors.

    Raises ValueError for a color that is not from 0 to below 1.
    """
    if not 0 <= color < 1:
        raise ValueError(f"{COLOR} must be from 0 to below 1, got {color}")
    changes = [x(1 - color, 1 + color) for x in (T.RandomBrightness, T.RandomContrast, T.RandomSaturation) if color]
    crops = [random_crop(short_side=crop_short_side, crop_side=crop_side)] if crop_short_side else []
    return [*changes, T.RandomFlip(), *crops, T.ResizeShortestEdge(list(short_side), max_side, sample_style="choice")]
