"""The rules of `train.recipe=auto` in engine/recipe.py, for datasets of several sizes, and how they reach a config."""

from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig, instantiate

from coco_files import content, write
from dab_detr.config import load
from dab_detr.data.summary import DatasetSummary
from dab_detr.engine.auto import brings_weights, kind_of, released_weights, same_branch
from dab_detr.engine.description import plain_lazy
from dab_detr.engine.recipe import AUGMENTATION, Situation, recipe
from dab_detr.engine.training import Training, run
from folders import yolo
from tiny import CONFIGS, LAZY, YAML, arguments, configured, model_opts

BATCH = "dataloader.train.total_batch_size"


def data(images: int, **numbers) -> DatasetSummary:
    numbers = {"empty": 0, "objects": {"a": 5 * images, "b": images}, "most_objects": 12, "short_side": 480.0,
               "long_side": 640.0, "object_sides": (40.0, 80.0, 160.0), **numbers}  # fmt: skip
    return DatasetSummary(images=images, **numbers)


def chosen(summary: DatasetSummary, **options) -> dict:
    rules = recipe(Situation(data=summary, **{"released": "zoo://x", "memory": 24.0, **options}))
    assert len({rule.key for rule in rules}) == len(rules) and all(rule.reason for rule in rules)
    return {rule.key: rule.value for rule in rules}


