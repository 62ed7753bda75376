"""From a checkpoint to detections with names: alone, in batches, and of images that cannot be read."""

import logging

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from detectron2.data import transforms as T
from detectron2.engine import DefaultPredictor
from detectron2.modeling import Backbone
from PIL import Image
from torch import nn

import described
from dab_detr.inference import Detections, Predictor, UnreadableImage, Video
from dab_detr.inference.video import VideoWriter

SAVE = {"lazy": described.save_lazy, "yaml": described.save_yacs}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return described.save_lazy(tmp_path_factory.mktemp("lazy"))


@pytest.fixture(scope="module")
def predictor(checkpoint):
    return Predictor.from_checkpoint(checkpoint, device="cpu")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Something with shapes: noise, coarse."""
    coarse = np.random.default_rng(seed).integers(256, size=(4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height)))


@pytest.fixture
def folder(tmp_path):
    """50 images of mixed sizes."""
    sizes = np.random.default_rng(0).integers(60, 200, size=(50, 2))
    (tmp_path / "images").mkdir()
    for i, (height, width) in enumerate(sizes):
        Image.fromarray(picture(height, width, seed=i)).save(tmp_path / f"images/{i:02d}.png")
    return tmp_path / "images"


def all_of(predictor, images, **options) -> list:
    return list(predictor.predict(images, threshold=0, **options))


def differences(alone: list, batched: list) -> tuple[np.ndarray, np.ndarray]:
    """Of scores, and of boxes as a share of their image's longer side, for every detection to the one most like it."""
    scores, boxes = [], []
    for a, b in zip(alone, batched, strict=True):
        assert a.name == b.name and len(a) == len(b) == 30
        other_class = a.instances.pred_classes[:, None] != b.instances.pred_classes[None]
        box = np.abs(a.boxes[:, None] - b.boxes[None]).max(-1) / max(a.image.shape)
        score = np.abs(a.scores[:, None] - b.scores[None])
        like = (box + score + other_class.numpy()).argmin(1)[:, None]
        scores.append(np.take_along_axis(score, like, 1))
        boxes.append(np.take_along_axis(box, like, 1))
    return np.concatenate(scores), np.concatenate(boxes)


@pytest.mark.parametrize("way", SAVE)
def test_needs_nothing_but_the_checkpoint(way, tmp_path):
    path = SAVE[way](tmp_path)
    for split in ("train", "val"):  # the data of the training is gone
        (tmp_path / f"{split}.json").unlink()
    detections = Predictor.from_checkpoint(path, device="cpu")(picture(60, 90), threshold=0)
    assert len(detections) == 30
    assert set(detections.labels) <= set(described.NAMES)
    assert detections.instances.image_size == (60, 90)
    assert (np.diff(detections.scores) <= 0).all()


def test_answers_as_the_model_in_evaluation(tmp_path, monkeypatch):
    """The same as Detectron2's DefaultPredictor, which the yacs config builds, on the image as OpenCV reads it.

    Not by the faster copy, whose rounding is its own: see test_optimization.
    """
    monkeypatch.setattr("dab_detr.inference.predictor.optimize_for_inference", lambda model: model.eval())
    path = described.save_yacs(tmp_path)
    cfg = described.yacs_config(tmp_path)
    cfg.MODEL.WEIGHTS = str(path)
    image = picture(60, 90)
    theirs = DefaultPredictor(cfg)(np.ascontiguousarray(image[:, :, ::-1]))["instances"]
    ours = Predictor.from_checkpoint(path, device="cpu")(image, threshold=0).instances
    assert theirs.scores.equal(ours.scores) and theirs.pred_classes.equal(ours.pred_classes)
    assert theirs.pred_boxes.tensor.equal(ours.pred_boxes.tensor) and theirs.query.equal(ours.query)


