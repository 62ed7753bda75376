"""Pictures as files: their size, and how their EXIF data turn them."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from .damage import Damage

ORIENTATION = 0x0112  # the tag of EXIF
EXCHANGED = (5, 6, 7, 8)  # its values that exchange width and height

Size = tuple[int, int]  # width and height in pixels


@dataclass(frozen=True)
class Look:
    """The header of a picture file: its size as it is stored, and its EXIF orientation (1 to 8)."""

    stored: Size
    orientation: int = 1

    @property
    def size(self) -> Size:
        """The size as Detectron2 reads it and viewers show it: turned by its EXIF data."""
        return self.stored[::-1] if self.orientation in EXCHANGED else self.stored

    def turns(self, stated: Size) -> bool:
        """Whether labels with this size refer to the stored picture, whose sides the EXIF data exchange."""
        return self.size != self.stored and stated == self.stored

    def turned(self, points: list[float]) -> list[float]:
        """Points x, y, x, y, … in pixels of the stored picture, in pixels of the picture as it is shown."""
        w, h = self.stored
        turn = {
            2: lambda x, y: (w - x, y),
            3: lambda x, y: (w - x, h - y),
            4: lambda x, y: (x, h - y),
            5: lambda x, y: (y, x),
            6: lambda x, y: (h - y, x),
            7: lambda x, y: (h - y, w - x),
            8: lambda x, y: (y, w - x),
        }.get(self.orientation, lambda x, y: (x, y))
        return [value for x, y in zip(points[::2], points[1::2], strict=True) for value in turn(x, y)]


def look_at(path: Path) -> Look:
    """Open a picture for its header. Raises Damage, naming the file, if Pillow cannot."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large pictures and odd tags are the doctor's to judge
            with Image.open(path) as image:
                orientation = Image.Image.getexif(image).get(ORIENTATION, 1)  # PNG's own method decodes the picture
                return Look(image.size, orientation if orientation in range(1, 9) else 1)
    except Exception as error:  # any error of Pillow means that the picture cannot be used
        text = str(error).replace(str(path), "the file")
        raise Damage(path, "", f"the picture cannot be read ({text or type(error).__name__})") from error
