"""Pictures of ground truth beside predictions, and the hook that draws them."""

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from detectron2.data import DatasetMapper, Metadata
from detectron2.engine.train_loop import SimpleTrainer, TrainerBase
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.visualizer import Visualizer
from matplotlib import pyplot
from PIL import Image
from torch import nn

from dab_detr.models import dab_detr
from dab_detr.visualization import preview
from dab_detr.visualization.preview import PreviewHook, draw_preview

GRAY = 120
METADATA = Metadata(name="drawn", thing_classes=["cat", "dog"], thing_colors=[(255, 0, 0), (0, 255, 0)])


class Detector(nn.Module):
    """Finds the same everywhere; its two parts are in different modes."""

    def __init__(self, scores=(0.9, 0.1), classes=(1, 0)):
        super().__init__()
        self.parts = nn.ModuleList([nn.Dropout(), nn.Dropout().eval()])
        self.scores, self.classes = scores, classes
        self.modes = []

    def forward(self, batch: list[dict]) -> list[dict]:
        self.modes.append((self.training, torch.is_grad_enabled(), *(part.training for part in self.parts)))
        height, width = (batch[0].get(key, size) for key, size in zip(("height", "width"), (32, 48), strict=True))
        instances = Instances((height, width))
        boxes = torch.tensor([0.25, 0.25, 0.75, 0.75]).expand(len(self.scores), 4) * torch.tensor([width, height] * 2)
        instances.pred_boxes, instances.scores = Boxes(boxes), torch.tensor(self.scores)
        instances.pred_classes = torch.tensor(self.classes)
        return [{"instances": instances}]


@pytest.fixture
def dataset(tmp_path) -> list[dict]:
    """Images of 32 x 48 pixels: the first without objects, each other with one, the last with a crowd."""
    records = []
    for i in range(5):
        Image.new("RGB", (48, 32), (GRAY,) * 3).save(tmp_path / f"image{i}.png")
        box = {"bbox": [12, 8, 24, 16], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0, "iscrowd": int(i == 4)}
        record = {"file_name": str(tmp_path / f"image{i}.png"), "height": 32, "width": 48, "image_id": i}
        records.append({**record, "annotations": [box] if i else []})
    return records


def mapper(record: dict) -> dict:
    return DatasetMapper(is_train=False, augmentations=[], image_format="RGB")(record)


def halves(path) -> tuple[np.ndarray, np.ndarray]:
    """The two images of a picture, without their titles."""
    picture = np.asarray(Image.open(path)).astype(int)[preview.TITLE_HEIGHT :]
    width = (picture.shape[1] - preview.GAP) // 2
    return picture[:, :width], picture[:, -width:]


