"""The LazyConfigs: one for each published model, with the recipe of the original."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch
from detectron2.config import LazyCall, LazyConfig, instantiate
from detectron2.solver import LRMultiplier
from omegaconf import DictConfig, OmegaConf

from dab_detr.engine.description import own_parts
from dab_detr.engine.training import Training
from dab_detr.losses.classification import QualityFocalLoss
from dab_detr.models import (
    anchor_detr,
    conditional_detr,
    dab_deformable_detr,
    dab_detr,
    deformable_detr,
    detr,
    dino,
    efficient_detr,
)
from tiny import CONFIGS, configured, data_opts, shrink

# Tables 2 and 8 of the paper: the DAB-DETR models with 50 epochs, 3 patterns and fixed xy of the anchors
DC5, PATTERNS, FIXED = {"dilated": True}, {"num_patterns": 3}, {"fixed_xy": True}
PUBLISHED = {
    "r50": {},
    "r50_3patterns": PATTERNS,
    "r50_fixxy_3patterns": PATTERNS | FIXED,
    "r50_dc5": DC5 | {"temperature": 10.0},
    "r50_dc5_fixxy": DC5 | FIXED,
    "r50_dc5_3patterns": DC5 | PATTERNS,
    "r50_dc5_fixxy_3patterns": DC5 | PATTERNS | FIXED,
    "r101": {},
    "r101_3patterns": PATTERNS,
    "r101_fixxy_3patterns": PATTERNS | FIXED,
    "r101_dc5": DC5,
    "r101_dc5_3patterns": DC5 | PATTERNS,
    "r101_dc5_fixxy_3patterns": DC5 | PATTERNS | FIXED,
}


def denoising(node, **queries):
    node.denoising.groups = 5
    node.queries.update(queries)
    return node


def better_dino():
    node = dino(shared_heads=False, temperature=10000.0, offset=-0.5)
    node.backbone.freeze_at, node.denoising.num_queries, node.criterion.weight_class = 0, 300, 2.0
    return node


def with_heads(node, **criterion):
    node.collaboration.heads = ["rcnn", "atss"]
    node.criterion.update(criterion)
    return node


def co_dino():
    node = dino(five_scale=True, shared_heads=False)
    node.queries.xavier = False
    node.selection.update(num_select=900, soft_nms=0.8, num_keep=300)
    return with_heads(node, classification=LazyCall(QualityFocalLoss)(), eps=0.0)


@dataclass(frozen=True)
class Recipe:
    """What a config sets: its model, and what its recipe has other than that of DAB-DETR in 50 epochs."""

    model: DictConfig
    epochs: int = 50
    batch: int = 16
    lr: float = 1e-4
    slower: tuple[str, ...] = ("backbone",)


DEFORMABLE = {"batch": 32, "lr": 2e-4, "slower": ("backbone", "offsets", "point_head")}
OWN_CHANNEL = {"dim": 255}
FAMILY = {
    "dab_detr_r50_12ep": Recipe(dab_detr(), epochs=12),
    "dab_detr_r50_dc5_12ep": Recipe(dab_detr(dilated=True, temperature=10.0), epochs=12),
    "detr_r50_50ep": Recipe(detr()),
    "conditional_detr_r50_50ep": Recipe(conditional_detr()),
    "conditional_detr_r50_dc5_50ep": Recipe(conditional_detr(dilated=True), batch=8),
    "conditional_detr_r101_50ep": Recipe(conditional_detr(depth=101)),
    "anchor_detr_r50_50ep": Recipe(anchor_detr(), batch=8),
    "anchor_detr_r50_dc5_50ep": Recipe(anchor_detr(dilated=True), batch=8),
    "deformable_detr_r50_50ep": Recipe(deformable_detr(), **DEFORMABLE),
    "deformable_detr_r50_refine_50ep": Recipe(deformable_detr(refine=True), **DEFORMABLE),
    "deformable_detr_r50_two_stage_50ep": Recipe(
        deformable_detr(two_stage=True), batch=32, lr=2e-4, slower=("backbone", "offsets")
    ),
    "dab_deformable_detr_r50_50ep": Recipe(dab_deformable_detr()),
    "dab_deformable_detr_r50_two_stage_50ep": Recipe(dab_deformable_detr(two_stage=True)),
    "dn_dab_detr_r50_12ep": Recipe(denoising(dab_detr()), epochs=12),
    "dn_dab_detr_r50_50ep": Recipe(denoising(dab_detr())),
    "dn_dab_detr_r50_dc5_3patterns_12ep": Recipe(denoising(dab_detr(dilated=True, num_patterns=3)), epochs=12),
    "dn_dab_detr_r50_dc5_50ep": Recipe(denoising(dab_detr(dilated=True))),
    "dn_dab_detr_r101_50ep": Recipe(denoising(dab_detr(depth=101))),
    "dn_dab_deformable_detr_r50_12ep": Recipe(denoising(dab_deformable_detr(), **OWN_CHANNEL), epochs=12),
    "dn_dab_deformable_detr_r50_50ep": Recipe(denoising(dab_deformable_detr(), **OWN_CHANNEL)),
    "co_dab_detr_r50_36ep": Recipe(with_heads(dab_detr()), epochs=36),
    "co_deformable_detr_r50_12ep": Recipe(
        with_heads(deformable_detr(mixed=True)), epochs=12, lr=2e-4, slower=("backbone", "offsets")
    ),
    "co_dino_r50_5scale_12ep": Recipe(co_dino(), epochs=12, lr=2e-4),
    "efficient_detr_r50_36ep": Recipe(efficient_detr(), epochs=36),
    "dino_r50_4scale_12ep_better": Recipe(better_dino(), epochs=12, lr=2e-4, slower=("backbone", "offsets")),
    **{f"dino_r50_4scale_{n}ep": Recipe(dino(), epochs=n) for n in (12, 24, 36)},
    **{f"dino_r50_5scale_{n}ep": Recipe(dino(five_scale=True), epochs=n) for n in (12, 24, 36)},
}


def load(name: str):
    return LazyConfig.load(str(CONFIGS / f"dab_detr_{name}_50ep.py"))


def test_every_published_dab_detr_has_a_config():
    assert {x.name for x in CONFIGS.glob("dab_detr_*_50ep.py")} == {f"dab_detr_{name}_50ep.py" for name in PUBLISHED}


@pytest.mark.parametrize("name", PUBLISHED)
def test_config(name):
    cfg = load(name)
    assert set(cfg) == {"model", "dataset", "dataloader", "optimizer", "lr_multiplier", "train"}
    depth = int(name.partition("_")[0][1:])
    assert cfg.model == dab_detr(depth=depth, **PUBLISHED[name])
    assert f"esnet{depth}-" in cfg.train.init_checkpoint or f"/R-{depth}." in cfg.train.init_checkpoint
    assert cfg.train.output_dir == f"output/dab_detr_{name}_50ep"
    rest = {key: node for key, node in cfg.items() if key != "model"}
    reference = {key: node for key, node in load("r50").items() if key != "model"}
    for x in (rest, reference):
        del x["train"]["init_checkpoint"], x["train"]["output_dir"]
    assert rest == reference


@pytest.mark.parametrize("name", PUBLISHED)
def test_config_resolves_and_is_saved(name, tmp_path):
    cfg = load(name)
    OmegaConf.resolve(cfg.copy())
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    again = LazyConfig.load(str(tmp_path / "config.yaml"))
    assert OmegaConf.to_container(again.train) == OmegaConf.to_container(cfg.train)
    assert not list(tmp_path.glob("*.pkl"))  # Detectron2's way out where yaml cannot hold the config


TRANSFORMERS = {
    "dino_swin_l_4scale_12ep": ("swin_large_patch4_window12_384", {"res3": 384, "res4": 768, "res5": 1536}),
    "dino_dinov3_vit_s_4scale_12ep": ("vit_small_patch16_dinov3", {"res3": 256, "res4": 256, "res5": 256}),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_recipe_on_a_vision_transformer(name):
    """DINO on weights of timm, which also says how many channels its maps have."""
    cfg, (backbone, channels) = LazyConfig.load(str(CONFIGS / f"{name}.py")), TRANSFORMERS[name]
    node = cfg.model.backbone.get("base", cfg.model.backbone)
    assert (node.name, node.pretrained, cfg.train.init_checkpoint) == (backbone, True, "")
    assert cfg.model.neck.in_channels == channels
    if node is cfg.model.backbone:
        info = timm.create_model(backbone, features_only=True, depths=(1, 1, 1, 1)).feature_info
        assert info.channels()[1:] == list(channels.values())
    reference = dino()
    for part in ("encoder", "decoder", "queries", "denoising", "criterion"):
        assert cfg.model[part] == reference[part]


def test_every_config_is_known():
    known = {f"dab_detr_{name}_50ep" for name in PUBLISHED} | set(FAMILY)
    assert {x.stem for x in CONFIGS.glob("*.py")} - known == {"demo_shapes", "small_cpu", *TRANSFORMERS}
    assert known <= {x.stem for x in CONFIGS.glob("*.py")}


@pytest.mark.parametrize("name", FAMILY)
def test_recipe_of_the_family(name):
    cfg, recipe = LazyConfig.load(str(CONFIGS / f"{name}.py")), FAMILY[name]
    assert cfg.model == recipe.model
    assert cfg.train.output_dir == f"output/{name}"
    depth = recipe.model.backbone.depth
    assert f"esnet{depth}-" in cfg.train.init_checkpoint or f"/R-{depth}." in cfg.train.init_checkpoint
    epoch = 7392 * 16 // recipe.batch
    assert cfg.dataloader.train.total_batch_size == recipe.batch
    assert (cfg.train.max_iter, cfg.train.eval_period) == (recipe.epochs * epoch, epoch)
    assert cfg.train.checkpointer.period == epoch
    assert (cfg.optimizer.lr, cfg.optimizer.max_norm) == (recipe.lr, 0.1)
    assert cfg.optimizer.params.lr_factors == dict.fromkeys(recipe.slower, 0.1)
    schedule = instantiate(cfg.lr_multiplier)
    drop = {12: 11, 24: 20, 36: 30, 50: 40}[recipe.epochs] / recipe.epochs
    assert (schedule(drop - 1e-4), schedule(drop)) == (pytest.approx(1.0), pytest.approx(0.1))


def test_recipe():
    cfg = load("r50")
    train, optimizer = cfg.train, cfg.optimizer
    assert (train.max_iter, train.eval_period, train.checkpointer.period) == (50 * 7392, 7392, 7392)
    assert (train.seed, train.amp.enabled, cfg.dataloader.train.total_batch_size) == (42, False, 16)
    assert (optimizer.lr, optimizer.weight_decay, optimizer.max_norm) == (1e-4, 1e-4, 0.1)
    assert cfg.dataloader.train.aspect_ratio_grouping is False
    assert (cfg.dataset.train.name, cfg.dataset.val.name) == ("coco_2017_train", "coco_2017_val")
    assert OmegaConf.to_container(cfg.dataloader.train.mapper.augmentations, resolve=True)["short_side"] == [
        480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800
    ]  # fmt: skip
    test = cfg.dataloader.test.mapper.augmentations[0]
    assert (test.short_edge_length, test.max_size) == (800, 1333)
    assert cfg.dataloader.train.mapper.image_format == cfg.dataloader.test.mapper.image_format == "RGB"


def test_learning_rate_drops_at_epoch_40():
    cfg = load("r50")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = LRMultiplier(optimizer, instantiate(cfg.lr_multiplier), cfg.train.max_iter)
    for epoch, factor in ((0, 1.0), (39, 1.0), (40, 0.1), (49, 0.1)):
        for iteration in (epoch * 7392, epoch * 7392 + 7391):
            schedule.last_epoch = iteration
            assert schedule.get_lr() == [pytest.approx(factor)], (epoch, iteration)


SHAPES, PHOTOGRAPHS = (sorted((CONFIGS / folder).glob("*.py")) for folder in ("shapes", "photographs"))
EVERY = [*sorted(CONFIGS.glob("*.py")), *SHAPES, *PHOTOGRAPHS]


@pytest.mark.parametrize("path", EVERY, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_config_builds_trains_and_evaluates(path, tmp_path):
    """Two steps at small width, from the weights that the model starts with, then COCO's metrics."""
    steps = ("train.max_iter=2", "train.preview.num_images=0")
    data = data_opts(tmp_path, demo=path in SHAPES or path.stem == "demo_shapes")
    cfg = configured("--config-file", path, *data, *steps)
    model = instantiate(shrink(cfg.model))
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    results = Training(cfg, model=model).run()
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl"} <= set(results["bbox"])
    for name, parameter in model.named_parameters():
        assert parameter.isfinite().all(), name
        assert parameter.requires_grad == (name in before), name
    changed = sum(not torch.equal(p, before[name]) for name, p in model.named_parameters() if name in before)
    assert changed > 0.85 * len(before)  # what lies behind zeros has no gradient in the first step


