"""Images whose annotation file has paths of another system."""

import copy
import json
import re

import pytest
from PIL import Image

from coco_files import content, write
from dab_detr.doctor.examine import examine
from dab_detr.doctor.mend import mend
from dab_detr.doctor.places import found_by_base_name

WAYS = {
    "Label Studio": "data/local-files/?d=shots/{}",
    "Label Studio without a folder": "data/local-files/?d={}",
    "Label Studio, quoted": "data/local-files/?d=my%20shots%2F{}",
    "uploaded to Label Studio": "/data/upload/3/1a2b3c4d-{}",
    "Windows": "C:\\Users\\me\\shots\\{}",
    "another machine": "/data/me/shots/{}",
    "address": "https://server/shots/{}",
}


def moved(way: str) -> dict:
    data = content()
    for image in data["images"]:
        image["file_name"] = WAYS[way].format(image["file_name"])
    return data


@pytest.mark.parametrize("way", WAYS)
def test_images_are_found_by_base_name_and_mended(tmp_path, way):
    files = write(tmp_path, "train", content())
    files["annotations"].write_text(json.dumps(moved(way)))
    (findings,) = examine((str(files["annotations"]), str(files["images"]))).values()
    (finding,) = (x for x in findings if x.kind == "missing image")
    assert re.search(r"4 of them are found by their base name .*0\.png as 0\.png\); --fix writes", finding.advice)
    before = moved(way)
    result, done = mend(before, str(files["images"]))
    assert result == content() and before == moved(way)
    assert done["images found by their base name, whose file names are written as they are found"] == 4


def test_names_that_are_not_unique_are_not_found(tmp_path):
    for name in ("a/1.png", "b/1.png", "b/2.png", "3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 10)).save(tmp_path / name)
    names = ["x/1.png", "x/2.png", "x/3.png", "y/3.png", "x/4.png"]
    assert found_by_base_name(str(tmp_path), names) == {"x/2.png": "b/2.png"}


def test_nothing_is_found_in_an_empty_folder(tmp_path):
    data = copy.deepcopy(moved("Windows"))
    with pytest.raises(ValueError, match="none of the 4 images would be left"):
        mend(data, str(tmp_path))
