"""The yacs way in: keys set values of the same wiring, and Detectron2's own trainer and predictor run on it."""

import json
import re

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import defaults, get_cfg, instantiate
from detectron2.engine import DefaultPredictor, DefaultTrainer
from detectron2.modeling import build_model
from omegaconf import OmegaConf

from coco_files import content, write
from dab_detr.config import add_dab_detr_config, register_datasets, teach_detectron2, translate
from dab_detr.models import MODELS, dab_detr
from dab_detr.overrides import apply_overrides
from dab_detr.yacs.keys import FIXED_KEYS, MODEL_KEYS, OTHER_KEYS, READ_KEYS, values_of
from dab_detr.yacs.model import model_node
from tiny import YAML, yaml_opts


def config(*opts):
    cfg = get_cfg()
    add_dab_detr_config(cfg)
    cfg.merge_from_file(str(YAML))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *opts])
    return cfg


def test_code_that_calls_get_cfg_itself_reads_our_yaml_and_a_full_dump_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(defaults, "_C", defaults._C.clone())
    dump = tmp_path / "full.yaml"
    dump.write_text(config("MODEL.DAB_DETR.NUM_QUERIES", 9).dump())
    with pytest.raises(KeyError, match="Non-existent config key"):
        get_cfg().merge_from_file(str(dump))
    cfg = get_cfg()
    cfg.merge_from_file(str(YAML))
    with pytest.raises(ValueError, match=r"no key MODEL.DAB_DETR: call dab_detr.config.teach_detectron2\(\) before"):
        build_model(cfg)
    teach_detectron2()
    cfg = get_cfg()
    cfg.merge_from_file(str(YAML))
    cfg.merge_from_file(str(dump))
    read, expected = (json.dumps(dict(values_of(x))) for x in (cfg, config("MODEL.DAB_DETR.NUM_QUERIES", 9)))
    assert json.loads(read) == json.loads(expected)
    assert config().keys() == cfg.keys()  # the lines for our own scripts still work


def plain(node) -> dict:
    """A model's node but for the backbone, with interpolations resolved."""
    return {key: value for key, value in OmegaConf.to_container(node, resolve=True).items() if key != "backbone"}


def test_the_yaml_is_the_published_model():
    assert plain(model_node(config())) == plain(dab_detr())


@pytest.mark.parametrize("dilation", [1, 2])
def test_the_model_has_the_parameters_of_the_lazy_one(dilation):
    ours = build_model(config("MODEL.RESNETS.RES5_DILATION", dilation))
    lazy = instantiate(dab_detr(dilated=dilation == 2))
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in lazy.state_dict().items()}
    trained = [{k for k, v in model.named_parameters() if v.requires_grad} for model in (ours, lazy)]
    assert trained[0] == trained[1]
    assert ours.backbone.output_shape() == lazy.backbone.output_shape()
    convolutions = [[x.dilation for x in m.backbone.modules() if hasattr(x, "dilation")] for m in (ours, lazy)]
    assert convolutions[0] == convolutions[1]


@pytest.mark.parametrize(
    "key, value, overrides",
    [
        ("MODEL.DAB_DETR.NUM_CLASSES", 7, ["num_classes=7"]),
        ("MODEL.DAB_DETR.NUM_QUERIES", 10, ["queries.num_queries=10"]),
        ("MODEL.DAB_DETR.NUM_PATTERNS", 3, ["queries.num_patterns=3"]),
        ("MODEL.DAB_DETR.UNIFORM_XY", True, ["queries.uniform_xy=True"]),
        ("MODEL.DAB_DETR.FIXED_XY", True, ["queries.fixed_xy=True"]),
        ("MODEL.DAB_DETR.DIM", 64, ["neck.dim=64"]),
        ("MODEL.DAB_DETR.HEADS", 4, ["encoder.heads=4"]),
        ("MODEL.DAB_DETR.HIDDEN", 128, ["encoder.hidden=128"]),
        ("MODEL.DAB_DETR.DROPOUT", 0.1, ["encoder.dropout=0.1"]),
        ("MODEL.DAB_DETR.ENCODER_LAYERS", 2, ["encoder.num_layers=2"]),
        ("MODEL.DAB_DETR.DECODER_LAYERS", 3, ["decoder.layers.num_layers=3"]),
        ("MODEL.DAB_DETR.TEMPERATURE", 10.0, [f"neck.position.temperature_{x}=10.0" for x in "xy"]),
        ("MODEL.DAB_DETR.NUM_SELECT", 100, ["selection.num_select=100"]),
        ("MODEL.DAB_DETR.DENOISING_GROUPS", 5, ["denoising.groups=5"]),
        ("MODEL.DAB_DETR.OVERRIDES", ["criterion.weight_giou=3.0"], ["criterion.weight_giou=3.0"]),
        ("MODEL.PIXEL_MEAN", [1.0, 2.0, 3.0], ["pixel_mean=[1.0,2.0,3.0]"]),
        ("MODEL.PIXEL_STD", [1.0, 2.0, 3.0], ["pixel_std=[1.0,2.0,3.0]"]),
        ("MODEL.RESNETS.DEPTH", 18, ["neck.in_channels=512"]),
        ("INPUT.FORMAT", "BGR", ["input_format=BGR"]),
    ],
)
def test_key(key, value, overrides):
    node = dab_detr()
    apply_overrides(node, overrides)
    assert plain(model_node(config(key, value))) == plain(node)