def test_channels_come_as_the_model_wants_them(tmp_path):
    cfg = described.lazy_config(tmp_path)
    model = instantiate(cfg.model)
    rgb = Predictor(model, augmentations=T.AugmentationList([]), device="cpu")
    (found,) = all_of(rgb, picture(64, 64))
    model.input_format = "BGR"
    model.pixel_mean, model.pixel_std = model.pixel_mean.flip(0), model.pixel_std.flip(0)
    weight = model.backbone.stem.conv1.weight
    with torch.no_grad():
        weight.copy_(weight.flip(1))
    (again,) = all_of(rgb, picture(64, 64))
    assert np.abs(found.scores - again.scores).max() < 1e-6


def test_detections_in_plain_form(predictor):
    found = predictor(picture(60, 90), threshold=0)
    objects = found.objects()
    assert [x["label"] for x in objects] == found.labels
    assert [x["score"] for x in objects] == found.instances.scores.tolist()
    assert np.array([x["box"] for x in objects]) == pytest.approx(found.boxes)
    assert (found.boxes[:, 2:] >= found.boxes[:, :2]).all() and found.boxes[:, 2].max() <= 90


@pytest.mark.parametrize("size, drawn", [((60, 90), (320, 480)), ((300, 500), (300, 500))])
def test_pictures_are_large_enough_to_read(predictor, size, drawn):
    image = picture(*size)
    found = predictor(image, threshold=0)
    assert found.draw().shape == (*drawn, 3)
    nothing = Detections(name="", image=image, instances=found.instances[:0], class_names=found.class_names).draw()
    assert np.array_equal(nothing, np.asarray(Image.fromarray(image).resize(drawn[::-1])))
    changed = (found.draw() != nothing).any(-1)
    left, top = (found.boxes[0, :2] * drawn[0] / size[0]).astype(int)
    assert changed[max(0, top - 2) : top + 4, max(0, left - 2) : left + 4].any()


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_score(predictor, threshold):
    with pytest.raises(ValueError, match="threshold must be a score from 0 to 1, got"):
        predictor(np.zeros((20, 30, 3), np.uint8), threshold=threshold)


def test_threshold_is_the_lowest_score(predictor):
    every = predictor(picture(60, 90), threshold=0)
    threshold = every.scores[10]
    some = predictor(picture(60, 90), threshold=float(threshold))
    assert 0 < len(some) < len(every)
    assert some.scores.tolist() == [x for x in every.scores.tolist() if x >= threshold]


class Patches(Backbone):
    """A backbone that no border touches: every cell sees its own 32 x 32 pixels."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 32, stride=32)

    def forward(self, images):
        return {"res5": self.conv(images)}


def test_a_folder_in_batches_equals_single_images(predictor, folder):
    """To the rounding of floating point: images of different sizes do not meet in a batch."""
    alone, batched = all_of(predictor, folder), all_of(predictor, folder, batch_size=8)
    assert len(alone) == 50
    scores, boxes = differences(alone, batched)
    assert scores.max() < 1e-5 and boxes.max() < 1e-5


def test_images_of_one_size_go_together(predictor, monkeypatch):
    calls = []
    forward = predictor.model.forward
    monkeypatch.setattr(predictor.model, "forward", lambda inputs: calls.append(len(inputs)) or forward(inputs))
    images = [picture(70, 90, seed=0), picture(90, 70, seed=1), *(picture(70, 90, seed=i) for i in range(2, 6))]
    batched = all_of(predictor, images, batch_size=4)
    assert calls == [4, 1, 1]
    scores, boxes = differences(all_of(predictor, images), batched)
    assert scores.max() < 1e-5 and boxes.max() < 1e-5


def test_padded_batches_equal_single_images_but_for_the_backbone(tmp_path):
    cfg = described.lazy_config(tmp_path)
    model = instantiate(cfg.model)
    model.backbone = Patches(cfg.model.neck.in_channels)
    predictor = Predictor(model, augmentations=T.AugmentationList([]), device="cpu")
    sizes = np.random.default_rng(0).integers(2, 7, size=(50, 2)) * 32
    images = [picture(*size, seed=i) for i, size in enumerate(sizes)]
    scores, boxes = differences(all_of(predictor, images), all_of(predictor, images, batch_size=8, pad=True))
    assert scores.max() < 1e-5 and boxes.max() < 1e-5


def test_padded_batches_are_near_single_images(checkpoint, folder):
    """How near depends on weights and sizes; here, where weights are random, without the padding mask the median
    of the scores' differences would be 0.08."""
    predictor = Predictor.from_checkpoint(checkpoint, device="cpu")
    predictor.augmentations = T.AugmentationList([T.ResizeShortestEdge(256)])
    scores, boxes = differences(all_of(predictor, folder), all_of(predictor, folder, batch_size=8, pad=True))
    assert 1e-4 < np.median(scores) < 0.03 and scores.max() < 0.2
    assert 1e-4 < np.median(boxes) < 0.04 and boxes.max() < 0.15


