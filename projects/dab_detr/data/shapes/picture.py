"""Draws one picture of the "shapes" dataset.

A picture depends only on (seed, split, index). The drawing uses a bit stream that NumPy keeps stable and no arithmetic
beyond `+ - * /` on single elements (an angle is a rational point of the unit circle), so that every platform rounds
alike and draws the same bytes.
"""

from typing import NamedTuple

import numpy as np

SHAPES_CLASSES = ("disc", "box", "triangle")
MAX_OBJECTS = 4
MAX_ASPECT = 4.0  # as drawn; what stays visible behind others may be narrower
MIN_VISIBLE = 0.75
"""Share of an object's own pixels that the objects in front of it must leave visible."""
MIN_CONTRAST = 100.0
"""RGB distance (of levels 0 to 255) of an object's color from the mean of the pixels it covers, and
from the colors of all other objects of the picture. If no color of 64 is that far, the best is taken."""

NOISE = (8.0, 40.0)  # greatest deviation of a pixel, in levels; one per picture
SAMPLES = 4  # per pixel and axis
TRIES = 50  # attempts to find a place for one object before it is left out
PALETTE = 64  # colors to choose from for one object
SQRT3 = 1.7320508075688772
CORNERS = {
    "box": np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]),
    "triangle": np.array([(0.0, -2.0), (SQRT3, 1.0), (-SQRT3, 1.0)]),
}


class Picture(NamedTuple):
    """One picture and its ground truth, objects from front to back.

    image: (H, W, 3) uint8, RGB.
    labels: (N,) int64, indices into `SHAPES_CLASSES`.
    masks: (N, H, W) bool, the visible pixels of each object: those that it covers by half or more and that no object
        in front of it has. No two masks share a pixel.
    """

    image: np.ndarray
    labels: np.ndarray
    masks: np.ndarray


class Stencil(NamedTuple):
    """An object before it has a color: where its window starts and how much it covers there."""

    x: int
    y: int
    coverage: np.ndarray  # (h, w), 0 to 1

    @property
    def window(self) -> tuple[slice, slice]:
        height, width = self.coverage.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)


def draw_picture(
    split: int,
    index: int,
    *,
    seed: int = 0,
    image_size: int = 96,
    sides: tuple[int, int] = (10, 56),
) -> Picture:
    """Draw picture `index` of a split: 1 to 4 objects on a textured background.

    Objects are placed from front to back, each at least three quarters visible.

    split: number of the split; pictures of different splits are independent.
    index: number of the picture in its split, from 0.
    seed: number of the dataset.
    image_size: height and width in pixels.
    sides: least and greatest side in pixels of the box around the visible part of an object.
    """
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(split, index))
    rng = np.random.Generator(np.random.PCG64(sequence))
    canvas = draw_background(rng, image_size)

    labels, masks, stencils = [], [], []
    taken = np.zeros((image_size, image_size), dtype=bool)
    for _ in range(1 + below(rng, MAX_OBJECTS)):
        label = below(rng, len(SHAPES_CLASSES))
        placed = find_place(rng, SHAPES_CLASSES[label], taken, sides)
        if placed is not None:
            stencil, mask = placed
            taken |= mask
            labels.append(label)
            masks.append(mask)
            stencils.append(stencil)

    colors = choose_colors(rng, canvas, masks)
    for stencil, color in zip(reversed(stencils), reversed(colors), strict=True):
        window, coverage = canvas[stencil.window], stencil.coverage[..., None]
        window[:] = window * (1.0 - coverage) + color * coverage
    noise = rng.random(canvas.shape) + rng.random(canvas.shape) - 1.0
    image = canvas + noise * between(rng, *NOISE)
    return Picture(as_bytes(image), np.array(labels), np.array(masks))


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The smallest `(x, y, width, height)` in pixels around a non-empty mask `(H, W)`."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def below(rng: np.random.Generator, limit: int) -> int:
    """A random whole number from 0 to `limit - 1`."""
    return int(rng.random() * limit)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A random number from `low` to `high`."""
    return low + rng.random() * (high - low)


def as_bytes(image: np.ndarray) -> np.ndarray:
    """An image of numbers as uint8, rounded."""
    return (np.clip(image, 0.0, 255.0) + 0.5).astype(np.uint8)


def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A color that drifts over the picture and a finer texture, `(size, size, 3)`, 0 to 255."""
    base = 55.0 + 145.0 * rng.random(3)
    drift = between(rng, 20.0, 130.0) * (smooth_field(rng, size, 2, 3) - 0.5)
    cells = 6 + below(rng, 10)
    channels = 1 if rng.random() < 0.5 else 3
    texture = between(rng, 10.0, 70.0) * (smooth_field(rng, size, cells, channels) - 0.5)
    return np.clip(base + drift + texture, 0.0, 255.0)