def variant(name: str, *opts):
    """On as many feature maps as it wants."""
    neck = MODELS[name]().neck
    maps = [neck.feature] if "feature" in neck else list(neck.in_channels)
    return config("MODEL.DAB_DETR.VARIANT", name, "MODEL.RESNETS.OUT_FEATURES", maps, *opts)


@pytest.mark.parametrize("name", MODELS)
def test_variant(name):
    """Wired as by the function of its name, but on the backbone of the yacs config; and it runs."""
    assert plain(model_node(variant(name))) == plain(MODELS[name]())
    small = {"DIM": 32, "HEADS": 4, "HIDDEN": 64, "NUM_QUERIES": 10, "ENCODER_LAYERS": 1, "DECODER_LAYERS": 2}
    opts = [x for key, value in small.items() for x in (f"MODEL.DAB_DETR.{key}", value)]
    model = build_model(variant(name, "MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.STEM_OUT_CHANNELS", 4, *opts)).eval()
    with torch.no_grad():
        (result,) = model([{"image": torch.zeros(3, 64, 96)}])
    assert len(result["instances"]) > 0
    assert model.neck.in_channels == {x: shape.channels for x, shape in model.backbone.output_shape().items()}
    assert len(model.encoder.layers) == 1 and len(model.decoder.layers) == 2


def test_a_variant_that_does_not_exist():
    with pytest.raises(ValueError, match=r"MODEL\.DAB_DETR\.VARIANT must be one of \['dab_detr', .*, got 'detrr'"):
        model_node(config("MODEL.DAB_DETR.VARIANT", "detrr"))


@pytest.mark.parametrize(
    "name, key, value",
    [
        ("detr", "NUM_SELECT", 100),  # every query answers once
        ("detr", "UNIFORM_XY", True),
        ("conditional_detr", "FIXED_XY", True),
        ("anchor_detr", "TEMPERATURE", 20.0),  # its positions are learned further
        ("anchor_detr", "IN_FEATURE", "res4"),
        ("deformable_detr", "IN_FEATURE", "res4"),
        ("deformable_detr_two_stage", "NUM_PATTERNS", 3),
        ("dab_deformable_detr_two_stage", "FIXED_XY", True),
    ],
)
def test_a_key_that_means_nothing_to_the_variant(name, key, value):
    with pytest.raises(ValueError, match=rf"MODEL\.DAB_DETR\.{key} does not apply to \S+ '{name}'"):
        model_node(variant(name, f"MODEL.DAB_DETR.{key}", value))


@pytest.mark.parametrize(
    "name, key, value, message",
    [
        ("detr", "DENOISING_GROUPS", 5, r"model\.denoising\.groups needs model\.queries with anchors"),
        ("conditional_detr", "NUM_PATTERNS", 3, r"model\.queries\.num_patterns needs anchors"),
        ("deformable_detr", "NUM_PATTERNS", 3, r"model\.queries\.num_patterns needs anchors"),
    ],
)
def test_a_key_that_the_variant_refuses(name, key, value, message):
    with pytest.raises(ValueError, match=message):
        build_model(variant(name, f"MODEL.DAB_DETR.{key}", value))


def test_every_key_is_tested():
    tested = {args[0] for mark in test_key.pytestmark for args in mark.args[1]}
    keys = {f"MODEL.DAB_DETR.{key}" for key in config().MODEL.DAB_DETR}
    assert keys - tested == {
        f"MODEL.DAB_DETR.{key}" for key in ("IN_FEATURE", "VARIANT", "INIT_PARTIALLY")
    }  # elsewhere


