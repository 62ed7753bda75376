"""DETR's augmentation: sizes, and how often it crops."""

from itertools import pairwise

import numpy as np
import pytest
from detectron2.data import transforms as T

from dab_detr.data.augmentation import detr_augmentations, random_crop

DETR = {
    "short_side": range(480, 801, 32),
    "max_side": 1333,
    "crop_short_side": [400, 500, 600],
    "crop_side": [384, 600],
}


def augmented(augmentations, image: np.ndarray, times: int) -> list[tuple[np.ndarray, list]]:
    """Images and the transforms that made them."""
    np.random.seed(0)
    results = []
    for _ in range(times):
        data = T.AugInput(image)
        transforms = T.AugmentationList(augmentations)(data)
        results.append((data.image, transforms.transforms))
    return results


def test_sizes_are_those_of_detr():
    image = np.zeros((300, 400, 3), np.uint8)
    results = augmented(detr_augmentations(**DETR), image, 300)
    resized = [x.shape[:2] for x, transforms in results if not crops(transforms)]
    assert {min(shape) for shape in resized} == set(range(480, 801, 32))
    assert all(max(x.shape) <= 1333 for x, _ in results)
    assert all(w == pytest.approx(h * 4 / 3, abs=1) for h, w in resized)
    cropped = [crop for _, transforms in results for crop in crops(transforms)]
    assert len(cropped) == pytest.approx(150, abs=40)
    for side in ([x.w for x in cropped], [x.h for x in cropped]):
        assert 384 <= min(side) < 400 and max(side) <= 600 and len(set(side)) > 30
    before = [x for _, transforms in results for x, y in pairwise(flat(transforms)) if isinstance(y, T.CropTransform)]
    assert {min(x.new_h, x.new_w) for x in before} == {400, 500, 600}


def flat(transforms: list) -> list[T.Transform]:
    return [y for x in transforms for y in (x.transforms if isinstance(x, T.TransformList) else [x])]


def crops(transforms: list) -> list[T.CropTransform]:
    return [x for x in flat(transforms) if isinstance(x, T.CropTransform)]


def test_the_longer_side_is_limited():
    results = augmented(detr_augmentations(**DETR), np.zeros((100, 1000, 3), np.uint8), 20)
    assert max(max(x.shape) for x, _ in results) == 1333


def test_flips_half_of_the_time():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 0] = 255
    augmentations = detr_augmentations(short_side=[8], max_side=8, crop_short_side=[], crop_side=[8, 8])
    flipped = [bool(x[0, -1, 0]) for x, _ in augmented(augmentations, image, 100)]
    assert 30 < sum(flipped) < 70


def test_no_crops_where_none_are_wanted():
    augmentations = detr_augmentations(**{**DETR, "crop_short_side": []})
    assert not any(crops(transforms) for _, transforms in augmented(augmentations, np.zeros((30, 40, 3), np.uint8), 50))


def test_a_crop_is_never_larger_than_the_image():
    augmentations = [random_crop(short_side=[50], crop_side=[384, 600])]
    shapes = {x.shape[:2] for x, _ in augmented(augmentations, np.zeros((30, 60, 3), np.uint8), 20)}
    assert shapes == {(30, 60), (50, 100)}


@pytest.mark.parametrize("shape", [(1, 1300), (1300, 1), (2, 1000), (30, 1200)])
def test_thin_images_do_not_grow_without_bound(shape):
    """A strip of 1300 x 1 would become 520,000 x 400 before its crop."""
    results = augmented(detr_augmentations(**DETR), np.zeros((*shape, 3), np.uint8), 30)
    sides = [max(x.new_h, x.new_w) for _, transforms in results for x in flat(transforms) if hasattr(x, "new_h")]
    assert max(sides) <= 20 * 600
    assert all(min(x.shape[:2]) > 0 for x, _ in results)


def test_ordinary_images_are_resized_as_without_a_bound():
    crops_of = [x for _, ts in augmented([random_crop(short_side=[600], crop_side=[384, 600])],
                np.zeros((48, 640, 3), np.uint8), 20) for x in flat(ts) if hasattr(x, "new_h")]  # fmt: skip
    assert {(x.new_h, x.new_w) for x in crops_of} == {(600, 8000)}


def test_colors_vary_by_at_most_the_given_share():
    image = np.full((8, 8, 3), 100, np.uint8)
    still = {**DETR, "short_side": [8], "crop_short_side": []}
    assert len({int(x.mean()) for x, _ in augmented(detr_augmentations(**still), image, 20)}) == 1
    means = [x.mean() for x, _ in augmented(detr_augmentations(**still, color=0.4), image, 200)]
    assert 59 <= min(means) < 70 and 130 < max(means) <= 140
    with pytest.raises(ValueError, match=r"augmentations\.color must be from 0 to below 1, got 1"):
        detr_augmentations(**still, color=1)
