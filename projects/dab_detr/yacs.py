"""Yacs configs of Detectron2: their keys, and their translation to the nodes of a LazyConfig.

Importing it registers the meta-architecture `DABDETR`, so that Detectron2's `build_model(cfg)` works with the yaml.
"""

import logging
from collections.abc import Iterator, Mapping

import torch
from detectron2.config import CfgNode, LazyCall, get_cfg, instantiate
from detectron2.data.transforms import RandomFlip, ResizeShortestEdge
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from fvcore.common.param_scheduler import CosineParamScheduler, MultiStepParamScheduler
from omegaconf import DictConfig, OmegaConf
from torch import nn

from .data.augmentation import random_crop
from .data.coco import dataset_name, joined_datasets
from .defaults import dataloader_node, dataset_node, optimizer_node, settings, train_node
from .modeling.backbone import build_dab_detr_resnet_backbone, resnet
from .models import MODELS
from .overrides import apply_overrides

# Keys of a yacs config, and the keys of the nodes that they set; None there leaves what the node has.
MODEL_KEYS = {
    "MODEL.DAB_DETR.NUM_CLASSES": ["num_classes"],
    "MODEL.DAB_DETR.IN_FEATURE": ["neck.feature"],
    "MODEL.DAB_DETR.NUM_QUERIES": ["queries.num_queries"],
    "MODEL.DAB_DETR.NUM_PATTERNS": ["queries.num_patterns"],
    "MODEL.DAB_DETR.UNIFORM_XY": ["queries.uniform_xy"],
    "MODEL.DAB_DETR.FIXED_XY": ["queries.fixed_xy"],
    "MODEL.DAB_DETR.DIM": ["neck.dim"],
    "MODEL.DAB_DETR.HEADS": ["encoder.heads"],
    "MODEL.DAB_DETR.HIDDEN": ["encoder.hidden"],
    "MODEL.DAB_DETR.DROPOUT": ["encoder.dropout"],
    "MODEL.DAB_DETR.ENCODER_LAYERS": ["encoder.num_layers"],
    "MODEL.DAB_DETR.DECODER_LAYERS": ["decoder.layers.num_layers"],
    "MODEL.DAB_DETR.TEMPERATURE": ["neck.position.temperature_x", "neck.position.temperature_y"],
    "MODEL.DAB_DETR.NUM_SELECT": ["selection.num_select"],
    "MODEL.DAB_DETR.DENOISING_GROUPS": ["denoising.groups"],
    "MODEL.PIXEL_MEAN": ["pixel_mean"],
    "MODEL.PIXEL_STD": ["pixel_std"],
    "INPUT.FORMAT": ["input_format"],
}
OTHER_KEYS = {
    "OUTPUT_DIR": ["train.output_dir"],
    "SEED": ["train.seed"],
    "WRITERS": ["train.writers"],
    "MODEL.WEIGHTS": ["train.init_checkpoint"],
    "MODEL.DEVICE": ["train.device"],
    "MODEL.DAB_DETR.INIT_PARTIALLY": ["train.init_partially"],
    "SOLVER.MAX_ITER": ["train.max_iter"],
    "SOLVER.CHECKPOINT_PERIOD": ["train.checkpointer.period"],
    "SOLVER.ACCUMULATE": ["train.accumulate"],
    "SOLVER.AMP.ENABLED": ["train.amp.enabled"],
    "SOLVER.WARMUP_ITERS": ["train.warmup_iters"],
    "SOLVER.WARMUP_FACTOR": ["train.warmup_factor"],
    "SOLVER.IMS_PER_BATCH": ["dataloader.train.total_batch_size"],
    "SOLVER.BASE_LR": ["optimizer.lr"],
    "SOLVER.WEIGHT_DECAY": ["optimizer.weight_decay"],
    "SOLVER.BACKBONE_MULTIPLIER": ["optimizer.params.lr_factors.backbone"],
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": ["optimizer.max_norm"],
    "DATALOADER.NUM_WORKERS": ["dataloader.num_workers"],
    "DATALOADER.ASPECT_RATIO_GROUPING": ["dataloader.train.aspect_ratio_grouping"],
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": ["dataloader.train.dataset.filter_empty"],
    "TEST.EVAL_PERIOD": ["train.eval_period"],
    "TEST.DETECTIONS_PER_IMAGE": ["dataloader.evaluator.max_detections"],
}
# Keys that the translation reads one by one, or that only Detectron2's own trainer needs.
READ_KEYS = {
    f"{section}.{key}"
    for section, keys in {
        "DATASETS": "TRAIN TEST TRAIN_ANNOTATIONS TRAIN_IMAGES TEST_ANNOTATIONS TEST_IMAGES",
        "INPUT": "MIN_SIZE_TRAIN MAX_SIZE_TRAIN MIN_SIZE_TRAIN_SAMPLING MIN_SIZE_TEST MAX_SIZE_TEST RANDOM_FLIP",
        "INPUT.CROP": "ENABLED SIZE SHORT_SIDE",
        "SOLVER": "STEPS GAMMA LR_SCHEDULER_NAME WEIGHT_DECAY_NORM",
        "SOLVER.CLIP_GRADIENTS": "ENABLED CLIP_TYPE NORM_TYPE",
    }.items()
    for key in keys.split()
}
# What else has one value that works; another one is refused.
FIXED_KEYS = {
    "INPUT.CROP.TYPE": "absolute_range",
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "norm",
    "SOLVER.WARMUP_METHOD": "linear",
    "DATALOADER.SAMPLER_TRAIN": "TrainingSampler",
}