def smooth_field(rng: np.random.Generator, size: int, cells: int, channels: int) -> np.ndarray:
    """Random values on a lattice, eased between its points: `(size, size, channels)`, 0 to 1."""
    lattice = rng.random((cells + 1, cells + 1, channels))
    place = (np.arange(size) + 0.5) * (cells / size)
    cell = place.astype(int)
    step = place - cell
    step = step * step * (3.0 - 2.0 * step)
    down, across = step[:, None, None], step[None, :, None]
    rows = lattice[cell] * (1.0 - down) + lattice[cell + 1] * down
    return rows[:, cell] * (1.0 - across) + rows[:, cell + 1] * across


def find_place(
    rng: np.random.Generator, kind: str, taken: np.ndarray, sides: tuple[int, int]
) -> tuple[Stencil, np.ndarray] | None:
    """Find a place for an object behind those that have `taken` `(H, W)` already.

    Returns its stencil and the mask of its visible pixels, or None if there is hardly any room.
    """
    for _ in range(TRIES):
        width, height = choose_side(rng, sides), choose_side(rng, sides)
        if max(width, height) > MAX_ASPECT * min(width, height):
            continue
        x, y = (below(rng, extent - side + 1) for extent, side in zip(taken.shape[::-1], (width, height), strict=True))
        stencil = Stencil(x, y, cover(rng, kind, width, height))
        own = np.zeros_like(taken)
        own[stencil.window] = stencil.coverage >= 0.5
        visible = own & ~taken
        if np.count_nonzero(visible) < max(1, MIN_VISIBLE * np.count_nonzero(own)):
            continue
        if min(tight_box(visible)[2:]) >= sides[0]:
            return stencil, visible
    return None


def choose_side(rng: np.random.Generator, sides: tuple[int, int]) -> int:
    """A random side in pixels, as often between 10 and 20 as between 20 and 40."""
    candidates = np.arange(sides[0], sides[1] + 1)
    shares = np.cumsum(1.0 / candidates)
    return int(candidates[np.searchsorted(shares, rng.random() * shares[-1], side="right")])


def cover(rng: np.random.Generator, kind: str, width: int, height: int) -> np.ndarray:
    """The part of each pixel that a shape covers, for a shape that fills a window of `(height, width)`.

    Every other shape is upright. The rest are turned first and then stretched to the window, so
    that boxes become parallelograms and discs slanted ellipses.
    """
    x = ((np.arange(width * SAMPLES) + 0.5) * (2.0 / (width * SAMPLES)) - 1.0)[None, :]
    y = ((np.arange(height * SAMPLES) + 0.5) * (2.0 / (height * SAMPLES)) - 1.0)[:, None]
    turn = between(rng, -1.0, 1.0) if rng.random() < 0.5 else 0.0
    if kind == "disc":
        slant = 0.6 * turn
        inside = x * x + y * y - (2.0 * slant) * x * y <= 1.0 - slant * slant
    else:
        corners = turn_and_fill(CORNERS[kind], turn)
        inside = np.ones((y.size, x.size), dtype=bool)
        for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            inside &= (bx - ax) * (y - ay) >= (by - ay) * (x - ax)
    pixels = inside.reshape(height, SAMPLES, width, SAMPLES)
    return np.count_nonzero(pixels, axis=(1, 3)) / float(SAMPLES * SAMPLES)


def turn_and_fill(corners: np.ndarray, turn: float) -> np.ndarray:
    """Turn corners `(N, 2)` by `2 atan(turn)`, then stretch them to fill -1 to 1 both ways."""
    cosine, sine = (1.0 - turn * turn) / (1.0 + turn * turn), 2.0 * turn / (1.0 + turn * turn)
    x, y = corners[:, 0], corners[:, 1]
    turned = np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=1)
    low, high = turned.min(axis=0), turned.max(axis=0)
    return (turned - low) / (high - low) * 2.0 - 1.0


def choose_colors(rng: np.random.Generator, canvas: np.ndarray, masks: list[np.ndarray]) -> list[np.ndarray]:
    """A color `(3,)` per object that stands out from its background and the other objects."""
    backdrop = as_bytes(canvas)  # whole numbers have one sum, in any order of addition
    colors: list[np.ndarray] = []
    for mask in masks:
        covered = backdrop[mask].sum(axis=0, dtype=np.int64) / np.count_nonzero(mask)
        palette = np.floor(256.0 * rng.random((PALETTE, 3)))
        gaps = palette[:, None] - np.stack([covered, *colors])
        nearest = (gaps[..., 0] ** 2 + gaps[..., 1] ** 2 + gaps[..., 2] ** 2).min(axis=1)
        clear = nearest >= MIN_CONTRAST**2
        colors.append(palette[np.argmax(clear if clear.any() else nearest)])
    return colors
