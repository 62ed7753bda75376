"""Images to look at, wherever they are."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from mimetypes import guess_type
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from detectron2.data.detection_utils import read_image
from fvcore.common.download import download
from PIL import Image, ImageOps

Picture = str | os.PathLike | np.ndarray | Image.Image


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
    """Each image of `images`: a file, a URL, a folder with all images below it, an array (H, W, 3) uint8 in RGB, a
    PIL image; or any number of these, one after the other.

    Raises ValueError, for a list at once, where a file does not exist or a folder has no images.
    """
    if isinstance(images, (str, os.PathLike, np.ndarray, Image.Image)):
        images = [images]
    if not isinstance(images, Sequence):
        return _sources(images)
    return list(_sources(images))


def _sources(images: Iterable[Picture | Source]) -> Iterator[Source]:
    for number, image in enumerate(images):
        if isinstance(image, Source):
            yield image
        elif isinstance(image, np.ndarray):
            yield Source(f"image {number}", lambda image=image: checked(image))
        elif isinstance(image, Image.Image):
            yield Source(f"image {number}", lambda image=image: upright(image))
        else:
            yield from (Source(path, lambda path=path: read(path)) for path in paths_of(os.fspath(image)))


def paths_of(path: str) -> list[str]:
    """The path itself, or of a folder those of all images in it and below, sorted."""
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