def test_a_misspelt_override():
    with pytest.raises(ValueError, match=r"no key 'decoder.prior.modulat'.*decoder\.prior\.modulate"):
        model_node(config("MODEL.DAB_DETR.OVERRIDES", ["decoder.prior.modulat=False"]))


def test_any_backbone_of_detectron2():
    opts = {
        "MODEL.BACKBONE.NAME": "build_resnet_backbone",
        "MODEL.RESNETS.DEPTH": 18,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
        "MODEL.RESNETS.OUT_FEATURES": ["res4"],
        "MODEL.DAB_DETR.IN_FEATURE": "res4",
    }
    model = build_model(config(*(x for item in opts.items() for x in item)))
    assert model.neck.projection.in_channels == 256


def test_a_feature_that_the_backbone_does_not_give():
    with pytest.raises(ValueError, match=r"takes 'res4', model\.backbone gives \['res5'\]"):
        build_model(config("MODEL.DAB_DETR.IN_FEATURE", "res4"))


def test_register_datasets(tmp_path):
    files = {split: write(tmp_path, split, content()) for split in ("train", "val")}
    cfg = config("DATASETS.TRAIN_ANNOTATIONS", str(files["train"]["annotations"]))
    with pytest.raises(ValueError, match="images is not given"):
        register_datasets(cfg)
    cfg.DATASETS.TRAIN_IMAGES = str(files["train"]["images"])
    register_datasets(cfg)
    assert re.fullmatch(r"train_\w{8}", *cfg.DATASETS.TRAIN)
    assert cfg.DATASETS.TEST == ("coco_2017_val",)


DATA = ["DATASETS.TRAIN_ANNOTATIONS", "a.json", "DATASETS.TRAIN_IMAGES", "a"]


