"""Pages that open from the disk: a template with its data inside, and pictures as part of the text."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PLACE = "__DATA__"


def filled(template: Path, content: Any) -> str:
    """Fill a template: `content` as JSON goes into its script element of the type application/json."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    # inside a script element only this could end it; json reads the escape as the character
    return template.read_text(encoding="utf-8").replace(PLACE, text.replace("<", "\\u003c"), 1)


def jpeg_address(image: np.ndarray) -> str:
    """The image (H, W, 3) as a JPEG in a data address."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=85)
    return address("image/jpeg", file.getvalue())


def png_address(path: Path) -> str:
    """A PNG file in a data address."""
    return address("image/png", path.read_bytes())


def address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
