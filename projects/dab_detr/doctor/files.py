"""Images on disk: whether they are there, can be read, and have the size that the annotations say."""

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

from ..data.content import first_few
from .finding import Finding, Severity

_ERROR, _WARNING, _NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
_ORIENTATION = 0x0112  # the tag of EXIF
_TURNED = {5, 6, 7, 8}  # its values that exchange width and height
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_EIGHT_BITS = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "La", "RGBa"}
_THREADS = 8  # to wait for several files at a time
_SECONDS = 5  # for decoding, where the check is to be short
_ENDINGS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}  # of whole files


class ImageEntry(NamedTuple):
    """An image as the annotation file has it: size in pixels, number of objects without crowd regions."""

    id: int | str
    file_name: str
    width: int
    height: int
    objects: int

    def __str__(self) -> str:
        return f"image {self.id} ({self.file_name})"


@dataclass(frozen=True)
class Look:
    """What opening a file has told: `problem` says why nothing, `size` is width and height as they stand in it."""

    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    mode: str = "RGB"
    problem: str = ""

    @property
    def size_as_read(self) -> tuple[int, int]:
        """Width and height as Detectron2 reads it, turned by its EXIF data."""
        return self.size[::-1] if self.orientation in _TURNED else self.size


def check_files(root: str, entries: Sequence[ImageEntry], *, opened: int | None = None) -> Iterator[Finding]:
    """What is wrong with the images of the folder `root`.

    opened: how many images, evenly spread, are opened to read their size. Those are decoded whose file does not end as
        whole ones do, until some seconds have passed. With None every image is opened and decoded to its last pixel.
    """
    if not PathManager.isdir(root):
        yield Finding(kind="no image folder", severity=_ERROR, text=f"image folder {root} does not exist")
        return
    step = max(1, -(-len(entries) // opened)) if opened else 1
    chosen = entries[::step]
    present = _present(root, chosen if "://" in root else entries)
    missing = [x for x in entries if present.get(x.file_name) is False]
    text = f"images are not in the image folder {root}"
    yield from Finding.counted("missing image", _ERROR, text, map(str, missing), _found_elsewhere(root, missing))
    readable = [x for x in chosen if present.get(x.file_name)]
    with ThreadPoolExecutor(_THREADS) as pool:
        until = time.monotonic() + _SECONDS if opened else math.inf
        looks = pool.map(lambda x: look_at(os.path.join(root, x.file_name), short=bool(opened), until=until), readable)
        looks = list(zip(readable, looks, strict=True))
    yield from _unreadable(looks)
    yield from _sizes([(x, look) for x, look in looks if not look.problem])


def look_at(path: str, *, short: bool = False, until: float = math.inf) -> Look:
    """Open an image for its size, and decode it to its last pixel.

    short: decode it only if its file does not end as whole ones of its format do.
    until: time, by the monotonic clock, from which nothing is decoded any more.
    """
    try:
        with PathManager.open(path, "rb") as file, Image.open(file) as image:
            exif = Image.Image.getexif(image) if short else image.getexif()  # that of PNG decodes the whole picture
            look = Look(image.size, exif.get(_ORIENTATION, 1), image.mode)
            if not (short and _ends_whole(file, image.format)) and time.monotonic() < until:
                image.load()
            return look
    except Exception as error:  # whatever Pillow stumbles over, the picture cannot be used
        return Look(problem=f"{type(error).__name__}: {error}".replace(path, "it"))


def _ends_whole(file: BinaryIO, form: str) -> bool:
    """Whether an open file ends as whole ones of its format do; zeros and line ends may follow."""
    here = file.tell()
    file.seek(-min(64, file.seek(0, os.SEEK_END)), os.SEEK_END)
    end = file.read().rstrip(b"\0\r\n")
    file.seek(here)
    return form in _ENDINGS and end.endswith(_ENDINGS[form])


def check_leftovers(root: str, entries: Sequence[ImageEntry]) -> list[Finding]:
    """Images of the folder that the annotation file does not know."""
    known = {os.path.normpath(x.file_name) for x in entries}
    found = (
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, names in os.walk(root)
        for name in sorted(names)
        if os.path.splitext(name)[1].lower() in _IMAGE_SUFFIXES
    )
    what = f"images of the folder {root} are not in the annotation file (they are not used)"
    return Finding.counted("image without entry", _NOTE, what, (x for x in found if x not in known))


def same_files(
    splits: Sequence[tuple[str, Sequence[ImageEntry]]], *, content: bool
) -> Iterator[list[tuple[int, ImageEntry]]]:
    """Groups of entries, each with the number of its split, that are one file; with `content` also copies of a file.

    splits: image folder and entries of each.
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
            copies[_digest(path) if len(alike) > 1 else path].append(path)
    groups = ([holder for path in same for holder in paths[path]] for same in copies.values())
    yield from (group for group in groups if len(group) > 1)


def _present(root: str, entries: Sequence[ImageEntry]) -> dict[str, bool]:
    """Whether the files are there, by one listing of each folder; asked one by one where it is not a local one."""
    if "://" in root:
        return {x.file_name: PathManager.isfile(os.path.join(root, x.file_name)) for x in entries}
    listings: dict[str, set[str]] = {}
    present = {}
    for x in entries:
        folder, name = os.path.split(os.path.join(root, x.file_name))
        if folder not in listings:
            listings[folder] = {e.name for e in os.scandir(folder) if e.is_file()} if os.path.isdir(folder) else set()
        present[x.file_name] = name in listings[folder]
    return present


def _found_elsewhere(root: str, missing: Sequence[ImageEntry]) -> str:
    """Where the first missing image is, if it is near."""
    if not missing or "://" in root:
        return ""
    name = missing[0].file_name
    beside = [entry.path for entry in os.scandir(root) if entry.is_dir()]
    for folder in (os.path.dirname(root.rstrip("/")), *beside):
        if os.path.isfile(os.path.join(folder, name)):
            return f"they are found from {folder}"
    if "\\" in name and os.path.isfile(os.path.join(root, name.replace("\\", "/"))):
        return "they are found with / in the place of \\"
    folder, base = os.path.split(os.path.join(root, name))
    stem = os.path.splitext(base)[0].lower()
    near = [x for x in os.listdir(folder) if os.path.splitext(x)[0].lower() == stem] if os.path.isdir(folder) else []
    return f"the folder has {first_few(sorted(near))}" if near else ""


def _digest(path: str) -> bytes:
    with open(path, "rb") as file:
        return sha256(file.read()).digest()


def _unreadable(looks: Sequence[tuple[ImageEntry, Look]]) -> Iterator[Finding]:
    broken = [f"{x}: {look.problem:.100}" for x, look in looks if look.problem]
    yield from Finding.counted("corrupt image", _ERROR, "images cannot be read", broken)
    deep = [f"{x} {look.mode}" for x, look in looks if not look.problem and look.mode not in _EIGHT_BITS]
    what = "images have more than 8 bits a channel, which are cut off and not scaled"
    yield from Finding.counted("deep image", _WARNING, what, deep)


def _sizes(looks: Sequence[tuple[ImageEntry, Look]]) -> Iterator[Finding]:
    turned, other, mirrored = [], [], []
    for x, look in looks:
        stated, read = (x.width, x.height), look.size_as_read
        text = "{} is {}x{}, annotated as {}x{}".format(x, *read, *stated)
        if stated == read:
            unseen = look.orientation in (2, 3, 4) or (look.orientation in _TURNED and stated == look.size)
            mirrored += [f"{x} orientation {look.orientation}"] if unseen else []
        elif stated == look.size:
            turned.append(text)
        else:
            other.append(text + (", width and height exchanged" if stated == read[::-1] else ""))
    yield from Finding.counted(
        "EXIF rotation",
        _ERROR,
        "images are turned by their EXIF data when they are read, and were annotated without",
        turned,
        "save the pictures anew without EXIF orientation",
    )
    yield from Finding.counted("wrong image size", _ERROR, "images have another size than annotated", other)
    yield from Finding.counted(
        "EXIF mirroring",
        _WARNING,
        "images are turned or mirrored by their EXIF data: their boxes must be for the picture as it is seen then",
        mirrored,
    )
