"""Images to look at, wherever they are."""

import io
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
from detectron2.data.detection_utils import read_image
from fvcore.common.download import download
from PIL import Image, ImageOps

Picture = str | os.PathLike | bytes | io.BufferedIOBase | np.ndarray | torch.Tensor | Image.Image


class UnreadableImage(ValueError):
    """An image that is damaged, that is none, or that cannot be fetched; the message names it."""


@dataclass(frozen=True)
class Source:
    """An image that has not been read yet. load: gives it as (H, W, 3) uint8, RGB, or raises anything."""

    name: str
    load: Callable[[], np.ndarray]

    def read(self) -> np.ndarray:
        """Raises UnreadableImage."""
        try:
            return self.load()
        except Exception as error:  # decoders raise all kinds
            kind = guess_type(self.name)[0] or ""
            hint = "; a video goes by Video(...) or --video" if kind.startswith("video/") else ""
            raise UnreadableImage(f"cannot read {self.name}: {error}{hint}") from error


def sources_of(images: Picture | Iterable[Picture | Source]) -> Iterable[Source]:
    """Each image of `images`: a file, a URL, a folder with all images below it, the bytes of a file or an open one, an
    array (H, W, 3) or a tensor (3, H, W) uint8 in RGB, a PIL image; or any number of these, one after the other.

    Raises, for a list at once, ValueError where a file does not exist or a folder has no images, and TypeError for
    anything else.
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


def paths_of(path: str) -> list[str]:
    """The path itself, or of a folder those of all images in it and below, sorted."""
    if path.startswith("file://"):
        path = url2pathname(urlsplit(path).path)
    if os.path.isdir(path):
        suffixes = Image.registered_extensions()
        found = sorted(str(x) for x in Path(path).rglob("*") if x.suffix.lower() in suffixes and x.is_file())
        if not found:
            raise ValueError(f"folder {path} has no images")
        return found
    if "://" not in path and not os.path.isfile(path):
        raise ValueError(f"{path} does not exist")
    return [path]


def read(path: str) -> np.ndarray:
    """A file or URL as in training, turned as its EXIF data say."""
    if not path.startswith(("http://", "https://")):
        return read_image(path, "RGB")
    with TemporaryDirectory() as folder:  # PathManager's cache would take one server's image for another's
        return read_image(download(path, folder, filename="image", progress=False), "RGB")


def upright(image: Image.Image) -> np.ndarray:
    """A PIL image, turned as its EXIF data say."""
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def checked(image: np.ndarray) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"an array must be (H, W, 3) uint8, RGB; got {image.shape} {image.dtype}")
    return image


def channels_last(image: torch.Tensor) -> np.ndarray:
    """A tensor (3, H, W) uint8, RGB, as an array."""
    if image.ndim != 3 or len(image) != 3 or image.dtype != torch.uint8:
        raise ValueError(f"a tensor must be (3, H, W) uint8, RGB; got {tuple(image.shape)} {image.dtype}")
    return checked(image.permute(1, 2, 0).cpu().numpy())


def decoded(file: bytes | io.BufferedIOBase) -> np.ndarray:
    """The content of an image file."""
    return upright(Image.open(io.BytesIO(file) if isinstance(file, bytes) else file))


LOADS = {
    bytes | io.BufferedIOBase: decoded,
    np.ndarray: checked,
    torch.Tensor: channels_last,
    Image.Image: upright,
}
"""What makes an array of an image that is in memory."""