@pytest.mark.parametrize(
    "opts, path, value",
    [
        (["OUTPUT_DIR", "there"], "dataloader.evaluator.output_dir", "there/inference"),
        (["SEED", 7], "dataloader.train.seed", 7),
        (["MODEL.DEVICE", "cuda"], "train.device", "cuda"),
        (["MODEL.WEIGHTS", "a.pth"], "train.init_checkpoint", "a.pth"),
        (["MODEL.DAB_DETR.INIT_PARTIALLY", True], "train.init_partially", True),
        (["WRITERS", ["wandb"]], "train.writers", ["wandb"]),
        (["SOLVER.MAX_ITER", 9], "train.max_iter", 9),
        (["SOLVER.CHECKPOINT_PERIOD", 9], "train.checkpointer.period", 9),
        (["SOLVER.ACCUMULATE", 4], "train.accumulate", 4),
        (["SOLVER.AMP.ENABLED", True], "train.amp.enabled", True),
        (["SOLVER.WARMUP_ITERS", 9], "train.warmup_iters", 9),
        (["SOLVER.WARMUP_FACTOR", 0.5], "train.warmup_factor", 0.5),
        (["SOLVER.IMS_PER_BATCH", 4], "dataloader.train.total_batch_size", 4),
        (["SOLVER.BASE_LR", 0.5], "optimizer.params.lr", 0.5),
        (["SOLVER.WEIGHT_DECAY", 0.5], "optimizer.weight_decay", 0.5),
        (["SOLVER.BACKBONE_MULTIPLIER", 0.5], "optimizer.params.lr_factors.backbone", 0.5),
        (["SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.5], "optimizer.max_norm", 0.5),
        (["SOLVER.CLIP_GRADIENTS.ENABLED", False], "optimizer._target_", torch.optim.AdamW),
        (["SOLVER.STEPS", (100, 200), "SOLVER.MAX_ITER", 150], "lr_multiplier.milestones", [100]),
        (["SOLVER.GAMMA", 0.5], "lr_multiplier.values", [1.0, 0.5]),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"], "lr_multiplier.end_value", 0.0),
        (["DATALOADER.NUM_WORKERS", 0], "dataloader.train.num_workers", 0),
        (["DATALOADER.ASPECT_RATIO_GROUPING", True], "dataloader.train.aspect_ratio_grouping", True),
        (["DATALOADER.FILTER_EMPTY_ANNOTATIONS", True], "dataloader.train.dataset.filter_empty", True),
        (["TEST.EVAL_PERIOD", 9], "train.eval_period", 9),
        (["TEST.DETECTIONS_PER_IMAGE", 9], "dataloader.evaluator.max_detections", 9),
        (["INPUT.MIN_SIZE_TEST", 64], "dataloader.test.mapper.augmentations.0.short_edge_length", 64),
        (["INPUT.MAX_SIZE_TEST", 64], "dataloader.test.mapper.augmentations.0.max_size", 64),
        (["INPUT.MIN_SIZE_TEST", 0], "dataloader.test.mapper.augmentations", []),
        (["INPUT.MIN_SIZE_TRAIN", (64,)], "dataloader.train.mapper.augmentations.2.short_edge_length", [64]),
        (["INPUT.MAX_SIZE_TRAIN", 64], "dataloader.train.mapper.augmentations.2.max_size", 64),
        (["INPUT.CROP.SHORT_SIDE", [64]], "dataloader.train.mapper.augmentations.1.short_side", [64]),
        (["INPUT.CROP.SIZE", [32, 64]], "dataloader.train.mapper.augmentations.1.crop_side", [32, 64]),
        (["INPUT.CROP.ENABLED", False], "dataloader.train.mapper.augmentations.1.max_size", 1333),
        (["INPUT.RANDOM_FLIP", "vertical"], "dataloader.train.mapper.augmentations.0.vertical", True),
        (["INPUT.RANDOM_FLIP", "none"], "dataloader.train.mapper.augmentations.0.crop_side", [384, 600]),
        (["INPUT.FORMAT", "BGR"], "dataloader.train.mapper.image_format", "BGR"),
        (["DATASETS.TRAIN", ("a",)], "dataset.train.name", "a"),
        (["DATASETS.TRAIN", ("a", "b")], "dataset.train.name.names", ["a", "b"]),
        (["DATASETS.TEST", ()], "dataset.val.name", None),
        (DATA, "dataloader.train.dataset.annotations", "a.json"),
        (["OVERRIDES", ["train.ema.enabled=True"]], "train.ema.enabled", True),
    ],
)
def test_a_key_sets_its_node(opts, path, value):
    found = OmegaConf.select(translate(config(*opts)), path)
    assert (list(found) if isinstance(value, list) else found) == value


def test_every_key_that_is_read_is_known():
    known = {key for key, _ in values_of(config())}
    assert set(MODEL_KEYS) | set(OTHER_KEYS) | READ_KEYS | set(FIXED_KEYS) <= known


def test_a_key_without_effect_is_named(caplog):
    translate(config())
    assert "no effect" not in caplog.text
    translate(config("SOLVER.MOMENTUM", 0.5, "TEST.AUG.ENABLED", True))
    assert "no effect: SOLVER.MOMENTUM, TEST.AUG.ENABLED" in caplog.text


@pytest.mark.parametrize(
    "key, value",
    [
        ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value"),
        ("SOLVER.LR_SCHEDULER_NAME", "Cosine"),
        ("INPUT.CROP.TYPE", "relative"),
        ("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"),
        ("DATASETS.TEST", ("a", "b")),
    ],
)
def test_a_value_that_nothing_can_do(key, value):
    with pytest.raises(ValueError, match=key):
        translate(config(key, value))


@pytest.fixture
def small(tmp_path):
    cfg = config(*yaml_opts(tmp_path), "MODEL.DAB_DETR.NUM_CLASSES", 3)
    register_datasets(cfg)
    (tmp_path / "output").mkdir()
    return cfg


def test_default_trainer(small, tmp_path):
    """Detectron2's own, with its own optimizer and augmentation."""
    trainer = DefaultTrainer(small)
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert trainer.iter == 4
    assert (tmp_path / "output/model_final.pth").is_file()


def test_default_predictor(small, tmp_path):
    model = build_model(small)
    DetectionCheckpointer(model, str(tmp_path)).save("weights")
    small.MODEL.WEIGHTS = str(tmp_path / "weights.pth")
    predictor = DefaultPredictor(small)
    image = np.random.default_rng(0).integers(0, 255, (48, 80, 3), dtype=np.uint8)  # BGR, as the predictor wants it
    instances = predictor(image)["instances"]
    assert instances.image_size == (48, 80) and 0 < len(instances) <= 30
    model.eval()
    rgb = torch.as_tensor(predictor.aug.get_transform(image).apply_image(image)[:, :, ::-1].astype("float32"))
    with torch.no_grad():
        expected = model([{"image": rgb.permute(2, 0, 1), "height": 48, "width": 80}])[0]["instances"]
    assert torch.allclose(instances.pred_boxes.tensor, expected.pred_boxes.tensor, atol=1e-4)
