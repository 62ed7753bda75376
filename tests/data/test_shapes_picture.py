"""How the pictures of the generated dataset are drawn."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dab_detr.data.shapes import dataset as shapes
from dab_detr.data.shapes import picture as shapes_picture
from dab_detr.data.shapes.picture import (
    MIN_CONTRAST,
    MIN_VISIBLE,
    SHAPES_CLASSES,
    draw_picture,
    tight_box,
)


def test_a_picture_is_the_same_everywhere():
    np.random.seed(0)
    first = draw_picture(0, 7)
    np.random.seed(1)
    again = draw_picture(0, 7)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    # Fails when the drawing changes: then raise shapes.VERSION too, or caches go stale.
    assert shapes.VERSION == 1
    assert hashlib.sha256(first.image.tobytes()).hexdigest()[:16] == "7402930eb2456a7b"


def test_every_picture_is_another():
    keys = [{"split": s, "index": i, "seed": n} for s in (0, 1) for i in (0, 1) for n in (0, 1)]
    assert len({draw_picture(**key).image.tobytes() for key in keys}) == len(keys)


@settings(max_examples=60, deadline=None)
@given(
    index=st.integers(0, 10**6),
    seed=st.integers(0, 2**70),
    least=st.integers(2, 20),
    factor=st.floats(2.0, 5.0),
    room=st.integers(0, 60),
)
def test_objects_are_in_range_apart_and_inside(index, seed, least, factor, room):
    sides = (least, int(np.ceil(least * factor)))
    size = sides[1] + room
    image, labels, masks = draw_picture(0, index, seed=seed, image_size=size, sides=sides)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    assert masks.shape == (len(labels), size, size) and 1 <= len(labels) <= 4
    assert set(labels.tolist()) <= set(range(len(SHAPES_CLASSES)))
    assert masks.sum(axis=0).max() == 1
    for _, _, width, height in map(tight_box, masks):
        assert sides[0] <= min(width, height) <= max(width, height) <= sides[1]


def test_a_mask_is_where_the_object_is_seen(monkeypatch):
    """On black and without noise, with objects in red, green, blue and white from the front."""
    monkeypatch.setattr(shapes_picture, "NOISE", (0.0, 0.0))
    monkeypatch.setattr(shapes_picture, "draw_background", lambda rng, n: np.zeros((n, n, 3)))
    paints = 255.0 * np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
    monkeypatch.setattr(shapes_picture, "choose_colors", lambda rng, _, m: paints[: len(m)])
    half = 128  # the level of a pixel that is covered by half
    for index in range(40):
        image, _, masks = draw_picture(0, index)
        for mask, paint in zip(masks, paints, strict=False):
            assert (image[mask][:, paint > 0] >= half).all()
            assert (image[mask][:, paint == 0] <= half).all()
        if len(masks) == 1:
            assert (image[~masks[0]] < half).all()


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [("disc", 0.8 * np.pi / 4, np.pi / 4), ("box", 0.5, 1.0), ("triangle", 0.43, 0.5)],
)
def test_a_shape_fills_its_window(kind, least, most):
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(200):
        coverage = shapes_picture.cover(rng, kind, 40, 20)
        rows, columns = coverage.max(axis=1), coverage.max(axis=0)
        assert coverage.shape == (20, 40)
        assert min(rows[0], rows[-1], columns[0], columns[-1]) > 0
        areas.append(coverage.mean())
    assert least - 0.01 <= min(areas) < max(areas) <= most + 0.01
    assert max(areas) == pytest.approx(most, abs=0.01)


def test_every_kind_and_the_whole_range_of_sizes_occur():
    pictures = [draw_picture(0, index) for index in range(150)]
    labels = np.concatenate([p.labels for p in pictures])
    sides = np.array([tight_box(mask)[2:] for p in pictures for mask in p.masks])
    aspects = sides[:, 0] / sides[:, 1]
    assert np.bincount(labels).min() > len(labels) / 5
    assert sides.min() == 10 and sides.max() > 50
    assert np.median(sides) == pytest.approx(24, abs=4)
    assert aspects.min() < 0.35 and aspects.max() > 1 / 0.35
    assert {len(p.labels) for p in pictures} == {1, 2, 3, 4}


def test_an_object_behind_others_stays_visible():
    rng = np.random.default_rng(0)
    taken = np.zeros((96, 96), dtype=bool)
    taken[:, 48:] = True  # half of the picture, so that many places are refused
    shares = []
    for kind in SHAPES_CLASSES * 20:
        stencil, mask = shapes_picture.find_place(rng, kind, taken, (10, 56))
        shares.append(mask.sum() / (stencil.coverage >= 0.5).sum())
        assert not (mask & taken).any()
    assert MIN_VISIBLE <= min(shares) < 1.0


def test_no_room_gives_no_object():
    full = np.ones((96, 96), dtype=bool)
    assert shapes_picture.find_place(np.random.default_rng(0), "box", full, (10, 56)) is None


def test_colors_stand_out():
    rng = np.random.default_rng(0)
    masks = np.eye(4, dtype=bool).repeat(24, axis=0).repeat(24, axis=1).reshape(4, 24, 96)
    for _ in range(50):
        canvas = shapes_picture.draw_background(rng, 96)[:24]
        colors = shapes_picture.choose_colors(rng, canvas, list(masks))
        for i, (color, mask) in enumerate(zip(colors, masks, strict=True)):
            others = [canvas[mask].mean(axis=0), *colors[:i]]
            # the canvas is compared after rounding, half a level per channel at most
            assert min(np.linalg.norm(color - other) for other in others) >= MIN_CONTRAST - 1


def test_tight_box():
    mask = np.zeros((7, 9), dtype=bool)
    mask[2, 3] = mask[4, 7] = True
    assert tight_box(mask) == (3, 2, 5, 3)