@pytest.mark.parametrize("path", EVERY, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_checkpoints_of_every_config_predict(path):
    """A prediction may build all that it names."""
    assert own_parts(LazyConfig.load(str(path))) == []


def test_the_demo_is_the_dab_detr_of_the_shapes_with_another_start():
    plain, demo = (LazyConfig.load(str(CONFIGS / f"{x}.py")) for x in ("shapes/dab_detr", "demo_shapes"))
    assert demo.model.queries.from_boxes and not plain.model.queries.from_boxes
    plain.model.queries.from_boxes = True
    plain.train.output_dir = "output/demo_shapes"
    assert demo == plain


def trained_alike(base: Path, path: Path) -> list[DictConfig]:
    """The models of two configs, which must differ in nothing else but the folder of their output."""
    configs = [LazyConfig.load(str(x)) for x in (base, path)]
    assert configs[1].train.output_dir == f"output/{path.parent.name}/{path.stem}"
    configs[1].train.output_dir = configs[0].train.output_dir
    models = [cfg.pop("model") for cfg in configs]
    assert configs[0] == configs[1]
    return models


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda path: path.stem)
def test_members_train_on_photographs_alike(path):
    """All but the model is DAB-DETR's, and of the model the backbone and the size."""
    base, model = trained_alike(CONFIGS / "photographs/dab_detr.py", path)
    assert model.backbone.name == base.backbone.name and model.backbone.frozen
    assert model.queries.num_queries == 50 and model.pixel_std == [127.5] * 3
    with torch.device("meta"):
        assert instantiate(model).backbone.output_shape().keys() >= {"res4"}


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_members_train_on_the_shapes_alike(path):
    """All but the model is the demo's, and of the model the size."""
    demo, model = trained_alike(CONFIGS / "shapes/dab_detr.py", path)
    backbone = OmegaConf.to_container(model.backbone)
    assert backbone.pop("out_features") in (["res3"], ["res3", "res4", "res5"])
    assert backbone == {key: x for key, x in demo.backbone.items() if key != "out_features"}
    for key in ("neck.dim", "encoder.num_layers", "encoder.hidden", "decoder.layers.num_layers", "queries.num_queries"):
        assert OmegaConf.select(model, key) == OmegaConf.select(demo, key), key
    queries = instantiate(model).queries
    assert queries.num_queries == 20