def color_at_box(half: np.ndarray) -> list[int]:
    """The color of the middle of the bottom side, which no label covers."""
    return half[half.shape[0] * 3 // 4, half.shape[1] // 2].tolist()


@pytest.fixture
def texts(monkeypatch) -> list[str]:
    """All that Detectron2's Visualizer has written."""
    written = []
    draw_text = Visualizer.draw_text

    def recorded(self, text, *args, **kwargs):
        written.append(text)
        return draw_text(self, text, *args, **kwargs)

    monkeypatch.setattr(Visualizer, "draw_text", recorded)
    return written


def test_ground_truth_is_left_and_predictions_are_right(tmp_path, dataset):
    draw_preview(Detector(), dataset, mapper=mapper, output_dir=tmp_path / "out", metadata=METADATA)
    left, right = halves(tmp_path / "out" / "01_image1.png")
    assert left.shape == right.shape == (320, 480, 3), "small images are enlarged"
    assert color_at_box(left) == [255, 0, 0] and color_at_box(right) == [0, 255, 0]
    empty, right = halves(tmp_path / "out" / "00_image0.png")
    assert (empty == GRAY).all() and color_at_box(right) == [0, 255, 0]


def test_labels_and_threshold(tmp_path, dataset, texts):
    draw_preview(Detector(), dataset[4:], mapper=mapper, output_dir=tmp_path, metadata=METADATA, score_threshold=0.05)
    assert texts == ["cat|crowd", "dog 90%", "cat 10%"]
    texts.clear()
    draw_preview(Detector(), dataset[1:2], mapper=mapper, output_dir=tmp_path, score_threshold=0.95)
    assert texts == ["0"]
    assert (halves(tmp_path / "00_image1.png")[1] == GRAY).all()


@pytest.mark.parametrize(
    ("detector", "record", "titles"),
    [
        (Detector(), 1, ["ground truth: 1", "predictions of score 0.5 or more: 1"]),
        (Detector(scores=(0.4, 0.1)), 0, ["ground truth: 0", "predictions of score 0.5 or more: 0 (highest 0.4)"]),
        (Detector(scores=(), classes=()), 1, ["ground truth: 1", "predictions of score 0.5 or more: 0"]),
    ],
)
def test_titles(tmp_path, dataset, monkeypatch, detector, record, titles):
    given = []
    panel = preview.Style.panel

    def recorded(self, image, title, *args):
        given.append(title)
        return panel(self, image, title, *args)

    monkeypatch.setattr(preview.Style, "panel", recorded)
    draw_preview(detector, [dataset[record]], mapper=mapper, output_dir=tmp_path, score_threshold=0.5)
    assert given == titles


def test_records_without_annotations_and_size(tmp_path, dataset):
    bare = {key: dataset[1][key] for key in ("file_name", "image_id")}
    draw_preview(Detector(), [bare], mapper=mapper, output_dir=tmp_path, metadata=METADATA)
    left, right = halves(tmp_path / "00_image1.png")
    assert (left == GRAY).all() and color_at_box(right) == [0, 255, 0]


def test_predictions_in_the_size_of_the_model_are_brought_back(tmp_path, dataset):
    Image.new("RGB", (96, 64), (GRAY,) * 3).save(dataset[1]["file_name"])  # twice what the detector answers in
    draw_preview(Detector(), [{**dataset[1], "height": 64, "width": 96}], mapper=lambda _: {}, output_dir=tmp_path)
    assert color_at_box(halves(tmp_path / "00_image1.png")[1]) != [GRAY] * 3


def test_contact_sheet_shows_all(tmp_path, dataset):
    Image.new("RGB", (48, 64), (GRAY,) * 3).save(dataset[0]["file_name"])  # of another shape than the rest
    dataset[0].update(height=64)
    path = draw_preview(Detector(), dataset, mapper=mapper, output_dir=tmp_path, side=96)
    sheet = np.asarray(Image.open(path))
    gap = preview.GAP
    pictures = [Image.open(tmp_path / f"{i:02d}_image{i}.png") for i in range(5)]
    height, width = max(p.height for p in pictures) + 2 * gap, max(p.width for p in pictures) + 2 * gap
    assert sheet.shape == (3 * height, 2 * width, 3)
    for i, picture in enumerate(pictures):
        y, x = i // 2 * height + gap, i % 2 * width + gap
        assert (sheet[y : y + picture.height, x : x + picture.width] == np.asarray(picture)).all()


def test_model_is_left_as_it_was(tmp_path, dataset):
    detector = Detector().train()
    detector.parts[1].eval()
    draw_preview(detector, dataset[:1], mapper=mapper, output_dir=tmp_path)
    assert detector.modes == [(False, False, False, False)]
    assert [module.training for module in (detector, *detector.parts)] == [True, True, False]

    def broken(record):
        raise OSError("no such image")

    with pytest.raises(OSError, match="no such image"):
        draw_preview(detector, dataset[:1], mapper=broken, output_dir=tmp_path)
    assert [module.training for module in (detector, *detector.parts)] == [True, True, False]
    assert torch.is_grad_enabled()


def test_distributed_model_is_unwrapped(tmp_path, dataset, monkeypatch):
    class Wrapper(nn.Module):
        """Like DistributedDataParallel: to call it waits for the other processes."""

        def __init__(self, module):
            super().__init__()
            self.module = module

        forward = None

    monkeypatch.setattr(preview, "DistributedDataParallel", Wrapper)
    detector = Detector()
    draw_preview(Wrapper(detector), dataset[:1], mapper=mapper, output_dir=tmp_path)
    assert len(detector.modes) == 1


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="at least one image"):
        draw_preview(Detector(), [], mapper=mapper, output_dir=tmp_path)


def test_no_figure_of_pyplot_is_left(tmp_path, dataset):
    draw_preview(Detector(), dataset[:1], mapper=mapper, output_dir=tmp_path)
    assert pyplot.get_fignums() == []


