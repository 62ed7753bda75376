"""Feeds a model: images are read ahead by threads, grouped by size, and their results come back in order."""

import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from tqdm import tqdm

from .images import Source, UnreadableImage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An image that is ready for the model.

    image: the image as it was read, (H, W, 3) uint8, RGB.
    inputs: the model's input: `image`, resized, (3, h, w), with the `height` and `width` of the original.
    """

    name: str
    image: np.ndarray
    inputs: dict


def read_ahead(
    sources: Iterable[Source], prepare: Callable[[Source], Prepared], *, threads: int, ahead: int
) -> Iterator[Prepared | UnreadableImage]:
    """Prepare the sources in threads, at most `ahead` of them in advance, and yield them in order.

    An image that cannot be read is yielded as its error. Without threads, each image is read when it is needed.
    """

    def attempt(source: Source) -> Prepared | UnreadableImage:
        try:
            return prepare(source)
        except UnreadableImage as error:
            return error

    sources = iter(sources)
    if not threads:
        yield from map(attempt, sources)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="read_ahead")
    try:
        waiting = deque(pool.submit(attempt, source) for source in islice(sources, ahead))
        while waiting:
            image = waiting.popleft().result()
            waiting.extend(pool.submit(attempt, source) for source in islice(sources, 1))
            yield image
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def readable(images: Iterable[Prepared | UnreadableImage], *, skip: bool) -> Iterator[Prepared]:
    """Yield the images that could be read. With `skip`, a warning names the others; otherwise their error is raised."""
    for image in images:
        if isinstance(image, Prepared):
            yield image
        elif skip:
            logger.warning("Left out: %s", image)
        else:
            raise image


def in_groups(
    images: Iterator[Prepared],
    run: Callable[[Sequence[Prepared]], Sequence[Any]],
    *,
    size: int,
    window: int,
    key: Callable[[Prepared], Hashable],
) -> Iterator[tuple[Prepared, Any]]:
    """Run images with equal keys together, at most `size` at once, and yield each with its result, in order.

    window: the number of images that may wait for others with their key.

    An UnreadableImage among `images` is raised after the results of all images before it.
    """
    waiting: deque[Prepared] = deque()
    results: dict[int, Any] = {}  # by the image's identity, which is safe while it waits
    failure = None
    while True:
        while failure is None and len(waiting) < window:
            try:
                waiting.append(next(images))
            except StopIteration:
                break
            except UnreadableImage as error:
                failure = error
        if not waiting:
            break
        first = key(waiting[0])
        group = [x for x in waiting if id(x) not in results and key(x) == first][:size]
        results.update(zip(map(id, group), run(group), strict=True))
        while waiting and id(waiting[0]) in results:
            image = waiting.popleft()
            yield image, results.pop(id(image))
    if failure is not None:
        raise failure


def until_closed(found: Iterator[Any], bar: tqdm) -> Iterator[Any]:
    """Yield all, and close the progress bar at the end or at an error, so that a message has a line of its own."""
    with closing(bar):
        yield from found
