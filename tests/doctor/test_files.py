"""The short look at images before a training."""

import numpy as np
import pytest
from PIL import Image, ImageFile

from dab_detr.doctor import files
from dab_detr.doctor.files import ImageEntry, check_files


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
    assert look(tmp_path) == [] and decoded == ["JPEG"]
    monkeypatch.setattr(files, "SECONDS", 0)
    assert look(tmp_path) == [] and decoded == ["JPEG"]
