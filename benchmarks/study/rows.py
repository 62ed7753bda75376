"""The experiments: one row is a member of the family or an override of DAB-DETR."""

from dataclasses import dataclass

from .lite0 import LITE0
from .starts import HUGE, TINY

BASE = "dab_detr"
BOTH_HEADS = "[rcnn,atss]"
CONVERGENCE, ABLATION, WHY, ADDITION, START = "convergence", "ablation", "why", "addition", "start"


@dataclass(frozen=True)
class Row:
    """An experiment.

    question: the part of the page that it belongs to.
    small, coco, photographs: its config for the generated shapes, for COCO and for a dataset of photographs, below
        `configs/`; "" for none.
    overrides: overrides of the model, on top of the config.
    steps: its budget as a multiple of the preset's.
    core: whether it is a core row, which has more seeds.
    base: the row that it is compared with.
    attention: whether its attention is measured over the training, which must be to all cells of one map.
    start: the start of its queries, see `starts`; "" for the config's own.
    queries_of: the row whose trained queries it starts from instead; "" for none. A row with another start has no
        config for COCO, because there a training starts from a backbone's weights.
    claim: the sign of the difference in AP to `base` that the papers report: 1, -1, or 0 for none.
    source: the place of the claim.
    """

    name: str
    label: str
    question: str
    small: str = "shapes/dab_detr"
    coco: str = "dab_detr_r50_50ep"
    photographs: str = ""
    overrides: tuple[str, ...] = ()
    steps: float = 1.0
    core: bool = False
    base: str = BASE
    attention: bool = False
    start: str = ""
    queries_of: str = ""
    claim: int = 0
    source: str = ""


def member(config: str, label: str, *, name: str = "", question: str = CONVERGENCE, **options) -> Row:
    """A row of one of the configs in configs/shapes, by default under the config's name."""
    coco = options.pop("coco", f"{config}_r50_50ep")
    return Row(name or config, label, question, small=f"shapes/{config}", coco=coco, **options)


def ablation(name: str, label: str, *overrides: str, **options) -> Row:
    """A row of DAB-DETR with overrides."""
    return Row(name, label, options.pop("question", ABLATION), overrides=overrides, **options)


def map_temperature(value: int, *, claim: int = 0) -> Row:
    """A row of DAB-DETR with this temperature of the position map and of the anchors, instead of 20."""
    names = ("neck.position.temperature_x", "neck.position.temperature_y", "decoder.prior.temperature")
    overrides = [f"model.{name}={value}" for name in names]
    source = "Table 6" if claim else ""
    return ablation(f"temperature_{value}", f"temperature {value}", *overrides, core=True, claim=claim, source=source)


