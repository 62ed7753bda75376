"""Check images on disk: whether they exist, can be read, and have the annotated size."""

import math
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO, NamedTuple

from detectron2.utils.file_io import PathManager
from PIL import Image

from ..data.augmentation import MAX_ASPECT
from ..data.pictures import check_numbers, decode, formats, suffixes
from .finding import Finding, Severity
from .places import files_below, files_present, place_hint

ORIENTATION = 0x0112  # the EXIF tag
TURNED = {5, 6, 7, 8}  # its values that exchange width and height
EIGHT_BITS = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "La", "RGBa"}
ENDINGS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}  # the last bytes of a complete file
THREADS = 8  # to wait for several files at a time
SECONDS = 5  # for decoding in a short check
TOO_THIN = 500  # aspect ratio from which an image may shrink to a side of 0 pixels


class ImageEntry(NamedTuple):
    """An image in the annotation file: size in pixels, number of objects without crowd regions."""

    id: int | str
    file_name: str
    width: int
    height: int
    objects: int

    def __str__(self) -> str:
        return f"image {self.id} ({self.file_name})"


@dataclass(frozen=True)
class Look:
    """The result of opening a file: `problem` says why it cannot be used, `size` is the stored width and height."""

    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    mode: str = "RGB"
    problem: str = ""

    @property
    def size_as_read(self) -> tuple[int, int]:
        """Width and height as Detectron2 reads the image, turned by its EXIF data."""
        return self.size[::-1] if self.orientation in TURNED else self.size


