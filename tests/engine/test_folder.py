"""`dataset.root`: folders of several formats become the splits of a config, and the user reads what was understood."""

import json
from pathlib import Path

import pytest
import yaml
from detectron2.utils import comm

import train_net
from coco_files import content, write
from dab_detr.engine import folder as module
from folders import NAMES, roboflow, voc, yolo
from tiny import LAZY, YAML, arguments, configured


def settings(tmp_path: Path, *more: str) -> list[str]:
    return [f"train.output_dir={tmp_path / 'output'}", "train.device=cpu", "train.init_checkpoint=", *more]


def file_names(path: str) -> set[str]:
    return {x["file_name"] for x in json.loads(Path(path).read_text())["images"]}


@pytest.mark.parametrize("layout", [yolo, voc, roboflow])
def test_the_layouts_are_understood_and_said(layout, tmp_path):
    root = layout(tmp_path / "my data")
    cfg = configured(str(root), *settings(tmp_path))
    assert cfg.model.num_classes == 2 and cfg.dataset.root is None
    files = [Path(cfg.dataset[split].annotations) for split in ("train", "val")]
    assert [x.parent for x in files] == 2 * [tmp_path / "output/dataset"]
    assert [x["name"] for x in json.loads(files[0].read_text())["categories"]] == list(NAMES)
    saved = yaml.safe_load((tmp_path / "output/config.yaml").read_text())
    assert saved["dataset"]["val"]["annotations"] == str(files[1]) and saved["model"]["num_classes"] == 2
    log = (tmp_path / "output/log.txt").read_text()
    assert "is a dataset of " in log and "categories: " in log
    assert ("val was split off: 1 pictures" in log) == (layout is yolo)


@pytest.mark.parametrize("config", [LAZY, YAML])
def test_every_config_takes_a_folder(config, tmp_path):
    root = yolo(tmp_path / "d")
    cfg = configured("--config-file", config, f"dataset.root={root}", "dataset.val_fraction=0.5", *settings(tmp_path))
    train, val = (file_names(cfg.dataset[split].annotations) for split in ("train", "val"))
    assert len(train) == len(val) == 3 and not train & val


def test_the_split_is_that_of_the_seed(tmp_path):
    root, found = yolo(tmp_path / "d", 12), []
    for seed in (0, 0, 1):
        found.append(
            file_names(configured(str(root), f"dataset.split_seed={seed}", *settings(tmp_path)).dataset.val.annotations)
        )
    assert found[0] == found[1] != found[2]


def test_a_resumed_training_keeps_its_splits(tmp_path):
    root = yolo(tmp_path / "d")
    first = file_names(configured(str(root), *settings(tmp_path)).dataset.val.annotations)
    yolo(root, 12)
    again = configured("--resume", str(root), *settings(tmp_path))
    assert file_names(again.dataset.val.annotations) == first
    assert len(file_names(configured(str(root), *settings(tmp_path)).dataset.val.annotations)) == 2


def test_a_resumed_training_says_that_it_does_not_read_another_folder(tmp_path):
    configured(str(yolo(tmp_path / "d")), *settings(tmp_path))
    other, log = yolo(tmp_path / "other"), tmp_path / "output" / "log.txt"
    configured("--resume", str(tmp_path / "d"), *settings(tmp_path))
    assert "keeps the splits in" in log.read_text() and "does not read" not in log.read_text()
    configured("--resume", str(other), *settings(tmp_path))
    assert f"with the pictures in {tmp_path / 'd'}" in log.read_text()
    assert f"It does not read {other}: a training on that needs another train.output_dir." in log.read_text()


@pytest.mark.parametrize("name", ["dataset", "dataset/yolo"])
def test_a_training_does_not_write_into_its_dataset(name, tmp_path):
    root = yolo(tmp_path / "output" / name)
    before = sorted(root.rglob("*"))
    with pytest.raises(
        ValueError, match=r"dataset.root is .*, where a training in .* writes its annotation files: give"
    ):
        configured(str(root), *settings(tmp_path))
    assert sorted(root.rglob("*")) == before


def test_an_evaluation_leaves_the_splits_of_the_training(tmp_path):
    root = yolo(tmp_path / "d")
    before = Path(configured(str(root), *settings(tmp_path)).dataset.val.annotations)
    names = file_names(before)
    yolo(root, 12)
    after = Path(configured("--eval-only", str(root), *settings(tmp_path)).dataset.val.annotations)
    assert file_names(before) == names and after.parent.name == "dataset_evaluation" and len(file_names(after)) == 2


def test_a_folder_and_files_at_once_are_an_error(tmp_path):
    files = write(tmp_path, "val", content())
    with pytest.raises(ValueError, match="remove either it or dataset.val.annotations"):
        configured(str(yolo(tmp_path / "d")), f"dataset.val.annotations={files['annotations']}", *settings(tmp_path))


def test_a_damaged_label_is_named_with_the_way_out(tmp_path):
    root = yolo(tmp_path / "d")
    (root / "labels/train/3.txt").write_text("0 0.5 nonsense\n")
    with pytest.raises(ValueError, match=r"3\.txt.*--skip-damaged"):
        configured(str(root), *settings(tmp_path))


def test_a_word_that_is_no_folder_ends_the_command(tmp_path, capsys):
    for words in ([str(tmp_path / "none")], ["--config-file", str(LAZY), "train.max_iter", "3"], [str(tmp_path)] * 2):
        with pytest.raises(SystemExit):
            arguments(*words)
        assert "give one folder that exists, then overrides such as" in capsys.readouterr().err
    assert train_net.parse([str(tmp_path), "train.seed=1"]).config_file == str(train_net.CONFIG)


def test_an_error_of_the_main_process_is_that_of_all(monkeypatch):
    def fails():
        raise ValueError("damaged")

    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    monkeypatch.setattr(comm, "all_gather", lambda mine: [(None, "damaged"), mine])
    with pytest.raises(ValueError, match="damaged"):
        module.from_main(fails)
