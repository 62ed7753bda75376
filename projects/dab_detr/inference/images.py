"""Finds and reads the images of a prediction: files, folders, URLs, and images in memory."""

import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from mimetypes import guess_type
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import torch
from PIL import Image

from ..data.content import printable
from ..data.folders import files_below
from ..data.pictures import decode, read_image, suffixes, to_array
from ..download import fetch, is_url

Picture = str | os.PathLike | bytes | io.BufferedIOBase | np.ndarray | torch.Tensor | Image.Image

logger = logging.getLogger(__name__)


class UnreadableImage(ValueError):
    """An image cannot be read, fetched or resized; the message names it."""


@dataclass(frozen=True)
class Source:
    """An image that has not been read yet.

    name: its path or URL as it was given; otherwise its number.
    load: a function that returns the image, (H, W, 3) uint8, RGB. It may raise any exception.
    """

    name: str
    load: Callable[[], np.ndarray]

    def read(self) -> np.ndarray:
        """Return the image, (H, W, 3) uint8, RGB. Raises UnreadableImage, which names it."""
        try:
            return self.load()
        except Exception as error:  # decoders raise exceptions of all kinds
            kind = guess_type(self.name)[0] or ""
            hint = "; a video goes by Video(...) or --video" if kind.startswith("video/") else ""
            raise UnreadableImage(f"cannot read {printable(self.name)}: {error}{hint}") from error


def sources_of(images: Picture | Iterable[Picture | Source]) -> Iterable[Source]:
    """Return the images to read; a list for one image or a sequence of them, otherwise an iterator.

    images: a file, a URL, a folder with all images below it, the bytes of a file or an open one, an array (H, W, 3) or
        a tensor (3, H, W) uint8 in RGB, a PIL image; or any number of these.

    Raises ValueError for a file that does not exist and for a folder without images, and TypeError for anything that
    is not an image. A sequence is checked at once.
    """
    if isinstance(images, Picture) or not isinstance(images, Iterable):
        images = [images]
    if not isinstance(images, Sequence):
        return _sources(images)
    return list(_sources(images))


def _sources(images: Iterable[Picture | Source]) -> Iterator[Source]:
    for number, image in enumerate(images):
        if isinstance(image, Source):
            yield image
        elif isinstance(image, str | os.PathLike):
            yield from (Source(path, partial(read, path)) for path in paths_of(os.fspath(image)))
        elif load := next((load for kind, load in LOADS.items() if isinstance(image, kind)), None):
            yield Source(f"image {number}", partial(load, image))
        else:
            raise TypeError(
                "an image is a path, a URL, bytes, an open file, an array (H, W, 3) or a tensor (3, H, W) uint8 in "
                f"RGB, or a PIL image; got {type(image).__name__}"
            )


def local_name(path: str) -> str:
    """Return the path in a file:// URL; any other path unchanged."""
    return url2pathname(urlsplit(path).path) if path.startswith("file://") else path


def paths_of(path: str) -> list[str]:
    """Return the path itself, or for a folder the paths of all images in it and below, sorted.

    Hidden files and folders are left out, such as the `._a.png` that macOS adds. Links to folders are followed, and one
    to a file that is gone is an image that cannot be read. A log line counts other files.

    Raises ValueError for a path that does not exist or is not a regular file, and for a folder without images.
    """
    path = local_name(path)
    if os.path.isdir(path):
        return images_below(path)
    if "://" in path:
        return [path]
    if not os.path.exists(path):
        raise ValueError(f"{path} does not exist")
    if not os.path.isfile(path):
        raise ValueError(f"{path} is not a regular file")
    return [path]


def images_below(folder: str) -> list[str]:
    """Return the images in a folder and below, as `paths_of` does."""
    known, found, others = suffixes(), [], []
    for path in files_below(folder):
        (found if path.suffix.lower() in known else others).append(str(path))
    if others:
        shown = printable(f"{', '.join(sorted(others)[:5])}{', ...' if others[5:] else ''}")
        logger.info("%s: left out %d files that are not images: %s", folder, len(others), shown)
    if not found:
        raise ValueError(f"folder {folder} has no images")
    return sorted(found)


def read(path: str) -> np.ndarray:
    """Read a file or URL as training does, upright as its EXIF data say."""
    if not is_url(path):
        return read_image(path)
    with TemporaryDirectory() as folder:
        file = Path(folder, "image")
        fetch(path, file)
        return read_image(file)


def checked(image: np.ndarray) -> np.ndarray:
    """Return the array as it is. Raises ValueError unless it is (H, W, 3) uint8."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"an array must be (H, W, 3) uint8, RGB; got {image.shape} {image.dtype}")
    return image


def channels_last(image: torch.Tensor) -> np.ndarray:
    """Return a tensor (3, H, W) uint8, RGB, as an array (H, W, 3). Raises ValueError for any other."""
    if image.ndim != 3 or len(image) != 3 or image.dtype != torch.uint8:
        raise ValueError(f"a tensor must be (3, H, W) uint8, RGB; got {tuple(image.shape)} {image.dtype}")
    return checked(image.permute(1, 2, 0).cpu().numpy())


def decoded(file: bytes | io.BufferedIOBase) -> np.ndarray:
    """Decode the content of an image file."""
    return decode(file if isinstance(file, bytes) else file.read())


LOADS = {
    bytes | io.BufferedIOBase: decoded,
    np.ndarray: checked,
    torch.Tensor: channels_last,
    Image.Image: to_array,
}
"""The function that turns an image in memory into an array, by the image's type."""
