"""Templates with their data, and pictures in addresses."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from dab_detr.visualization.html import filled, jpeg_address, png_address


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "page.html"
    path.write_text('<script type="application/json">__DATA__</script>')
    return path


def test_data_cannot_end_its_element(template):
    content = {"name": "</script><!--\u2028\ud800", "place": "__DATA__"}
    text = filled(template, content)
    start, end = text.index(">") + 1, text.index("</script>")
    assert text.count("</script>") == 1 and json.loads(text[start:end]) == content


def test_what_json_has_no_word_for_is_refused(template):
    with pytest.raises(ValueError, match="not JSON compliant"):
        filled(template, [float("nan")])


def test_pictures_are_read_back(tmp_path):
    image = np.full((4, 6, 3), 200, np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    for found, kind in ((jpeg_address(image), "jpeg"), (png_address(tmp_path / "a.png"), "png")):
        head, content = found.split(",")
        assert head == f"data:image/{kind};base64"
        read = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        assert read.shape == image.shape and np.abs(read.astype(int) - 200).max() < 3
