"""The short look at images before a training."""

import numpy as np
import pytest
from PIL import Image, ImageFile

from dab_detr.doctor import files
from dab_detr.doctor.files import ImageEntry, check_files, check_leftovers
from dab_detr.doctor.finding import Severity


def look(folder) -> list[str]:
    entry = ImageEntry(7, "a.img", 20, 10, 0)
    return [str(finding) for finding in check_files(str(folder), [entry], opened=10)]


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The formats of the images that were decoded, in their order."""
    formats, load = [], ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: formats.append(self.format) or load(self))
    return formats


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP"])
def test_images_cut_short_are_found(tmp_path, form):
    noise = np.random.default_rng(0).integers(0, 255, (10, 20, 3), dtype=np.uint8)
    path = tmp_path / "a.img"
    Image.fromarray(noise).save(path, format=form)
    assert look(tmp_path) == []
    whole = path.read_bytes()
    path.write_bytes(whole[: -len(whole) // 3])
    (finding,) = look(tmp_path)
    assert finding.startswith("1 images cannot be read: image 7 (a.img): OSError:") and "truncated" in finding.lower()


@pytest.mark.parametrize(("form", "end"), [("JPEG", b""), ("JPEG", bytes(40)), ("PNG", b""), ("PNG", b"\n")])
def test_whole_images_are_not_decoded(tmp_path, decoded, form, end):
    path = tmp_path / "a.img"
    Image.new("RGB", (20, 10)).save(path, format=form)
    path.write_bytes(path.read_bytes() + end)
    assert look(tmp_path) == decoded == []


def test_what_takes_long_is_not_decoded(tmp_path, decoded, monkeypatch):
    path = tmp_path / "a.img"
    Image.new("RGB", (20, 10)).save(path, format="JPEG")
    path.write_bytes(path.read_bytes() + b"more")  # as some cameras write
    assert look(tmp_path) == [] and set(decoded) == {"JPEG"}
    decoded.clear()
    monkeypatch.setattr(files, "SECONDS", 0)
    assert look(tmp_path) == decoded == []


@pytest.mark.parametrize(
    ("size", "severity", "kind"),
    [
        ((3000, 1), Severity.ERROR, "image too thin"),
        ((1, 1300), Severity.ERROR, "image too thin"),
        ((1000, 2), Severity.WARNING, "thin image"),
        ((1000, 50), None, None),
    ],
)
def test_thin_images_are_named(tmp_path, size, severity, kind):
    Image.new("RGB", size).save(tmp_path / "a.png")
    found = list(check_files(str(tmp_path), [ImageEntry(7, "a.png", *size, 0)], opened=10))
    assert [(x.severity, x.kind, x.places) for x in found] == (
        [(severity, kind, (f"image 7 (a.png) {size[0]}x{size[1]}",))] if kind else []
    )


@pytest.mark.parametrize("opened", [10, None])
def test_what_training_cannot_read_is_found(tmp_path, opened):
    """Floating-point pixels, whose range nobody knows, and a PNG whose pixels do not match their checksum."""
    Image.new("F", (20, 10)).save(tmp_path / "a.tif")
    noise = np.random.default_rng(0).integers(0, 255, (10, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "b.png")
    content = bytearray((tmp_path / "b.png").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "b.png").write_bytes(content)
    entries = [ImageEntry(i, name, 20, 10, 0) for i, name in enumerate(("a.tif", "b.png"))]
    (finding,) = check_files(str(tmp_path), entries, opened=opened)
    assert finding.severity is Severity.ERROR and "floating-point" in finding.places[0]
    assert len(finding.places) == (2 if opened is None else 1), "the short look does not decode complete files"


def test_images_without_an_entry_are_those_that_can_be_read(tmp_path):
    for name in ("a.JPG", "b.jfif", "c.gif", "._a.png", "notes.txt", "report.pdf"):
        (tmp_path / name).write_bytes(b"")
    (finding,) = check_leftovers(str(tmp_path), [ImageEntry(7, "a.JPG", 20, 10, 0)])
    assert finding.places == ("b.jfif", "c.gif")