class Training(TrainerBase):
    """Nothing but the loop; fails at the iteration `fails`."""

    def __init__(self, hook, fails=None):
        super().__init__()
        self.fails = fails
        self.register_hooks([hook])

    def run_step(self):
        if self.iter == self.fails:
            raise FloatingPointError("loss is infinite")


def hook(dataset, output_dir, **options) -> PreviewHook:
    return PreviewHook(model=Detector(), dataset=dataset, mapper=mapper, output_dir=output_dir, **options)


def test_hook_draws_after_training(tmp_path, dataset):
    Training(hook(dataset, tmp_path, num_images=2)).train(0, 7)
    written = sorted(path.name for path in (tmp_path / "preview").iterdir())
    assert written == ["00_image0.png", "01_image2.png", "contact_sheet.png"], "spread over the dataset"


def test_tensorboard_gets_the_sheet(tmp_path, dataset):
    training = Training(hook(dataset, tmp_path, num_images=2))
    training.train(0, 3)
    ((name, image, _),) = training.storage._vis_data
    sheet = np.asarray(Image.open(tmp_path / "preview" / "contact_sheet.png").convert("RGB"))
    assert name == "preview" and (image.transpose(1, 2, 0) == sheet).all()


def test_hook_draws_in_every_period(tmp_path, dataset):
    Training(hook(dataset[1:2], tmp_path, period=2)).train(0, 6)
    written = sorted(path.name for path in (tmp_path / "preview").iterdir())
    expected = ["contact_sheet.png", "contact_sheet_0000002.png", "contact_sheet_0000004.png"]
    assert written == ["00_image1.png", *expected]


def test_hook_does_not_draw_after_a_failure(tmp_path, dataset):
    with pytest.raises(FloatingPointError):
        Training(hook(dataset, tmp_path), fails=3).train(0, 4)
    assert not (tmp_path / "preview").exists()


def test_only_the_main_process_draws(tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(preview.comm, "is_main_process", lambda: False)
    Training(hook(dataset, tmp_path, period=1)).train(0, 2)
    assert not (tmp_path / "preview").exists()


def test_with_a_dab_detr_in_training(tmp_path, dataset):
    """The real model, in the training loop that Detectron2 has."""
    cfg = dab_detr()
    cfg.num_classes, cfg.queries.num_queries, cfg.neck.in_channels = 2, 5, 32
    cfg.encoder.num_layers, cfg.encoder.hidden, cfg.decoder.layers.num_layers = 1, 32, 1
    cfg.backbone.update(depth=18, width=4)
    model = instantiate(cfg)
    train_mapper = DatasetMapper(is_train=True, augmentations=[], image_format="RGB")
    loader = [[train_mapper(record) for record in dataset]] * 3
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    trainer = SimpleTrainer(model, loader, optimizer)
    drawn = PreviewHook(
        model=model, dataset=dataset, mapper=mapper, output_dir=tmp_path, score_threshold=0.0, period=1, num_images=1
    )
    trainer.register_hooks([drawn])
    trainer.train(0, 2)
    assert model.training
    assert (tmp_path / "preview" / "contact_sheet.png").exists()
    assert (tmp_path / "preview" / "contact_sheet_0000001.png").exists()


def test_a_failure_to_draw_is_a_warning(tmp_path, dataset, caplog):
    dataset[1]["file_name"] = str(tmp_path / "gone.png")
    Training(hook(dataset[1:2], tmp_path)).train(0, 2)
    assert "contact_sheet.png could not be drawn" in caplog.text and "gone.png" in caplog.text


@pytest.mark.parametrize("size", [(48, 32), (20, 90), (1, 400)])
def test_titles_are_not_cut(tmp_path, dataset, monkeypatch, size):
    """The title's strip has its background on the left and on the right, whatever the shape of the image."""
    Image.new("RGB", size, (GRAY,) * 3).save(dataset[0]["file_name"])
    record = {**dataset[0], "height": size[1], "width": size[0]}
    draw_preview(Detector(scores=(0.2, 0.1)), [record], mapper=mapper, output_dir=tmp_path)
    picture = np.asarray(Image.open(tmp_path / "00_image0.png"))
    half = (picture.shape[1] - preview.GAP) // 2
    for strip in (picture[: preview.TITLE_HEIGHT, :half], picture[: preview.TITLE_HEIGHT, -half:]):
        assert (strip[:, [0, 1, -2, -1]] == preview.BACKGROUND).all() and (strip > 128).any()