def check_files(root: str, entries: Sequence[ImageEntry], *, opened: int | None = None) -> Iterator[Finding]:
    """Find faults of the images in the folder `root`.

    opened: how many images, evenly spread, to open for their size. Images whose file does not end as complete ones do
        are decoded too, for some seconds at most. None opens every image and decodes it to its last pixel.
    """
    if not PathManager.isdir(root):
        problem = "is a file, not a folder" if PathManager.isfile(root) else "does not exist"
        yield Finding(kind="no image folder", severity=Severity.ERROR, text=f"image folder {root} {problem}")
        return
    step = max(1, -(-len(entries) // opened)) if opened else 1
    chosen = entries[::step]
    present = files_present(root, [x.file_name for x in (chosen if "://" in root else entries)])
    missing = [x for x in entries if present.get(x.file_name) is False]
    text, hint = f"images are not in the image folder {root}", place_hint(root, [x.file_name for x in missing])
    yield from Finding.counted("missing image", Severity.ERROR, text, map(str, missing), hint)
    readable = [x for x in chosen if present.get(x.file_name)]
    with ThreadPoolExecutor(THREADS) as pool:
        until = time.monotonic() + SECONDS if opened else math.inf
        looks = pool.map(lambda x: look_at(os.path.join(root, x.file_name), short=bool(opened), until=until), readable)
        looks = list(zip(readable, looks, strict=True))
    yield from check_readable(looks)
    yield from check_sizes([(x, look) for x, look in looks if not look.problem])
    yield from check_thin(entries)


def look_at(path: str, *, short: bool = False, until: float = math.inf) -> Look:
    """Open an image for its size, and decode it as training and prediction do.

    short: decode it only if its file does not end as complete ones of its format do.
    until: time on the monotonic clock after which nothing is decoded.
    """
    try:
        with PathManager.open(path, "rb") as file, Image.open(file, formats=formats()) as image:
            exif = Image.Image.getexif(image) if short else image.getexif()  # PNG's own method decodes the whole image
            look = Look(image.size, exif.get(ORIENTATION, 1), image.mode)
            check_numbers(image)
            if not (short and is_complete(file, image.format)) and time.monotonic() < until:
                file.seek(0)
                decode(file.read())
            return look
    except Exception as error:  # any error of Pillow means that the image cannot be used
        return Look(problem=f"{type(error).__name__}: {error}".replace(path, "it"))


def is_complete(file: BinaryIO, form: str) -> bool:
    """Whether an open file ends as complete ones of its format do; zeros and line ends may follow."""
    here = file.tell()
    file.seek(-min(64, file.seek(0, os.SEEK_END)), os.SEEK_END)
    end = file.read().rstrip(b"\0\r\n")
    file.seek(here)
    return form in ENDINGS and end.endswith(ENDINGS[form])


def check_leftovers(root: str, entries: Sequence[ImageEntry]) -> list[Finding]:
    """Find images in the folder that are missing from the annotation file."""
    known = {os.path.normpath(x.file_name) for x in entries}
    images = suffixes()
    found = (name for name in files_below(root) if os.path.splitext(name)[1].lower() in images)
    what = f"images of the folder {root} are not in the annotation file (training does not use them)"
    return Finding.counted("image without entry", Severity.NOTE, what, (x for x in found if x not in known))


def same_files(
    splits: Sequence[tuple[str, Sequence[ImageEntry]]], *, content: bool
) -> Iterator[list[tuple[int, ImageEntry]]]:
    """Groups of entries that are one file, each entry with the number of its split.

    splits: image folder and entries of each.
    content: copies of a file belong to its group too.
    """
    paths: dict[str, list[tuple[int, ImageEntry]]] = defaultdict(list)
    for number, (root, entries) in enumerate(splits):
        for entry in entries:
            path = os.path.join(root, entry.file_name)
            paths[path if "://" in path else os.path.realpath(path)].append((number, entry))
    if not content:
        yield from (group for group in paths.values() if len(group) > 1)
        return
    by_size: dict[int, list[str]] = defaultdict(list)
    for path in filter(os.path.isfile, paths):
        by_size[os.path.getsize(path)].append(path)
    copies: dict[bytes | str, list[str]] = defaultdict(list)
    for alike in by_size.values():
        for path in alike:
            copies[digest(path) if len(alike) > 1 else path].append(path)
    groups = ([holder for path in same for holder in paths[path]] for same in copies.values())
    yield from (group for group in groups if len(group) > 1)


def digest(path: str) -> bytes:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return sha256(file.read()).digest()


def check_readable(looks: Sequence[tuple[ImageEntry, Look]]) -> Iterator[Finding]:
    """Find images that cannot be decoded, and images that lose precision."""
    broken = [f"{x}: {look.problem:.100}" for x, look in looks if look.problem]
    yield from Finding.counted("corrupt image", Severity.ERROR, "images cannot be read", broken)
    deep = [f"{x} {look.mode}" for x, look in looks if not look.problem and look.mode not in EIGHT_BITS]
    what = "images have more than 8 bits per channel; the model sees the highest 8 of them"
    yield from Finding.counted("deep image", Severity.WARNING, what, deep)


def check_sizes(looks: Sequence[tuple[ImageEntry, Look]]) -> Iterator[Finding]:
    """Find images whose size differs from the annotated one, and images that EXIF data turn or mirror."""
    turned, other, mirrored = [], [], []
    for x, look in looks:
        stated, read = (x.width, x.height), look.size_as_read
        text = "{} is {}x{}, annotated as {}x{}".format(x, *read, *stated)
        if stated == read:
            unseen = look.orientation in (2, 3, 4) or (look.orientation in TURNED and stated == look.size)
            mirrored += [f"{x} orientation {look.orientation}"] if unseen else []
        elif stated == look.size:
            turned.append(text)
        else:
            other.append(text + (", width and height exchanged" if stated == read[::-1] else ""))
    yield from Finding.counted(
        "EXIF rotation",
        Severity.ERROR,
        "images are turned by their EXIF data when they are read, and were annotated without",
        turned,
        "--fix turns their boxes; or save the images again without EXIF orientation",
    )
    what = "images have another size than annotated"
    yield from Finding.counted("wrong image size", Severity.ERROR, what, other)
    what = "images are turned or mirrored by their EXIF data: their boxes must be for the image as it is seen then"
    yield from Finding.counted("EXIF mirroring", Severity.WARNING, what, mirrored)


def check_thin(entries: Sequence[ImageEntry]) -> Iterator[Finding]:
    """Find images that are so long and thin that resizing leaves little of them."""
    aspects = [(x, aspect_ratio(x.width, x.height)) for x in entries]
    too_thin = [f"{x} {x.width}x{x.height}" for x, aspect in aspects if aspect > TOO_THIN]
    what = f"images are more than {TOO_THIN} times as long as wide, and cannot be resized for a model"
    advice = "cut them into pieces, or leave them out, as --fix does"
    yield from Finding.counted("image too thin", Severity.ERROR, what, too_thin, advice)
    thin = [f"{x} {x.width}x{x.height}" for x, aspect in aspects if MAX_ASPECT < aspect <= TOO_THIN]
    what = f"images are more than {MAX_ASPECT} times as long as wide: little of them is left at a model's input size"
    yield from Finding.counted("thin image", Severity.WARNING, what, thin)


def aspect_ratio(width: int, height: int) -> float:
    """The longer side over the shorter one; 1 if the size is not known."""
    return max(width, height) / min(width, height) if width and height else 1.0
