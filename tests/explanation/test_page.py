"""The page of an explanation: what it holds, how large it is, and that a browser shows it without a network."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_explanation import IMAGE, predictor

from browser import CHROMIUM, browse
from dab_detr import explain
from dab_detr.explanation import page as page_module
from dab_detr.explanation.page import page, pooled
from dab_detr.explanation.truth import Annotations
from dab_detr.inference import Predictor
from dab_detr.models import MODELS
from described import save_lazy
from tools.explain import main

HOSTILE = ["</script><script>document.title='hit'</script>", "<b>\"&'", "\u202e<!--"]


def content(text: str) -> dict:
    return json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def explained(name: str, **options):
    return explain(predictor(name), IMAGE, **{"threshold": 0.0, "max_objects": 3, **options})


@pytest.mark.parametrize("name", MODELS)
def test_every_member_has_a_page(name):
    found = explained(name)
    text = page(found)
    data = content(text)
    assert len(data["detections"]) == len(found.detections) and data["width"] == 80 and data["height"] == 48
    for i, detection in enumerate(data["detections"]):
        assert np.allclose(detection["box"], found.detections.boxes[i], atol=0.06)
        assert len(detection["anchors"]) == len(detection["boxes"]) == len(detection["listens"]) == data["layers"]
        assert set(detection["maps"]) == set(data["parts"]) and (detection["points"] is None) == bool(data["parts"])
    assert "://" not in re.sub(r"data:image[^\"]*", "", text)


def test_names_cannot_leave_their_place():
    found = explained("dab_detr")
    found = replace(found, detections=replace(found.detections, name=HOSTILE[0], class_names=HOSTILE * 30))
    text = page(found)
    assert text.count("</script>") == page(explained("dab_detr")).count("</script>")
    data = content(text)
    assert data["name"] == HOSTILE[0] and {x["label"] for x in data["detections"]} <= set(HOSTILE)


def test_large_maps_are_averaged_until_they_fit(monkeypatch):
    maps = np.arange(24.0).reshape(1, 4, 6)
    assert pooled(maps, 1) is maps
    assert pooled(maps, 2).tolist() == [[[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]]
    assert pooled(maps, 4).tolist() == [[[10.5, 13.5]]]
    large = len(page(explained("dab_detr")))
    monkeypatch.setattr(page_module, "MAP_BYTES", 20)
    assert len(page(explained("dab_detr"))) < large


def annotated(tmp_path, **category) -> Path:
    """A picture and its annotation file: one object and a crowd region."""
    Image.fromarray(IMAGE).save(tmp_path / "same.png")
    objects = [{"bbox": [8, 8, 30, 20], "iscrowd": 0}, {"bbox": [0, 0, 80, 48], "iscrowd": 1}]
    content = {
        "images": [{"id": 7, "file_name": "same.png", "width": 80, "height": 48}],
        "categories": [{"id": 3, "name": "4", **category}],
        "annotations": [{"id": i, "image_id": 7, "category_id": 3, **x} for i, x in enumerate(objects)],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    return tmp_path / "truth.json"


@pytest.mark.parametrize("name", MODELS)
def test_ground_truth_has_a_match_in_every_layer(name, tmp_path):
    detector = predictor(name)
    annotations = Annotations(annotated(tmp_path), detector.class_names)
    found = explain(detector, tmp_path / "same.png", threshold=0.0, max_objects=3, annotations=annotations)
    (truth,) = content(page(found))["truth"]
    assert truth["box"] == [8, 8, 38, 28] and truth["label"] == "4"
    assert len(truth["queries"]) == found.num_layers and min(truth["queries"]) >= 0


def test_pictures_and_classes_that_do_not_fit_annotations_are_named(tmp_path):
    file = annotated(tmp_path)
    with pytest.raises(ValueError, match=r"truth\.json has no picture other\.png; it has same\.png"):
        Annotations(file, ["4"]).of("other.png")
    assert len(Annotations(file, ["4"]).of("folder/same.png").labels) == 1
    with pytest.raises(ValueError, match=r"has objects of \['4'\], but the model's classes are \['cat'\]"):
        Annotations(file, ["cat"])
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ValueError, match="other.json is not an annotation file in COCO format"):
        Annotations(tmp_path / "other.json", ["4"])


def test_nothing_found_is_said():
    data = content(page(explained("dab_detr", threshold=1.0)))
    assert data["detections"] == []


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_lazy(tmp_path_factory.mktemp("model"))


def test_the_tool_writes_a_page_for_each_picture_and_replaces_none(checkpoint, tmp_path, capsys):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(IMAGE).save(tmp_path / folder / "same.png")
    options = [
        "--checkpoint",
        str(checkpoint),
        "--output",
        str(tmp_path / "out"),
        "--device",
        "cpu",
        "--threshold",
        "0",
    ]
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), *options]) == 0
    assert sorted(x.name for x in (tmp_path / "out").iterdir()) == ["same.html", "same_1.html"]
    assert " detections, " in capsys.readouterr().out
    assert main([str(tmp_path / "a"), *options, "--figures"]) == 0
    assert (tmp_path / "out" / "same_2.html").is_file() and (tmp_path / "out" / "same_2" / "position.svg").is_file()
    annotations = annotated(tmp_path / "a", name=Predictor.from_checkpoint(checkpoint, device="cpu").class_names[0])
    assert main([str(tmp_path / "a" / "same.png"), *options, "--figures", "--annotations", str(annotations)]) == 0
    assert (tmp_path / "out" / "all images" / "layers.png").is_file()
    assert (tmp_path / "out" / "all images" / "anchors.svg").is_file()
    beside = ["--beside", str(checkpoint)]
    assert main([str(tmp_path / "a"), *options, "--figures", *beside]) == 0
    assert (tmp_path / "out" / "same_4" / "side_by_side.png").is_file()
    assert main([str(tmp_path / "a"), *options, *beside]) == 2 and "add --figures" in capsys.readouterr().err
    assert main([str(tmp_path / "none.png"), *options]) == 2
    assert "none.png" in capsys.readouterr().err


@pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="there is no chromium on this machine")
def test_a_browser_shows_layers_heads_parts_and_detections(tmp_path):
    assert CHROMIUM, "CI needs chromium: .ci/run installs it"
    path = tmp_path / "page.html"
    found = explained("dab_detr")
    path.write_text(page(replace(found, detections=replace(found.detections, name=HOSTILE[0]))), encoding="utf-8")
    first = browse(path, "detection=0&layer=0", 1600, tmp_path)
    for change in ("detection=0&layer=1", "detection=0&layer=0&head=1", "detection=0&layer=0&part=position"):
        assert np.abs(browse(path, change, 1600, tmp_path) - first).max() > 20, change
    dark = browse(path, "", 1600, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert dark[-1, -1].sum() < 200 < first[-1, -1].sum()
    assert browse(path, "", 500, tmp_path).shape[1] == 500
    # a window of chromium is never narrower than 500 pixels; a frame in it may be
    narrow = tmp_path / "narrow.html"
    narrow.write_text('<body style="margin:0"><iframe src="page.html" style="width:320px;height:1000px;border:0">')
    shot = browse(narrow, "", 500, tmp_path)
    assert shot[:, :320].std() > 10 and (shot[:980, 330:] == 255).all()