logger = logging.getLogger(__name__)


def paths_of(key: str) -> list[str]:
    """The keys of the nodes that a yacs key sets."""
    return OTHER_KEYS.get(key) or [f"model.{path}" for path in MODEL_KEYS.get(key, ())]


def yacs_defaults() -> CfgNode:
    """Detectron2's yacs config with the keys of a DAB-DETR."""
    cfg = get_cfg()
    add_dab_detr_config(cfg)
    return cfg


def add_dab_detr_config(cfg: CfgNode) -> None:
    """Add the keys that a DAB-DETR has beside Detectron2's own. None leaves what the model has by itself."""
    own = [key.rpartition(".")[2] for key in MODEL_KEYS if key.startswith("MODEL.DAB_DETR.")]
    cfg.MODEL.DAB_DETR = CfgNode(dict.fromkeys(own))
    cfg.MODEL.DAB_DETR.NUM_CLASSES = 80
    # the member of the family: one of `models.MODELS`
    cfg.MODEL.DAB_DETR.VARIANT = "dab_detr"
    # for all else in the model: ["decoder.prior.modulate=False", "criterion.weight_giou=3.0"]
    cfg.MODEL.DAB_DETR.OVERRIDES = []
    # True: tensors in MODEL.WEIGHTS that do not fit start from scratch; otherwise only classes may differ
    cfg.MODEL.DAB_DETR.INIT_PARTIALLY = False
    # for all else in the training: ["train.ema.enabled=True", "dataloader.evaluator.score_threshold=0.5"]
    cfg.OVERRIDES = []
    # learning rate of the backbone, as a factor of BASE_LR
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1
    # micro-batches that each process cuts its share of IMS_PER_BATCH into
    cfg.SOLVER.ACCUMULATE = 1
    # experiment trackers to write to beside metrics.json and TensorBoard: "wandb", "mlflow"
    cfg.WRITERS = []
    # lengths of the shorter side before a crop by INPUT.CROP
    cfg.INPUT.CROP.SHORT_SIDE = [400, 500, 600]
    # a COCO-format annotation file and its image folder, which take the place of TRAIN and TEST
    cfg.DATASETS.TRAIN_ANNOTATIONS = ""
    cfg.DATASETS.TRAIN_IMAGES = ""
    cfg.DATASETS.TEST_ANNOTATIONS = ""
    cfg.DATASETS.TEST_IMAGES = ""


def register_datasets(cfg: CfgNode) -> None:
    """Register the datasets that DATASETS names by their files, and set DATASETS.TRAIN and TEST to them.

    Scripts with Detectron2's own trainer need it; `load` does not.
    """
    for split in ("TRAIN", "TEST"):
        annotations, images = cfg.DATASETS[f"{split}_ANNOTATIONS"], cfg.DATASETS[f"{split}_IMAGES"]
        if annotations or images:
            cfg.DATASETS[split] = (dataset_name(annotations=annotations or None, images=images or None),)