def spoil(folder) -> None:
    (folder / "07.png").write_bytes((folder / "07.png").read_bytes()[:300])
    (folder / "21.png").write_bytes(b"<html>404</html>")


def test_unreadable_images_are_named_and_left_out(predictor, folder, caplog):
    spoil(folder)
    with caplog.at_level(logging.WARNING):
        found = all_of(predictor, folder, batch_size=8, skip_unreadable=True)
    assert len(found) == 48
    assert {"07.png", "21.png"}.isdisjoint(x.name.rpartition("/")[2] for x in found)
    warnings = [x.message for x in caplog.records if x.name.startswith("dab_detr.inference")]
    assert len(warnings) == 2 and "07.png" in warnings[0] and "21.png" in warnings[1]


@pytest.mark.parametrize("batch_size", [1, 5])
def test_an_unreadable_image_stops_after_those_before(batch_size, predictor, folder):
    spoil(folder)
    found = []
    with pytest.raises(UnreadableImage, match=r"07\.png"):
        for detections in predictor.predict(folder, batch_size=batch_size):
            found.append(detections.name)
    assert [name.rpartition("/")[2] for name in found] == [f"{i:02d}.png" for i in range(7)]


def test_one_image_is_not_a_folder(predictor, folder):
    with pytest.raises(ValueError, match="50 images instead of one"):
        predictor(folder)


def test_a_missing_image_stops_before_anything_is_done(predictor, tmp_path):
    with pytest.raises(ValueError, match="none.png does not exist"):
        predictor.predict([picture(20, 20), tmp_path / "none.png"], skip_unreadable=True)


def test_a_video_is_its_frames(predictor, tmp_path):
    with VideoWriter(tmp_path / "film.mp4", 10) as writer:
        for seed in range(5):
            writer.write(picture(64, 96, seed=seed))
    found = all_of(predictor, Video(tmp_path / "film.mp4"), batch_size=2)
    capture = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    for detections in found:
        frame = capture.read()[1][:, :, ::-1]
        assert np.array_equal(detections.image, frame)
        assert np.abs(predictor(frame.copy(), threshold=0).scores - detections.scores).max() < 1e-5
    assert len(found) == 5


def test_progress_counts_the_images(predictor, capfd):
    list(predictor.predict([picture(20, 20)] * 3, progress=True))
    assert "3/3" in capfd.readouterr().err


def test_autocast(predictor, checkpoint):
    half = Predictor.from_checkpoint(checkpoint, device="cpu", autocast=torch.bfloat16)
    scores, other = (x(picture(60, 90), threshold=0).scores for x in (predictor, half))
    assert 0 < np.abs(scores - other).max() < 0.05


@pytest.mark.parametrize("wrong", [{"class_names": ["a", "b"]}, {"category_ids": [1, 2]}])
def test_names_and_ids_must_fit_the_model(predictor, wrong):
    with pytest.raises(ValueError, match=f"the model has 3 classes, {next(iter(wrong))} 2"):
        Predictor(predictor.model, augmentations=predictor.augmentations, device="cpu", **wrong)


def test_a_batch_has_images(predictor):
    with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
        predictor.predict(picture(20, 20), batch_size=0)
