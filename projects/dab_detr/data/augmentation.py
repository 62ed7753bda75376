"""DETR's augmentation from Detectron2's stock parts."""

from collections.abc import Sequence

from detectron2.data import transforms as T


def detr_augmentations(
    *,
    short_side: Sequence[int],
    max_side: int,
    crop_short_side: Sequence[int],
    crop_side: tuple[int, int],
) -> list[T.Augmentation]:
    """A flip half of the time, a crop half of the time, then a resize; sizes in pixels.

    short_side: lengths, one of which the shorter side of the image gets in the end.
    max_side: no longer than this may the longer side become then.
    crop_short_side: lengths of the shorter side before a crop, so that small objects grow with it; empty for no crops.
    crop_side: smallest and largest side of a crop, drawn for height and width on their own.
    """
    resize = T.ResizeShortestEdge(list(short_side), max_side, sample_style="choice")
    if not crop_short_side:
        return [T.RandomFlip(), resize]
    crop = T.AugmentationList(
        [
            T.ResizeShortestEdge(list(crop_short_side), sample_style="choice"),
            T.RandomCrop("absolute_range", tuple(crop_side)),
        ]
    )
    return [T.RandomFlip(), T.RandomApply(crop, prob=0.5), resize]
