"""DETR's augmentation from Detectron2's stock parts."""

from collections.abc import Sequence

from detectron2.data import transforms as T


def random_crop(*, short_side: Sequence[int], crop_side: Sequence[int]) -> T.Augmentation:
    """Half of the time: a resize, so that small objects grow, and then a crop.

    short_side: lengths, one of which the shorter side of the image gets before the crop.
    crop_side: smallest and largest side of a crop, drawn for height and width on their own.
    """
    resize = T.ResizeShortestEdge(list(short_side), sample_style="choice")
    return T.RandomApply(T.AugmentationList([resize, T.RandomCrop("absolute_range", tuple(crop_side))]), prob=0.5)


def detr_augmentations(
    *,
    short_side: Sequence[int],
    max_side: int,
    crop_short_side: Sequence[int],
    crop_side: Sequence[int],
) -> list[T.Augmentation]:
    """A flip half of the time, a `random_crop` half of the time, then a resize; sizes in pixels.

    short_side: lengths, one of which the shorter side of the image gets in the end.
    max_side: no longer than this may the longer side become then.
    crop_short_side, crop_side: as for `random_crop`; without lengths there are no crops.
    """
    crops = [random_crop(short_side=crop_short_side, crop_side=crop_side)] if crop_short_side else []
    return [T.RandomFlip(), *crops, T.ResizeShortestEdge(list(short_side), max_side, sample_style="choice")]
