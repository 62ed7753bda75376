"""The keys of a yacs config, and the keys of the nodes that they set."""

from collections.abc import Iterator, Mapping

from detectron2.config import CfgNode, defaults, get_cfg

# If a yacs key is None, its nodes keep their own values.
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
# Keys with only one value that works; any other value is refused.
FIXED_KEYS = {
    "INPUT.CROP.TYPE": "absolute_range",
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "norm",
    "SOLVER.WARMUP_METHOD": "linear",
    "DATALOADER.SAMPLER_TRAIN": "TrainingSampler",
}


def paths_of(key: str) -> list[str]:
    """The keys of the nodes that a yacs key sets."""
    return OTHER_KEYS.get(key) or [f"model.{path}" for path in MODEL_KEYS.get(key, ())]


def node_keys() -> dict[str, str]:
    """The yacs key that sets a node's key, by that key."""
    return {path: key for key in (*MODEL_KEYS, *OTHER_KEYS) for path in paths_of(key)}


def yacs_defaults() -> CfgNode:
    """Detectron2's yacs config with the keys of a DAB-DETR."""
    cfg = get_cfg()
    add_dab_detr_config(cfg)
    return cfg


def add_dab_detr_config(cfg: CfgNode) -> None:
    """Add the keys of DAB-DETR to Detectron2's own. A value of None keeps the model's default."""
    own = [key.rpartition(".")[2] for key in MODEL_KEYS if key.startswith("MODEL.DAB_DETR.")]
    cfg.MODEL.DAB_DETR = CfgNode(dict.fromkeys(own))
    cfg.MODEL.DAB_DETR.NUM_CLASSES = 80
    # the member of the family: one of `models.MODELS`
    cfg.MODEL.DAB_DETR.VARIANT = "dab_detr"
    # for everything else in the model: ["decoder.prior.modulate=False", "criterion.weight_giou=3.0"]
    cfg.MODEL.DAB_DETR.OVERRIDES = []
    # True: tensors in MODEL.WEIGHTS that do not fit start from scratch; otherwise only classes may differ
    cfg.MODEL.DAB_DETR.INIT_PARTIALLY = False
    # for everything else in the training: ["train.ema.enabled=True", "dataloader.evaluator.score_threshold=0.5"]
    cfg.OVERRIDES = []
    # learning rate of the backbone, as a factor of BASE_LR
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1
    # number of micro-batches that each process splits its share of IMS_PER_BATCH into
    cfg.SOLVER.ACCUMULATE = 1
    # experiment trackers, in addition to metrics.json and TensorBoard: "wandb", "mlflow"
    cfg.WRITERS = []
    # lengths of the shorter side before a crop by INPUT.CROP
    cfg.INPUT.CROP.SHORT_SIDE = [400, 500, 600]
    # annotation files in COCO format and their image folders, which replace TRAIN and TEST
    cfg.DATASETS.TRAIN_ANNOTATIONS = ""
    cfg.DATASETS.TRAIN_IMAGES = ""
    cfg.DATASETS.TEST_ANNOTATIONS = ""
    cfg.DATASETS.TEST_IMAGES = ""


def values_of(cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield (dotted key, value) for every setting in a yacs config."""
    for name, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from values_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def nested(values: Mapping[str, object]) -> dict:
    """Nest flat keys: {"A.B": value} becomes {"A": {"B": value}}."""
    result = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        inner = result
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return result


def teach_detectron2() -> None:
    """Add the keys to Detectron2's own defaults, so that `get_cfg()` has them in code that does not know DAB-DETR.

    Tools that take a yaml config and call `get_cfg()` themselves can then read ours.
    """
    add_dab_detr_config(defaults._C)