@META_ARCH_REGISTRY.register()
def DABDETR(cfg: CfgNode) -> nn.Module:
    """The model of a yacs config, under the name by which Detectron2's `build_model` finds it."""
    return instantiate(model_node(cfg))


def translate(cfg: CfgNode) -> DictConfig:
    """The nodes of a yacs config. Keys that set nothing here are named in a warning.

    Raises ValueError for values that nothing here can do.
    """
    flat = dict(values_of(cfg))
    for key, value in FIXED_KEYS.items():
        enabled = flat.get(f"{key.rpartition('.')[0]}.ENABLED", True)
        if enabled and flat[key] != value:
            raise ValueError(f"{key} must be {value!r}, got {flat[key]!r}; a LazyConfig may have any other part")
    nodes = settings({"train": train_node(), "dataset": datasets(cfg), "dataloader": dataloader_node()})
    nodes.model, nodes.optimizer, nodes.lr_multiplier = model_node(cfg), optimizer_node(), schedule(cfg)
    for key, paths in OTHER_KEYS.items():
        for path in paths:
            OmegaConf.update(nodes, path, flat[key])
    if not cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        nodes.optimizer._target_ = torch.optim.AdamW
        del nodes.optimizer["max_norm"]
    set_augmentations(nodes.dataloader, cfg)
    warn_of_unused(flat)
    nodes.source = settings({"file": "", "set": apply_overrides(nodes, cfg.OVERRIDES)})
    return nodes


def datasets(cfg: CfgNode) -> DictConfig:
    """The node `dataset`: files, or else names in Detectron2's catalog."""
    node = dataset_node()
    for split, key in (("train", "TRAIN"), ("val", "TEST")):
        names = list(cfg.DATASETS[key])
        node[split].annotations = cfg.DATASETS[f"{key}_ANNOTATIONS"] or None
        node[split].images = cfg.DATASETS[f"{key}_IMAGES"] or None
        node[split].name = names[0] if names else None
        if len(names) > 1 and key == "TEST":
            raise ValueError(f"DATASETS.TEST names {names}: evaluate one at a time, the others with --eval-only")
        if len(names) > 1:
            node[split].name = LazyCall(joined_datasets)(names=names)
    return node


def schedule(cfg: CfgNode) -> DictConfig:
    """The node `lr_multiplier`, without warm-up, which `train` has."""
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR":
        return LazyCall(CosineParamScheduler)(start_value=1.0, end_value=0.0)
    if solver.LR_SCHEDULER_NAME != "WarmupMultiStepLR":
        raise ValueError(
            "SOLVER.LR_SCHEDULER_NAME must be 'WarmupMultiStepLR' or 'WarmupCosineLR', "
            f"got {solver.LR_SCHEDULER_NAME!r}; a LazyConfig may have any other lr_multiplier"
        )
    steps = [x for x in solver.STEPS if x <= solver.MAX_ITER]
    values = [solver.GAMMA**k for k in range(len(steps) + 1)]
    return LazyCall(MultiStepParamScheduler)(values=values, milestones=steps, num_updates=solver.MAX_ITER)


def set_augmentations(loaders: DictConfig, cfg: CfgNode) -> None:
    """Tell the loaders what INPUT says of sizes, flips and crops."""
    given, resize = cfg.INPUT, LazyCall(ResizeShortestEdge)
    train = []
    if given.RANDOM_FLIP != "none":
        flips = {"horizontal": given.RANDOM_FLIP == "horizontal", "vertical": given.RANDOM_FLIP == "vertical"}
        train.append(LazyCall(RandomFlip)(**flips))
    if given.CROP.ENABLED:
        train.append(
            LazyCall(random_crop)(short_side=list(given.CROP.SHORT_SIDE), crop_side=[int(x) for x in given.CROP.SIZE])
        )
    if any(given.MIN_SIZE_TRAIN):
        train.append(
            resize(
                short_edge_length=list(given.MIN_SIZE_TRAIN),
                max_size=given.MAX_SIZE_TRAIN,
                sample_style=given.MIN_SIZE_TRAIN_SAMPLING,
            )
        )
    test = [resize(short_edge_length=given.MIN_SIZE_TEST, max_size=given.MAX_SIZE_TEST)] if given.MIN_SIZE_TEST else []
    loaders.train.mapper.augmentations, loaders.test.mapper.augmentations = train, test


