"""An explanation says of each detection what its query saw and did, in pixels of the image."""

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from detectron2.data import transforms as T

from dab_detr import explain
from dab_detr.inference import Predictor
from dab_detr.models import MODELS
from tiny import shrink, tell_apart

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def predictor(name: str) -> Predictor:
    model = tell_apart(instantiate(shrink(MODELS[name]()))).eval()
    resize = T.AugmentationList([T.ResizeShortestEdge(96, 200)])
    return Predictor(model, augmentations=resize, device="cpu")


@pytest.mark.parametrize("name", MODELS)
def test_every_member_is_explained(name):
    found = explain(predictor(name), IMAGE, threshold=0.0, max_objects=5)
    detections = found.detections
    assert 1 <= len(detections) <= 5 and len(found.rows) == len(detections)
    for i in range(len(detections)):
        last = np.clip(found.boxes(i)[-1], 0, [80, 48, 80, 48])
        assert np.abs(last - detections.boxes[i]).max() < 1e-3
        assert abs(found.scores(i)[-1] - detections.scores[i]) < 1e-5
        assert len(found.anchors(i)) == len(found.scores(i)) == found.num_layers
        listened = found.listened_to(i, 0)
        assert len(listened) == 5 and listened[0][1] >= listened[-1][1] > 0
        for part in found.parts():
            maps = found.attention(i, found.num_layers - 1, part)
            assert maps.shape[0] == found.heads and np.allclose(maps.sum((1, 2)), 1, atol=1e-5)
        if "attention" not in found.parts():
            points, weights = found.points(i, 0)
            assert points.shape == (*weights.shape, 2) and np.allclose(weights.sum(1), 1, atol=1e-5)


def test_what_a_detector_does_not_have_is_refused():
    found = explain(predictor("dab_deformable_detr"), IMAGE, threshold=0.0, max_objects=1)
    with pytest.raises(ValueError, match="no map of the attention; it has none"):
        found.attention(0, 0)
    found = explain(predictor("detr"), IMAGE, threshold=0.0, max_objects=1)
    assert found.parts() == ["attention", "content", "position"] and found.modulation(0) is None
    with pytest.raises(ValueError, match="attends to all cells"):
        found.points(0, 0)


def test_the_modulation_of_a_dab_detr_has_two_ratios_a_layer():
    found = explain(predictor("dab_detr"), IMAGE, threshold=0.0, max_objects=1)
    assert found.modulation(0).shape == (2, 2) and "unmodulated" in found.parts()


def test_an_image_without_detections_is_explained_too():
    found = explain(predictor("dab_detr"), IMAGE, threshold=1.0)
    assert len(found.detections) == 0 and found.num_layers == 2


def test_several_images_are_refused():
    with pytest.raises(ValueError, match="takes one image, got 2"):
        explain(predictor("dab_detr"), [IMAGE, IMAGE])


def test_a_record_leaves_the_model_as_it_was():
    model = predictor("dab_detr")
    before = model(IMAGE, threshold=0.0)
    explain(model, IMAGE)
    assert torch.equal(before.instances.scores, model(IMAGE, threshold=0.0).instances.scores)
