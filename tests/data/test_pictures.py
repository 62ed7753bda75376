"""What is read of a picture, whatever its kind, and what is refused by a line that helps."""

import io
import logging
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dab_detr.data.mapper import NamingMapper
from dab_detr.data.pictures import decode, eight_bits, formats, read_image, suffixes
from dab_detr.inference.images import UnreadableImage, sources_of

SMOOTH = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(256, size=(4, 5, 3), dtype=np.uint8)).resize((90, 60))
)


def encoded(pixels: np.ndarray, form: str = "png", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def png() -> bytes:
    return encoded(SMOOTH)


@given(st.integers(8), st.integers(0, 7))
@settings(max_examples=300)
def test_a_png_with_a_flipped_bit_is_refused_or_the_same(png, place, bit):
    damaged = bytearray(png)
    damaged[place % len(png)] ^= 1 << bit
    try:
        found = decode(bytes(damaged))
    except (ValueError, OSError):
        return
    assert np.array_equal(found, SMOOTH)


@pytest.mark.parametrize("kind", ["png", "tiff", "bmp", "jpeg", "webp", "gif"])
@pytest.mark.parametrize("part", [0.3, 0.7])
def test_a_truncated_picture_is_refused(kind, part):
    content = encoded(SMOOTH, kind)
    with pytest.raises((ValueError, OSError)):
        decode(content[: int(part * len(content))])


def damaged_in_the_middle(png: bytes) -> bytes:
    """A PNG whose EXIF data follow its pixels, so that asking for them decodes these, with zeros among the pixels."""
    return png[: len(png) // 2] + bytes(40) + png[len(png) // 2 + 40 :]


def test_a_png_damaged_in_the_middle_stops_prediction_and_training(png, tmp_path):
    path = tmp_path / "bad.png"
    path.write_bytes(damaged_in_the_middle(png))
    (source,) = sources_of(path)
    with pytest.raises(UnreadableImage, match=r"cannot read \S+bad\.png"):
        source.read()
    mapper = NamingMapper(is_train=True, augmentations=[], image_format="RGB")
    with pytest.raises(ValueError, match=r"bad\.png cannot be used"):
        mapper({"file_name": str(path), "height": 60, "width": 90, "annotations": []})


@pytest.mark.parametrize("kind", ["png", "tiff", "ppm"])
def test_pictures_of_16_bits_keep_their_range(kind):
    ramp = np.linspace(0, 65535, 90 * 60).astype(np.uint16).reshape(60, 90)
    found = decode(encoded(ramp, kind))
    assert np.array_equal(found, np.repeat(ramp[..., None] >> 8, 3, axis=2))


def test_gray_and_color_of_16_bits_are_alike():
    """Pillow takes the highest 8 bits of a color picture itself."""
    rows = b"".join(b"\0" + struct.pack(">3H", value, value, value) for value in range(0, 65536, 257))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">2I5B", 1, 256, 16, 2, 0, 0, 0)
    color = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    gray = encoded(np.arange(0, 65536, 257, dtype=np.uint16)[:, None])
    assert np.array_equal(decode(color), decode(gray))


def test_a_picture_of_12_bits_in_16_is_said_to_be_dark(caplog):
    logger = logging.getLogger("dab_detr.data.pictures")
    logger.addHandler(caplog.handler)
    eight_bits(np.full((2, 2), 4095, np.uint16))
    logger.removeHandler(caplog.handler)
    assert "no value above 4095 of 65535 and becomes nearly black" in caplog.text


@pytest.mark.parametrize(
    ("pixels", "told"),
    [(np.zeros((6, 9), np.float32), "floating-point numbers"), (np.zeros((6, 9), np.int32), "32-bit numbers")],
)
def test_a_picture_whose_range_nobody_knows_is_refused(pixels, told):
    with pytest.raises(ValueError, match=f"{told}, whose range is not known: save it with 8 or 16 bits"):
        decode(encoded(pixels, "tiff"))


def test_a_16_bit_picture_is_turned_as_its_exif_data_say():
    exif = Image.Exif()
    exif[274] = 6
    assert decode(encoded(np.zeros((60, 90), np.uint16), exif=exif)).shape == (90, 60, 3)


def test_training_takes_the_channels_in_its_order(png, tmp_path):
    (tmp_path / "a.png").write_bytes(png)
    assert np.array_equal(read_image(tmp_path / "a.png", "BGR"), SMOOTH[:, :, ::-1])


def test_a_huge_picture_is_refused_with_the_way_out(png, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60 * 90 // 2 - 1)
    with pytest.raises(ValueError, match=r"5400 pixels.*raise the limit: --max-pixels .* PIL\.Image\.MAX_IMAGE_PIXELS"):
        decode(png)


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", b"%PDF-1.4\n", b"x"]
)
def test_what_is_not_a_picture_is_not_started(content):
    with pytest.raises(ValueError, match="it is not an image that Pillow reads"):
        decode(content)


def test_formats_that_only_name_a_file_or_start_a_program_are_left_out():
    assert {"PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"} <= set(formats())
    assert {".png", ".jfif", ".tif"} <= suffixes() and not {".pdf", ".eps", ".ps", ".h5", ".mpg"} & suffixes()


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_of_several_frames_the_first_is_read_and_that_is_said(kind, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("detectron2.utils.logger._LOG_COUNTER", Counter())  # as if nothing had been said before
    monkeypatch.setattr(logging.getLogger("dab_detr"), "propagate", True)
    first, second = (Image.fromarray(x) for x in (SMOOTH, SMOOTH[::-1]))
    lossless = {"lossless": True} if kind == "webp" else {}
    first.save(tmp_path / f"one.{kind}", **lossless)
    first.save(tmp_path / f"many.{kind}", save_all=True, append_images=[second, first], **lossless)
    with caplog.at_level(logging.WARNING):
        alone = read_image(tmp_path / f"one.{kind}")
        assert not caplog.text
        assert np.array_equal(read_image(tmp_path / f"many.{kind}"), alone)
    assert f"many.{kind} has several frames or pages" in caplog.text