def warn_of_unused(values: Mapping[str, object]) -> None:
    """Name the keys of a yacs config that were set, and that nothing here reads."""
    read = {*MODEL_KEYS, *OTHER_KEYS, *READ_KEYS, *FIXED_KEYS}
    sections = ("SOLVER.", "INPUT.", "DATASETS.", "DATALOADER.", "TEST.")
    defaults = dict(values_of(yacs_defaults()))
    unused = [
        key
        for key, value in values.items()
        if key.startswith(sections) and key not in read and value != defaults.get(key)
    ]
    if unused:
        logger.warning("These keys of the yaml config have no effect: %s", ", ".join(unused))


def model_node(cfg: CfgNode) -> DictConfig:
    """The node of the model of a yacs config: one of `models.MODELS`, on the backbone that MODEL.BACKBONE names.

    Raises ValueError for a variant that does not exist and for keys that do not apply to the variant.
    """
    own, flat = cfg.MODEL.DAB_DETR, dict(values_of(cfg))
    if own.VARIANT not in MODELS:
        raise ValueError(f"MODEL.DAB_DETR.VARIANT must be one of {list(MODELS)}, got {own.VARIANT!r}")
    node = MODELS[own.VARIANT]()
    node.backbone = backbone_node(cfg)
    for key, paths in MODEL_KEYS.items():
        for path in paths if flat[key] is not None else ():
            if OmegaConf.select(node, path) is None:
                raise ValueError(f"{key} does not apply to MODEL.DAB_DETR.VARIANT {own.VARIANT!r}: remove it")
            OmegaConf.update(node, path, flat[key])
    set_channels(node)
    apply_overrides(node, own.OVERRIDES)
    return node


def backbone_node(cfg: CfgNode) -> DictConfig:
    """Our ResNet as in a LazyConfig; any other backbone by its name and the keys of MODEL that were set."""
    given = cfg.MODEL
    if build_dab_detr_resnet_backbone.__name__ == given.BACKBONE.NAME:
        return LazyCall(resnet)(
            depth=given.RESNETS.DEPTH,
            out_features=list(given.RESNETS.OUT_FEATURES),
            dilated=given.RESNETS.RES5_DILATION == 2,
            freeze_at=given.BACKBONE.FREEZE_AT,
            norm=given.RESNETS.NORM,
            width=given.RESNETS.STEM_OUT_CHANNELS,
        )
    defaults = dict(values_of(yacs_defaults()))
    changed = {key: value for key, value in values_of(cfg) if key.startswith("MODEL.") and value != defaults.get(key)}
    return LazyCall(yacs_backbone)(settings={k: v for k, v in changed.items() if not k.startswith("MODEL.DAB_DETR")})


def yacs_backbone(*, settings: Mapping) -> Backbone:
    """Any backbone in Detectron2's registry.

    settings: keys of a yacs config with their values, {"MODEL.BACKBONE.NAME": ..., "MODEL.RESNETS.DEPTH": ...}.
    """
    cfg = yacs_defaults()
    cfg.set_new_allowed(True)
    plain = OmegaConf.to_container(settings) if isinstance(settings, DictConfig) else settings
    cfg.merge_from_other_cfg(CfgNode(nested(plain)))
    return build_backbone(cfg)


def values_of(cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    """(dotted key, value) of every setting in a yacs config."""
    for name, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from values_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def nested(values: Mapping[str, object]) -> dict:
    """{"A": {"B": value}} for {"A.B": value}."""
    result = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        inner = result
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return result


def set_channels(model: DictConfig) -> None:
    """Tell the neck how many channels the feature maps have. The model itself complains of a map that is missing."""
    with torch.device("meta"):  # only the shapes are asked for
        shapes = instantiate(model.backbone).output_shape()
    neck = model.neck
    if "feature" in neck:
        if neck.feature in shapes:
            neck.in_channels = shapes[neck.feature].channels
    else:
        neck.in_channels.update({name: shapes[name].channels for name in neck.in_channels if name in shapes})