MEMBERS = [
    Row(BASE, "DAB-DETR", CONVERGENCE, photographs="photographs/dab_detr", core=True, attention=True),
    member("detr", "DETR", core=True, attention=True, claim=-1, source="Figure 1 and Table 2 of DAB-DETR"),
    member(
        "conditional_detr",
        "Conditional DETR",
        photographs="photographs/conditional_detr",
        core=True,
        attention=True,
        claim=-1,
        source="Table 2 of DAB-DETR",
    ),
    member("anchor_detr", "Anchor DETR", core=True, claim=-1, source="Table 2 of DAB-DETR"),
    member("deformable_detr", "Deformable DETR", core=True),
    member("detr", "DETR, four times the steps", name="detr_long", steps=4.0, core=True),
]
SWEEP = [
    member("detr", f"DETR, learning rate {lr}", name=f"detr_lr_{lr}", overrides=(f"optimizer.lr={lr}",))
    for lr in ("1e-4", "2e-4", "3e-4")
]
ABLATIONS = [
    ablation(
        "no_update",
        "no anchor update",
        "model.decoder.refinement._target_=dab_detr.FixedAnchors",
        core=True,
        claim=-1,
        source="Table 3",
    ),
    ablation(
        "no_modulation",
        "no width and height modulation",
        "model.decoder.prior.modulate=False",
        core=True,
        claim=-1,
        source="Table 3",
    ),
    ablation("points", "points instead of boxes", "model.queries.anchor_dim=2", core=True, claim=-1, source="Table 3"),
    map_temperature(2, claim=-1),
    map_temperature(10),  # 0.1 less in Table 6
    map_temperature(40),
    map_temperature(10000, claim=-1),
    ablation("heads_of_layers", "a box head for each layer", "model.decoder.box_heads.shared=False"),
    ablation("fixed_centers", "fixed anchor centers", "model.queries.fixed_xy=True", claim=1, source="Table 8"),
    ablation("patterns", "three patterns", "model.queries.num_patterns=3", claim=1, source="Table 2"),
    ablation("queries_10", "10 queries", "model.queries.num_queries=10"),
    ablation("queries_40", "40 queries", "model.queries.num_queries=40"),
    ablation("layers_2", "2 decoder layers", "model.decoder.layers.num_layers=2", claim=-1, source="Table 7"),
    ablation("layers_6", "6 decoder layers", "model.decoder.layers.num_layers=6", claim=1, source="Table 7"),
]
REASONS = [
    member(
        "detr",
        "the queries of a trained DETR, fixed",
        name="detr_trained_queries",
        question=WHY,
        coco="",
        base="detr",
        queries_of="detr_long",
        # their gradient still counts in the norm that is clipped
        overrides=("+optimizer.params.lr_factors.queries=0.0",),
    ),
    Row(
        "detr_sine", "positions are sine encodings of anchors", WHY, "shapes/detr_sine", "", base="detr", attention=True
    ),
]
ADDITIONS = [
    member(
        "dn_dab_detr",
        "with denoising",
        photographs="photographs/dn_dab_detr",
        question=ADDITION,
        core=True,
        claim=1,
        source="Table 1 of DN-DETR",
    ),
    member(
        "dab_deformable_detr",
        "with deformable attention",
        photographs="photographs/dab_deformable_detr",
        question=ADDITION,
        core=True,
        claim=1,
        source="Table 2 of DN-DETR",
    ),
    member("dn_dab_deformable_detr", "with both", question=ADDITION, core=True, claim=1, source="Table 2 of DN-DETR"),
    Row("two_stage", "in two stages", ADDITION, "shapes/dab_detr_two_stage", ""),
    *(
        ablation(
            name,
            label,
            f"model.collaboration.heads={heads}",
            question=ADDITION,
            coco="co_dab_detr_r50_36ep",
            claim=1,
            source="Table 2 of Co-DETR",
        )
        for name, label, heads in (
            ("co_dab_detr", "with an ATSS head", "[atss]"),
            ("co_dab_detr_2", "with an ATSS and a Faster R-CNN head", BOTH_HEADS),
        )
    ),
    Row("efficient_detr", "Efficient DETR", ADDITION, "shapes/efficient_detr", "efficient_detr_r50_36ep"),
    Row("dino", "DINO", ADDITION, "shapes/dino", "dino_r50_4scale_12ep", core=True, claim=1, source="Table 1 of DINO"),
    Row(
        "co_dino",
        "Co-DINO",
        ADDITION,
        "shapes/dino",
        "co_dino_r50_5scale_12ep",
        overrides=(f"model.collaboration.heads={BOTH_HEADS}",),
        claim=1,
        source="Table 2 of Co-DETR",
    ),
]
STARTS = [
    ablation("start_normal", "anchors start as N(0, 1) logits", "model.queries.uniform_xy=False", question=START),
    *(
        ablation(f"start_{start}", label, question=START, start=start, coco="")
        for start, label in (
            ("tiny", f"all anchors start with sides of {TINY}"),
            ("huge", f"all anchors start with sides of {HUGE}"),
        )
    ),
    ablation(
        "start_clusters",
        "anchors start as the k-means of the training data's boxes",
        "model.queries.from_boxes=True",
        question=START,
        core=True,
        photographs="photographs/dab_detr",
    ),
]
ROWS = {row.name: row for row in [*MEMBERS, *SWEEP, *ABLATIONS, *REASONS, *ADDITIONS, *STARTS]}


@dataclass(frozen=True)
class Preset:
    """A size of the study.

    configs: "small", "coco" or "photographs", the config that it takes from a row.
    steps: the budget of a row; None for the config's own.
    evaluations: the number of evaluations in a run.
    seeds, core_seeds: the number of seeds of a row and of a core row.
    overrides: overrides of every run.
    backbone: the source of the backbone that every run starts from: a config to train first, below `configs/`, or
        `LITE0`; "" for the weights that a config names.
    """

    configs: str = "small"
    steps: int | None = 500
    evaluations: int = 5
    seeds: int = 1
    core_seeds: int = 3
    overrides: tuple[str, ...] = ()
    backbone: str = ""

    def seeds_of(self, row: Row) -> int:
        """The number of seeds that a row is run with."""
        return self.core_seeds if row.core else self.seeds


ON_CPU = ("train.device=cpu",)
PRESETS = {
    "probe": Preset(steps=200, core_seeds=1, overrides=ON_CPU, backbone="shapes/dab_detr"),
    "cpu": Preset(overrides=ON_CPU, backbone="shapes/dab_detr"),
    "gpu": Preset(steps=14000, evaluations=20, seeds=3, core_seeds=5),
    "photographs": Preset(configs="photographs", steps=2000, evaluations=10, seeds=3, overrides=ON_CPU, backbone=LITE0),
    "coco": Preset(configs="coco", steps=None, core_seeds=1),
}
