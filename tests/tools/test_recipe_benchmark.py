"""The comparison of the recipe with the plain config: cuts, equal lengths, and runs that are not repeated."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import dab_detr
from benchmarks import recipe
from coco_files import content, write
from dab_detr.conversion import dataset_from_folder
from folders import yolo
from tiny import LAZY, configured


def test_a_cut_is_that_of_its_seed(tmp_path):
    source = write(tmp_path, "train", content(num_images=8))["annotations"]
    found = []
    for seed in (0, 0, 1):
        recipe.cut(source, tmp_path / "cut.json", 3, seed)
        found.append(json.loads((tmp_path / "cut.json").read_text()))
    ids = [{x["id"] for x in data["images"]} for data in found]
    assert ids[0] == ids[1] != ids[2] and all(len(x) == 3 for x in ids)
    assert all({x["image_id"] for x in data["annotations"]} <= some for data, some in zip(found, ids, strict=True))
    with pytest.raises(ValueError, match="--sizes 9 is too large: .* has 8 images"):
        recipe.cut(source, tmp_path / "cut.json", 9, 0)


def test_both_ways_see_as_much_and_a_run_is_not_repeated(tmp_path, monkeypatch, capsys):
    trained = []

    def train(config, overrides):
        cfg = configured("--config-file", config, *overrides)
        steps, period = cfg.train.max_iter, cfg.train.eval_period
        trained.append((steps * cfg.dataloader.train.total_batch_size, -(-steps // period)))
        rows = [{"bbox/AP": 3.0}, {"bbox/AP": 8.0 - len(trained), "ema/bbox/AP": 4.0 + len(trained)}]
        return SimpleNamespace(output_dir=Path(cfg.train.output_dir), evaluations=rows)

    monkeypatch.setattr(dab_detr, "train", train)
    args = ["--sizes", "10", "--seeds", "0", "1", "--output", str(tmp_path / "o"), "--config-file", str(LAZY),
            str(yolo(tmp_path / "d", 30)),
            "train.device=cpu", "train.init_checkpoint=", "train.max_iter=300"]  # fmt: skip
    for _ in range(2):
        assert recipe.main(args) == 0
        # of the recipe's training, the average of the weights counts: 5 and 7; of the plain one, 6 and 4
        assert "| 10 | 5.0 ± 1.4 | 6.0 ± 1.4 |" in capsys.readouterr().out
    assert len(trained) == 4 and abs(trained[0][0] - trained[1][0]) <= 8
    assert (trained[0][1], trained[1][1]) == (12, 10), "a recipe's evaluations are at least 25 steps apart"
    assert len(dataset_from_folder(tmp_path / "d", tmp_path / "o" / "dataset")) == 2