@pytest.mark.parametrize(
    "images, batch, iterations, rate",
    [
        (20, 4, 1500, 5e-5),
        (50, 8, 1800, 7.1e-5),
        (100, 16, 1800, None),
        (278, 16, 3009, None),
        (20_000, 16, 30_000, None),
    ],
)
def test_the_length_of_a_training_follows_the_number_of_pictures(images, batch, iterations, rate):
    found = chosen(data(images))
    assert (found[BATCH], found["train.max_iter"], found.get("optimizer.lr")) == (batch, iterations, rate)
    assert 38 <= iterations / found["train.eval_period"] <= 40
    assert found["train.warmup_iters"] == min(500, iterations // 20)


@pytest.mark.parametrize("weights, iterations", [("detector", 1500), ("backbone", 5000), ("none", 7500)])
def test_the_less_the_weights_know_the_longer_it_takes(weights, iterations):
    assert chosen(data(20), weights=weights, released=None)["train.max_iter"] == iterations


def test_released_weights_are_a_detector():
    found = chosen(data(20), weights="backbone")
    assert found["train.init_checkpoint"] == "zoo://x" and found["train.max_iter"] == 1500
    assert "train.init_checkpoint" not in chosen(data(20), released=None)


def test_colors_change_less_with_more_pictures():
    key = f"{AUGMENTATION}.color"
    assert [chosen(data(n)).get(key) for n in (20, 278, 1000, 10_000)] == [0.4, 0.4, 0.2, None]


def test_crowded_pictures_get_queries_and_detections():
    found = chosen(data(100, most_objects=450))
    keys = ("model.queries.num_queries", "model.selection.num_select", "dataloader.evaluator.max_detections")
    assert [found[key] for key in keys] == [700, 700, 700]
    some = chosen(data(100, most_objects=90))
    assert [some.get(key) for key in keys] == [None, None, 200]


def test_queries_that_the_user_has_set_bound_the_detections():
    found = chosen(data(100, most_objects=450), queries=300, queries_are_set=True)
    assert "model.queries.num_queries" not in found and "model.selection.num_select" not in found
    assert found["dataloader.evaluator.max_detections"] == 300


def test_a_backbone_without_weights_learns_as_fast_as_the_rest():
    key = "optimizer.params.lr_factors"
    assert chosen(data(100), released=None, weights="none")[key] == {"backbone": 1.0}
    assert key not in chosen(data(100), released=None, weights="backbone") and key not in chosen(data(100))


def test_a_backbone_without_weights_learns_whole():
    keys = ("model.backbone.norm", "model.backbone.freeze_at")
    assert [chosen(data(100), released=None, weights="none")[key] for key in keys] == ["BN", 0]
    assert not {*keys} & {*chosen(data(100), released=None, weights="backbone"), *chosen(data(100))}


@pytest.mark.parametrize("weights, partially", [("detector", True), ("backbone", None), ("none", None)])
def test_a_detector_with_fewer_queries_is_loaded_partially(weights, partially):
    crowd = data(100, most_objects=450)
    assert chosen(crowd, released=None, weights=weights).get("train.init_partially") is partially
    assert chosen(crowd)["train.init_partially"], "released weights are a detector's"
    assert "train.init_partially" not in chosen(data(100))


def test_a_fine_map_gets_smaller_pictures_on_a_cpu():
    key = "dataloader.test.mapper.augmentations.0.short_edge_length"
    assert [chosen(data(100), fine=fine, memory=None)[key] for fine in (True, False)] == [224, 480]
    assert chosen(data(100), fine=True)[key] == 800


def test_a_schedule_is_told_by_its_name():
    (rule,) = [x for x in recipe(Situation(data=data(100))) if x.key == "lr_multiplier"]
    assert str(rule).startswith("lr_multiplier=CosineParamScheduler(start_value=1.0, end_value=0.01): the rate")


def test_a_short_training_is_not_evaluated_after_every_step():
    assert chosen(data(100), iterations=20)["train.eval_period"] == 25


def test_one_class_is_no_special_case():
    one = data(100, objects={"a": 600})
    assert chosen(one) == chosen(data(100))


@pytest.mark.parametrize(
    "short, smallest, memory, side",
    [(480, 40, 24.0, 800), (240, 40, 24.0, 384), (100, 40, 24.0, 320), (360, 4, 24.0, 800), (480, 40, None, 480)],
)
def test_the_size_follows_the_pictures_and_the_device(short, smallest, memory, side):
    found = chosen(data(100, short_side=float(short), object_sides=(float(smallest), 80.0, 160.0)), memory=memory)
    sides = found[f"{AUGMENTATION}.short_side"]
    assert sides[-1] == side == found["dataloader.test.mapper.augmentations.0.short_edge_length"]
    assert all(x % 32 == 0 for x in sides) and 0.6 * side <= sides[0] < 0.6 * side + 32


def test_the_sizes_for_coco_are_those_of_detr():
    found = chosen(data(100_000))
    assert found[f"{AUGMENTATION}.short_side"] == list(range(480, 801, 32))
    assert found[f"{AUGMENTATION}.max_side"] == 1333 and found[f"{AUGMENTATION}.crop_side"] == [384, 600]


@pytest.mark.parametrize("memory, processes, parts", [(80.0, 1, None), (24.0, 1, 4), (24.0, 8, None), (2.0, 1, 16)])
def test_a_batch_is_cut_until_the_memory_holds_it(memory, processes, parts):
    found = chosen(data(1000), memory=memory, processes=processes)
    assert found.get("train.accumulate") == parts
    assert found[BATCH] % (processes * (parts or 1)) == 0


def test_what_the_user_gives_counts():
    found = chosen(data(100), batch=2, iterations=2000)
    assert BATCH not in found and "train.max_iter" not in found
    assert found["train.eval_period"] == 50 and found["optimizer.lr"] == pytest.approx(3.5e-5)
    assert chosen(data(100), epochs=1000)["train.eval_period"] == 150


def test_without_a_moving_average_the_best_weights_are_those_of_the_model():
    found = chosen(data(100), averages=False)
    assert found["train.best.metric"] == found["train.early_stopping.metric"] == "bbox/AP"
    assert not {"train.ema.enabled", "train.ema.decay"} & set(found)
    assert chosen(data(100))["train.best.metric"] == "ema/bbox/AP"


def test_the_moving_average_of_the_recipe_can_be_switched_off(tmp_path):
    opts = [f"dataset.root={yolo(tmp_path / 'd')}", "train.recipe=auto", "train.ema.enabled=False", *settings(tmp_path)]
    cfg = configured("--config-file", LAZY, *opts)
    assert not cfg.train.ema.enabled and cfg.train.best.metric == cfg.train.early_stopping.metric == "bbox/AP"


def test_without_validation_nothing_waits_for_it():
    assert not {"train.eval_period", "train.best.metric", "train.early_stopping.patience"} & set(
        chosen(data(20), evaluated=False)
    )


def test_weights_by_their_address():
    kinds = {
        "": "none",
        None: "none",
        "detectron2://ImageNetPretrained/torchvision/R-50.pkl": "backbone",
        "a.pth": "detector",
    }
    assert {x: kind_of(x) for x in kinds} == kinds


@pytest.mark.parametrize(
    "config, opts, brings",
    [
        ("dino_swin_l_4scale_12ep", [], True),
        ("dino_dinov3_vit_s_4scale_12ep", [], True),
        ("dino_swin_l_4scale_12ep", ["model.backbone.pretrained=False"], False),
        ("dino_swin_l_4scale_12ep", ["train.init_checkpoint=x.pth"], False),
        ("demo_shapes", [], False),
    ],
)
def test_a_backbone_of_timm_brings_its_weights(config, opts, brings):
    assert brings_weights(load(CONFIGS / f"{config}.py", opts)) is brings


def test_branches_of_a_config():
    assert same_branch("a.b", "a.b") and same_branch("a.b.c", "a.b") and same_branch("a", "a.b")
    assert not same_branch("a.b", "a.bc")


def settings(tmp_path: Path, *more: str) -> list[str]:
    return [f"train.output_dir={tmp_path / 'output'}", "train.device=cpu", *more]


@pytest.mark.parametrize("config", [LAZY, YAML])
def test_a_recipe_is_printed_saved_and_overridden(config, tmp_path):
    opts = [f"dataset.root={yolo(tmp_path / 'd', 30)}", "train.recipe=auto", "train.ema.decay=0.5"]
    cfg = configured("--config-file", config, *opts, *settings(tmp_path))
    assert (cfg.train.recipe, cfg.train.ema.enabled, cfg.train.ema.decay) == (None, True, 0.5)
    assert cfg.dataloader.train.total_batch_size == 4 and cfg.train.accumulate == 2
    assert (cfg.train.init_checkpoint == "zoo://dab_detr_r50_50ep") and cfg.train.max_iter == 1800
    log = (tmp_path / "output/log.txt").read_text()
    assert (
        "train.ema.decay: left as you set it" in log and "train.max_iter=1800: 300 epochs of 6 steps, the most" in log
    )
    again = configured("--config-file", tmp_path / "output/config.yaml")
    for part in ("train", "dataloader", "lr_multiplier"):
        assert plain_lazy(again)[part] == plain_lazy(cfg)[part]
    assert instantiate(again.lr_multiplier)(0.5) == pytest.approx(0.505)


def test_the_small_model_for_a_cpu_takes_the_demo_for_other_classes_and_crowds(tmp_path):
    crowd = content(ids=(1, 2), num_images=2)
    crowd["annotations"] += [{**crowd["annotations"][0], "id": 1000 + i} for i in range(30)]
    files = {
        split: write(tmp_path, split, crowd if split == "train" else content(ids=(1, 2))) for split in ("train", "val")
    }
    opts = [f"dataset.{split}.{key}={path}" for split, x in files.items() for key, path in x.items()]
    opts += settings(tmp_path, "train.recipe=auto", f"train.init_checkpoint={tmp_path / 'demo.pth'}")
    cfg = configured("--config-file", CONFIGS / "small_cpu.py", *opts)
    assert (cfg.model.num_classes, cfg.model.queries.num_queries, cfg.train.init_partially) == (2, 100, True)
    assert cfg.dataloader.test.mapper.augmentations[0].short_edge_length == 224
    log = (tmp_path / "output/log.txt").read_text()
    assert "skipped" not in log and "num_select" not in log, "100 detections are what the config has"
    demo = instantiate(LazyConfig.load(str(CONFIGS / "demo_shapes.py")).model)
    torch.save({"model": demo.state_dict()}, tmp_path / "demo.pth")
    model = instantiate(cfg.model)
    cfg.train.ema.enabled, cfg.train.best.metric, cfg.train.early_stopping.patience = False, None, 0
    assert Training(cfg, model=model).start(False) == 0
    assert model.queries.size[:20].equal(demo.queries.size) and model.queries.num_queries == 100


def test_a_recipe_warns_of_too_few_queries_of_the_user(tmp_path):
    files = {split: write(tmp_path, split, content(num_images=6)) for split in ("train", "val")}
    opts = [f"dataset.{split}.{key}={path}" for split, x in files.items() for key, path in x.items()]
    configured("--config-file", LAZY, *opts, *settings(tmp_path, "train.recipe=auto", "model.queries.num_queries=4"))
    assert "more objects than the model has queries (4)" in (tmp_path / "output/log.txt").read_text()


def test_an_evaluation_takes_the_sizes_of_the_recipe_and_no_moving_average(tmp_path):
    opts = [f"dataset.root={yolo(tmp_path / 'd')}", "train.recipe=auto", *settings(tmp_path)]
    cfg = configured("--config-file", LAZY, "--eval-only", *opts)
    assert cfg.dataloader.test.mapper.augmentations[0].short_edge_length == 480 and not cfg.train.ema.enabled


def test_an_evaluation_does_not_change_the_model(tmp_path):
    """Its weights fit the model as the config has it."""
    crowd = content(num_images=6)
    crowd["annotations"] *= 60
    for number, x in enumerate(crowd["annotations"], 1):
        crowd["annotations"][number - 1] = {**x, "id": number}
    files = {split: write(tmp_path, split, crowd) for split in ("train", "val")}
    opts = [f"dataset.{split}.{key}={path}" for split, x in files.items() for key, path in x.items()]
    opts += ["train.recipe=auto", *settings(tmp_path)]
    config = CONFIGS / "small_cpu.py"
    training, evaluation = (configured(*words, "--config-file", str(config), *opts) for words in ((), ("--eval-only",)))
    assert training.model.queries.num_queries > evaluation.model.queries.num_queries == 20


def test_released_weights_are_for_the_config_as_it_is(tmp_path):
    opts = [f"dataset.root={yolo(tmp_path / 'd')}", *settings(tmp_path)]
    cfg = configured("--config-file", LAZY, *opts)
    assert released_weights(cfg, []) == "zoo://dab_detr_r50_50ep"
    assert released_weights(cfg, ["model.neck.dim"]) is released_weights(cfg, ["train.init_checkpoint"]) is None
    cfg.source.file = "own.py"
    assert released_weights(cfg, []) is None


def test_what_a_config_lacks_is_left_out(tmp_path):
    opts = [f"dataset.root={yolo(tmp_path / 'd')}", "train.recipe=auto", "model.num_classes=2", *settings(tmp_path)]
    cfg = configured("--config-file", CONFIGS / "demo_shapes.py", *opts)
    assert f"{AUGMENTATION}.short_side: skipped" in (tmp_path / "output/log.txt").read_text()
    assert cfg.train.init_checkpoint == "" and cfg.optimizer.lr == pytest.approx(6e-4 / 4)  # a batch of 1


def test_a_batch_of_the_recipe_that_cannot_be_cut_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="batch of 1 images .* cannot be cut into 3"):
        configured(str(yolo(tmp_path / "d")), *settings(tmp_path, "train.accumulate=3"))


