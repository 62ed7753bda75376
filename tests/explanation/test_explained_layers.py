"""A study of the decoder layers: AP, matches and wins by hand and against the matcher."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from test_explanation import IMAGE, predictor

from dab_detr.explanation.figures import anchors_in_use, save_study
from dab_detr.explanation.layers import LayerStudy, average_precision, study_layers
from dab_detr.explanation.truth import Annotations, Truth
from dab_detr.inference.images import sources_of
from dab_detr.models import MODELS

BOXES = np.array([[8.0, 8.0, 38.0, 28.0], [40.0, 10.0, 70.0, 40.0]])


def annotated(folder, *, pictures: int = 2, labels=(4, 5)):
    """Pictures with two objects each, their sources, and their annotations."""
    content = {"images": [], "annotations": [], "categories": [{"id": i, "name": str(i)} for i in range(10)]}
    for i in range(pictures):
        Image.fromarray(np.roll(IMAGE, 9 * i, 1)).save(folder / f"{i}.png")
        content["images"].append({"id": i, "file_name": f"{i}.png"})
        for label, (x0, y0, x1, y1) in zip(labels, BOXES.tolist(), strict=False):
            box = [x0, y0, x1 - x0, y1 - y0]
            content["annotations"].append({"image_id": i, "category_id": label, "bbox": box})
    (folder / "truth.json").write_text(json.dumps(content))
    return sources_of([folder / f"{i}.png" for i in range(pictures)]), Annotations(
        folder / "truth.json", [str(i) for i in range(80)]
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_member_is_studied(name, tmp_path):
    sources, annotations = annotated(tmp_path)
    detector = predictor(name)
    study = study_layers(detector, sources, annotations)
    assert study.matches.shape == (2, 4) and study.ap.shape == (2,) and study.changed.shape == (1,)
    assert study.wins.sum() == 4 and len(study.wins) == len(study.anchors)
    assert set(np.flatnonzero(study.wins)) == set(study.matches[-1])
    assert np.isnan(study.sides[study.wins == 0]).all() and (study.sides[study.wins > 0] > 0.3).all()
    names = {path.stem for path in save_study(tmp_path, study, source="a model")}
    assert names == ({"layers", "anchors"} if study.anchors.shape[1] else {"layers"})


def test_a_query_that_answers_the_truth_wins_with_full_ap(tmp_path):
    """The last layer's answers are put in place; the first layer's are far away and in another order."""
    sources, annotations = annotated(tmp_path, pictures=1)
    detector = predictor("dab_detr")
    boxes = torch.tensor(BOXES / [80, 48, 80, 48], dtype=torch.float)
    centers = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)

    def answer(module, inputs, prediction):
        logits, found = prediction.logits.fill_(-9.0), prediction.boxes.fill_(0.01)
        logits[-1, 0, 3, 4], logits[-1, 0, 6, 5] = 9.0, 9.0
        found[-1, 0, 3], found[-1, 0, 6] = centers[0], centers[1]
        logits[0, 0, 1, 4], logits[0, 0, 2, 5] = 9.0, 9.0

    handle = detector.model.decoder.register_forward_hook(answer)
    study = study_layers(detector, sources, annotations)
    handle.remove()
    assert study.ap[-1] == pytest.approx(100) and study.ap[0] == 0
    assert study.matches.tolist() == [[1, 2], [3, 6]] and study.changed.tolist() == [100.0]
    assert study.wins[3] == study.wins[6] == 1 and study.sides[3] == pytest.approx((30 / 80 * 20 / 48) ** 0.5)


def test_ap_of_one_of_two_objects_found():
    truth = Truth(labels=np.array([0, 0]), boxes=BOXES)
    found = [{"image_id": 1, "category_id": 1, "bbox": [8.0, 8.0, 30.0, 20.0], "score": 0.9}]
    assert average_precision([truth], [found]) == pytest.approx(100 * 51 / 101)


def test_pictures_without_objects_are_refused(tmp_path):
    sources, annotations = annotated(tmp_path, labels=())
    with pytest.raises(ValueError, match="none of these pictures has an object"):
        study_layers(predictor("dab_detr"), sources, annotations)


def test_queries_without_anchors_have_no_figure_of_them():
    study = LayerStudy(
        ap=np.ones(2), matches=np.zeros((2, 1)), anchors=np.zeros((3, 0)), wins=np.ones(3), sides=np.ones(3)
    )
    with pytest.raises(ValueError, match="no anchors to draw"):
        anchors_in_use(study)
