"""Faults planted in image files: the change, severity, kind, and a pattern of the message."""

import numpy as np
from PIL import Image

from dab_detr.doctor.finding import Severity

ERROR, WARNING, NOTE = Severity


def saved(name, mode="RGB", size=(20, 10), orientation=1, **kwargs):
    """A picture in the place of another."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return lambda folder: Image.new(mode, size, **kwargs).save(folder / name, exif=exif)


def cut(folder):
    noise = np.random.default_rng(0).integers(0, 255, (10, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "1.png")
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])


FAULTS_ON_DISK = {
    "image missing": (lambda x: (x / "1.png").unlink(), ERROR, "missing image", r"image 10 \(1\.png\)$"),
    "other suffix": (
        lambda x: (x / "1.png").rename(x / "1.JPG"), ERROR, "missing image",
        r"image 10 \(1\.png\); the folder has 1\.JPG",
    ),
    "image empty": (lambda x: (x / "1.png").write_bytes(b""), ERROR, "corrupt image", r"image 10 \(1\.png\)"),
    "image cut short": (cut, ERROR, "corrupt image", r"image 10 \(1\.png\)"),
    "no image at all": (lambda x: (x / "1.png").write_text("hello"), ERROR, "corrupt image", r"image 10 \(1\.png\)"),
    "image of another size": (
        saved("1.png", size=(40, 20)), ERROR, "wrong image size", r"image 10 \(1\.png\) is 40x20, annotated as 20x10",
    ),
    "EXIF rotation": (
        saved("1.png", orientation=6), ERROR, "EXIF rotation", r"image 10 \(1\.png\) is 10x20, annotated as 20x10",
    ),
    "EXIF mirroring": (saved("1.png", orientation=3), WARNING, "EXIF mirroring", r"image 10 \(1\.png\) orientation 3"),
    "16 bits": (saved("1.png", mode="I;16"), WARNING, "deep image", r"image 10 \(1\.png\) I;16"),
    "copy": (
        lambda x: (x / "1.png").write_bytes((x / "2.png").read_bytes()), WARNING, "picture twice",
        r"image 10 \(1\.png\) and image 20 \(2\.png\)",
    ),
    "image without entry": (saved("more.png", color="red"), NOTE, "image without entry", "more.png"),
}  # fmt: skip