def test_another_recipe_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="train.recipe takes 'auto' or null, got 'car'"):
        configured(str(yolo(tmp_path / "d")), *settings(tmp_path, "train.recipe=car"))


def test_a_few_pictures_are_learned_by_heart(tmp_path):
    files = {x: write(tmp_path, x, content(num_images=6)) for x in ("train", "val")}
    opts = [f"dataset.{x}.{key}={value}" for x in files for key, value in files[x].items()]
    opts += [*model_opts(), "train.overfit=3", "train.max_iter=2", "train.init_checkpoint=", "dataloader.num_workers=0"]
    opts += ["train.report=False", "train.preview.num_images=0", *settings(tmp_path)]
    args = arguments("--config-file", LAZY, *opts)
    cfg = configured("--config-file", LAZY, *opts)
    train, val = (instantiate(cfg.dataloader[x].dataset) for x in ("train", "test"))
    assert train == val and len(train) == 3 and all(x["annotations"] for x in train)
    assert cfg.train.overfit == 0 and cfg.dataloader.train.total_batch_size == 3 and cfg.train.max_iter == 2
    images = [instantiate(cfg.dataloader.train.mapper)(train[0])["image"] for _ in range(3)]
    assert all((x == images[0]).all() for x in images)
    assert "AP" in run(cfg, args)["bbox"]


def test_no_pictures_to_learn_by_heart_is_an_error(tmp_path):
    root = yolo(tmp_path / "d")
    with pytest.raises(ValueError, match="got -1"):
        configured(str(root), *settings(tmp_path, "train.overfit=-1"))
