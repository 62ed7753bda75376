"""`dab_detr.train`: from a folder to a predictor in ten lines."""

import pytest

import dab_detr
from dab_detr.training import TrainingResult
from folders import NAMES, yolo
from tiny import LAZY, model_opts

SMALL = [
    *model_opts(), "train.device=cpu", "train.init_checkpoint=", "train.preview.num_images=0",
    "dataloader.num_workers=0", "dataloader.train.total_batch_size=2",
]  # fmt: skip


def test_from_a_folder_to_a_predictor_in_ten_lines(tmp_path):
    root = yolo(tmp_path / "pictures")
    result = dab_detr.train(
        LAZY, [f"dataset.root={root}", f"train.output_dir={tmp_path / 'output'}", "train.recipe=auto",
               "train.max_iter=4", "train.eval_period=2", *SMALL]
    )  # fmt: skip
    predictor = result.predictor(device="cpu")
    detections = predictor(root / "images/train/0.png", threshold=0.0)

    assert predictor.class_names == list(NAMES) and set(detections.labels) <= set(NAMES) and len(detections) > 0
    assert result.best_checkpoint == tmp_path / "output/model_best.pth"
    assert [row["iteration"] for row in result.evaluations] == [1, 4]
    assert result.evaluations[-1]["ema/bbox/AP"] == result.metrics["ema"]["bbox"]["AP"]
    assert all(set(row) == set(result.evaluations[0]) for row in result.evaluations)


def test_without_evaluations_the_best_checkpoint_is_the_last(tmp_path):
    result = TrainingResult(output_dir=tmp_path, metrics={})
    assert result.best_checkpoint is None and result.evaluations == []
    with pytest.raises(ValueError, match="the training saved none"):
        result.predictor()
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    (tmp_path / "model_final.pth").touch()
    assert result.best_checkpoint == tmp_path / "model_final.pth"
