"""Reads pictures, in the same way for training and for prediction."""

import io
import logging
import os
import warnings

import numpy as np
from detectron2.data import detection_utils
from detectron2.utils.logger import log_first_n
from PIL import Image, UnidentifiedImageError

from ..download import local_path

# Formats of Pillow that are not pictures, or that start another program to be drawn.
NOT_DECODED = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "WMF"}
SIXTEEN_BITS = {"I;16", "I;16B", "I;16L", "I;16N"}
SIXTEEN_AS_32 = {"PNG", "PPM"}  # formats whose 16 bits Pillow returns as 32
DARK = 4096  # a 16-bit picture below this value has 12 bits or fewer: it becomes nearly black


def formats() -> list[str]:
    """Pillow's names of the formats that are read."""
    Image.init()
    return sorted(set(Image.OPEN) - NOT_DECODED)


def suffixes() -> set[str]:
    """File name suffixes of these formats, in lower case and with their dot."""
    known = set(formats())
    return {suffix for suffix, name in Image.registered_extensions().items() if name in known}


def set_pixel_limit(pixels: int) -> None:
    """Let Pillow read pictures of up to `pixels` pixels in this process, without warnings."""
    if pixels < 1:
        raise ValueError(f"the limit of pixels must be 1 or more, got {pixels}")
    Image.MAX_IMAGE_PIXELS = pixels / 2  # Pillow warns above this number and refuses above twice as much
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def read_image(path: str | os.PathLike, image_format: str = "RGB") -> np.ndarray:
    """Read a file or URL as (H, W, C) uint8, upright as its EXIF data say.

    image_format: as Detectron2's `read_image` takes it, such as "RGB" or "BGR".

    Raises ValueError or OSError for a file that cannot be read to its end, and for pixels of other than 8 or 16 bits.
    """
    with open(local_path(os.fspath(path)), "rb") as file:
        return decode(file.read(), image_format, name=os.fspath(path))


def decode(content: bytes, image_format: str = "RGB", name: str = "a picture") -> np.ndarray:
    """Decode the bytes of an image file as `read_image` does. name: what a warning calls it."""
    try:
        with Image.open(io.BytesIO(content), formats=formats()) as image:
            if image.format == "PNG":
                image.verify()  # the checksums that are stored beside the pixels; decoding ignores them
        with Image.open(io.BytesIO(content), formats=formats()) as image:
            pixels = to_array(image, image_format)
            if image.format != "MPO" and getattr(image, "is_animated", False):  # phones write MPO, with a preview
                log_first_n(
                    logging.WARNING,
                    f"{name} has several frames or pages, and only the first of such pictures is read",
                    name=__name__,
                )
            return pixels
    except UnidentifiedImageError as error:
        raise ValueError("it is empty" if not content else "it is not an image that Pillow reads") from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{error} If you trust it, raise the limit: --max-pixels of tools/predict.py, or PIL.Image.MAX_IMAGE_PIXELS"
        ) from error
    except SyntaxError as error:  # Pillow's, for damaged files
        raise ValueError(f"it is damaged: {error}") from error


def to_array(image: Image.Image, image_format: str = "RGB") -> np.ndarray:
    """Convert a PIL image to (H, W, C) uint8, upright as its EXIF data say.

    Pictures of 16 bits keep their 8 highest. Raises ValueError for 32 bits or floating point, whose range is unknown,
    and Pillow's errors for damaged pixels.
    """
    image.load()  # before the EXIF data are asked for, where a failure to decode would be ignored
    check_numbers(image)
    upright = detection_utils._apply_exif_orientation(image)
    if image.mode in SIXTEEN_BITS or image.mode == "I":
        upright = Image.fromarray(eight_bits(np.asarray(upright)))
    return np.ascontiguousarray(detection_utils.convert_PIL_to_numpy(upright, image_format))


def check_numbers(image: Image.Image) -> None:
    """Raise ValueError for an image of 32 bits or of floating point, whose range is unknown."""
    if image.mode == "F" or (image.mode == "I" and image.format not in SIXTEEN_AS_32):
        raise ValueError(
            f"its pixels are {'floating-point' if image.mode == 'F' else '32-bit'} numbers, whose range is not "
            "known: save it with 8 or 16 bits"
        )


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Scale (H, W) integers of 16 bits to uint8 by their highest 8 bits, as Pillow and OpenCV do for color pictures."""
    if 0 < pixels.max() < DARK:
        log_first_n(
            logging.WARNING,
            f"A 16-bit picture has no value above {pixels.max()} of 65535 and becomes nearly black. If its camera "
            "gives fewer bits, scale such pictures before training and prediction",
            name=__name__,
        )
    return (np.clip(pixels, 0, 65535) >> 8).astype(np.uint8)
