"""The experiments: one row is a member of the family or an override of DAB-DETR."""

from .row import (
    ADDITION,
    BASE,
    CONVERGENCE,
    START,
    SWEEP,
    WHY,
    Row,
    ablation,
    addition,
    detr,
    member,
    temperature,
)
from .starts import HUGE, TINY

BOTH_HEADS = "[rcnn,atss]"
LONG = "DETR, four times the steps"
UNLEARNED = "DAB-DETR's anchors start with random sizes, which it has to unlearn first."
MEMBERS = [
    Row(BASE, "DAB-DETR", CONVERGENCE, "DAB-DETR", photographs="photographs/dab_detr", core=True, attention=True),
    member("detr", "DETR", core=True, attention=True, claim=-1, source="Figure 3 and Table 2 of DAB-DETR"),
    detr("detr_long", LONG, question=CONVERGENCE, member=LONG, steps=4.0, core=True, base=BASE),
    member(
        "conditional_detr",
        "Conditional DETR",
        photographs="photographs/conditional_detr",
        core=True,
        attention=True,
        claim=-1,
        source="Table 2 of DAB-DETR",
        guess=UNLEARNED,
    ),
    member("anchor_detr", "Anchor DETR", core=True),  # 0.1 less in Table 2
    member(
        "deformable_detr",
        "Deformable DETR",
        several_maps=True,
        core=True,
        base="dab_deformable_detr",
        claim=-1,
        source="Table 5 of DAB-DETR",
    ),
]
RATES = [
    detr(f"detr_lr_{rate}", f"learning rate {rate}", question=SWEEP, overrides=(f"optimizer.lr={rate}",))
    for rate in ("1e-4", "2e-4", "3e-4", "1e-3", "2e-3")
]
ABLATIONS = [
    ablation(
        "no_update",
        "no anchor update",
        "model.decoder.refinement._target_=dab_detr.FixedAnchors",
        core=True,
        claim=-1,
        source="Table 3 of DAB-DETR",
    ),
    ablation(
        "no_modulation",
        "no width and height modulation",
        "model.decoder.prior.modulate=False",
        core=True,
        claim=-1,
        source="Table 3 of DAB-DETR",
    ),
    ablation(
        "points",
        "points instead of boxes, no modulation",
        "model.queries.anchor_dim=2",
        core=True,
        base="no_modulation",
        claim=-1,
        source="Table 3 of DAB-DETR",
        guess=UNLEARNED,
    ),
    temperature(20, base=BASE),
    temperature(2, claim=-1, source="Table 6 of DAB-DETR"),
    temperature(10),  # 0.1 less in Table 6
    temperature(40),
    temperature(10000, claim=-1, source="Table 6 of DAB-DETR"),
    ablation("heads_of_layers", "a box head for each layer", "model.decoder.box_heads.shared=False"),
    ablation(
        "detached",
        "each layer's loss trains the boxes of that layer alone",
        "model.decoder.refinement._target_=dab_detr.modeling.transformer.DetachedAnchors",
    ),
    ablation(
        "fixed_centers",
        "fixed anchor centers",
        "model.queries.fixed_xy=True",
        claim=1,
        source="Table 8 of DAB-DETR",
        guess="in the original code, the line that fixes the centers has no effect, so its gain may come from centers "
        "that start uniformly, as DAB-DETR's own do here.",
    ),
    ablation("patterns", "three patterns", "model.queries.num_patterns=3", claim=1, source="Table 2 of DAB-DETR"),
    ablation("queries_10", "10 queries", "model.queries.num_queries=10"),
    ablation("queries_40", "40 queries", "model.queries.num_queries=40"),
    ablation(
        "layers_2",
        "2 decoder layers",
        "model.decoder.layers.num_layers=2",
        claim=-1,
        source="Table 7 of DAB-DETR",
        guess="a smaller model learns sooner.",
    ),
    ablation(
        "layers_6",
        "6 decoder layers",
        "model.decoder.layers.num_layers=6",
        coco="",  # its own number
        claim=1,
        source="Table 7 of DAB-DETR",
    ),
]
REASONS = [
    detr(
        "detr_trained_queries",
        "the queries of a trained DETR, fixed",
        question=WHY,
        queries_of="detr_long",
        # their gradient still counts in the norm that is clipped
        overrides=("+optimizer.params.lr_factors.queries=0.0",),
    ),
    Row(
        "detr_sine",
        "positions are sine encodings of anchors",
        WHY,
        small="shapes/detr_sine",
        coco="",
        base="detr",
        attention=True,
        claim=1,
        source="Figure 3 of DAB-DETR",
    ),
]
ADDITIONS = [
    addition(
        "dn_dab_detr",
        "DN-DAB-DETR",
        "with denoising",
        photographs="photographs/dn_dab_detr",
        core=True,
        source="Table 1 of DN-DETR",
    ),
    addition(
        "dab_deformable_detr",
        "DAB-Deformable-DETR",
        "with deformable attention on several maps",
        several_maps=True,
        photographs="photographs/dab_deformable_detr",
        core=True,
        source="Tables 2 and 5 of DAB-DETR",
    ),
    addition(
        "dn_dab_deformable_detr",
        "DN-DAB-Deformable-DETR",
        "with both",
        several_maps=True,
        core=True,
        source="README of DN-DETR",
    ),
    Row("two_stage", "in two stages", ADDITION, small="shapes/dab_detr_two_stage", coco=""),
    *(
        ablation(
            name,
            label,
            f"model.collaboration.heads={heads}",
            question=ADDITION,
            member=full_name,
            base=base,
            coco="co_dab_detr_r50_36ep",
            claim=1,
            source="Table 2 of Co-DETR",
        )
        for name, full_name, label, heads, base in (
            ("co_dab_detr", "Co-DAB-DETR", "with an ATSS head", "[atss]", BASE),
            (
                "co_dab_detr_2",
                "Co-DAB-DETR with two heads",
                "with an ATSS and a Faster R-CNN head",
                BOTH_HEADS,
                "co_dab_detr",
            ),
        )
    ),
    addition("efficient_detr", "Efficient DETR", several_maps=True, claim=0, coco="efficient_detr_r50_36ep"),
    addition("dino", "DINO", several_maps=True, coco="dino_r50_4scale_12ep", core=True, source="Table 1 of DINO"),
    addition(
        "dino",
        "Co-DINO",
        name="co_dino",
        several_maps=True,
        coco="co_dino_r50_5scale_12ep",
        overrides=(f"model.collaboration.heads={BOTH_HEADS}",),
        base="dino",
        source="Table 2 of Co-DETR",
    ),
]
STARTS = [
    ablation(
        "start_normal",
        "anchors start as N(0, 1) logits",
        "model.queries.uniform_xy=False",
        question=START,
        coco="",  # its own start
    ),
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
        photographs="photographs/dab_detr",
    ),
]
ROWS = {row.name: row for row in [*MEMBERS, *RATES, *ABLATIONS, *REASONS, *ADDITIONS, *STARTS]}
