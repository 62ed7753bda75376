"""DETR, Conditional DETR and Deformable DETR (plain, refined, two-stage) compute what transformers' models compute.

Their auxiliary outputs stay off: with them on, their DETR and Conditional DETR feed each layer the normalized output
of the one before, which the originals do not. Losses are compared before weighting, for theirs weigh otherwise; their
two-stage model has no loss for the encoder. Their refined model has one class head under all names.
"""

import pytest
import torch
import transformers
from detectron2.config import instantiate
from detectron2.structures import ImageList

from dab_detr.checkpoint.blocks import mlp, torchvision_resnet
from dab_detr.checkpoint.rename import RenameTable, Rule
from dab_detr.detector import padding_of
from dab_detr.modeling.structures import Target
from dab_detr.models import conditional_detr, deformable_detr, detr
from golden_cases import make_weight

TOLERANCE = 2e-5
CHANNELS = {"res3": 128, "res4": 256, "res5": 512}


def attention(theirs: str, ours: str, names: dict[str, str]):
    for name, projection in names.items():
        yield Rule(f"{theirs}.{name}.{{p}}", f"{ours}.{projection}.{{p}}")


PLAIN = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "out"}
CONDITIONAL = {
    "q_content_proj": "query",
    "q_pos_proj": "query_position",
    "k_content_proj": "key",
    "k_pos_proj": "key_position",
    "v_proj": "value",
    "q_pos_sine_proj": "query_spatial",
    "o_proj": "out",
}
DEFORMABLE = {
    "sampling_offsets": "offsets",
    "attention_weights": "weights",
    "value_proj": "value",
    "output_proj": "out",
}


def layers(encoder: dict, self_attention: dict, cross_attention: dict):
    for part, norms in (("encoder", 2), ("decoder", 3)):
        theirs, ours = f"model.{part}.layers.{{i}}", f"{part}.layers.{{i}}"
        for i in (1, 2):
            yield Rule(f"{theirs}.mlp.fc{i}.{{p}}", f"{ours}.ffn.linear{i}.{{p}}")
        yield Rule(f"{theirs}.self_attn_layer_norm.{{p}}", f"{ours}.norm1.{{p}}")
        yield Rule(f"{theirs}.final_layer_norm.{{p}}", f"{ours}.norm{norms}.{{p}}")
    yield Rule("model.decoder.layers.{i}.encoder_attn_layer_norm.{p}", "decoder.layers.{i}.norm2.{p}")
    yield from attention("model.encoder.layers.{i}.self_attn", "encoder.layers.{i}.attention", encoder)
    yield from attention("model.decoder.layers.{i}.self_attn", "decoder.layers.{i}.self_attention", self_attention)
    yield from attention("model.decoder.layers.{i}.encoder_attn", "decoder.layers.{i}.cross_attention", cross_attention)


def single_scale(self_attention: dict, cross_attention: dict):
    yield from torchvision_resnet("model.backbone.model.", "backbone.")
    yield from layers(PLAIN, self_attention, cross_attention)
    yield Rule("model.query_position_embeddings.weight", "queries.embed")
    yield Rule("model.input_projection.{p}", "neck.projection.{p}")
    yield Rule("model.decoder.layernorm.{p}", "decoder.norm.{p}")
    yield Rule("class_labels_classifier.{p}", "decoder.class_heads.0.{p}")
    yield from mlp("bbox_predictor", "decoder.box_heads.0", 3)


def multi_scale(num_layers: int, refine: bool, two_stage: bool):
    yield from torchvision_resnet("model.backbone.model.", "backbone.")
    yield from layers(DEFORMABLE, PLAIN, DEFORMABLE)
    yield Rule("model.level_embed", "neck.level_embed")
    yield Rule("model.input_proj.{i}.{j}.{p}", "neck.projections.{i}.{j}.{p}")
    yield Rule("model.query_position_embeddings.weight", ("queries.embed", "queries.content"), axis=1)
    yield Rule("model.reference_points.{p}", "queries.point_head.0.{p}")
    for theirs, ours in {"enc_output": "transform", "enc_output_norm": "norm"}.items():
        yield Rule(f"model.{theirs}.{{p}}", f"queries.{ours}.{{p}}")
    for theirs, ours in {"pos_trans": "encode", "pos_trans_norm": "encode_norm"}.items():
        yield Rule(f"model.{theirs}.{{p}}", f"queries.{ours}.{{p}}")
    for i in range(num_layers + two_stage if refine else 1):
        own = ("decoder.class_heads.{}", "decoder.box_heads.{}")
        classes, boxes = (x.format(i) for x in own) if i < num_layers else ("queries.class_head", "queries.box_head")
        same = [] if refine else range(1, num_layers)
        twice = ["model.decoder."] if two_stage else []
        copies = [f"{p}class_embed.{j}.{{p}}" for p in ("", *twice) for j in (i, *same)][1:]
        yield Rule(f"class_embed.{i}.{{p}}", f"{classes}.{{p}}", copies=tuple(copies))
        twice = ["model.decoder."] if refine else []
        copies = [f"{p}bbox_embed.{j}" for p in ("", *twice) for j in (i, *same)][1:]
        yield from mlp(f"bbox_embed.{i}", boxes, 3, copies=copies)


def make_theirs(kind: str, stages: list[int], **options) -> torch.nn.Module:
    backbone = transformers.TimmBackboneConfig(
        backbone="resnet18", use_pretrained_backbone=False, out_indices=stages, features_only=True
    )
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=backbone,
        encoder_layers=2,
        decoder_layers=3,
        num_labels=7,
        num_queries=20,
        auxiliary_loss=False,
        **options,
    )
    return getattr(transformers, f"{kind}ForObjectDetection")(config).eval()


def shrink(model, multi: bool):
    model.backbone.depth = 18
    model.neck.in_channels = CHANNELS if multi else 512
    model.num_classes, model.queries.num_queries = 7, 20
    model.encoder.num_layers, model.decoder.layers.num_layers = 2, 3
    return model


MEMBERS = {
    "detr": lambda: (
        shrink(detr(), False),
        make_theirs("Detr", [4]),
        RenameTable(single_scale(PLAIN, PLAIN)),
    ),
    "conditional": lambda: (
        shrink(conditional_detr(), False),
        make_theirs("ConditionalDetr", [4]),
        RenameTable(
            [
                *single_scale(CONDITIONAL, CONDITIONAL),
                *mlp("model.decoder.query_scale", "decoder.prior.scale.mlp", 2),
                *mlp("model.decoder.ref_point_head", "queries.point_head", 2),
            ]
        ),
    ),
    "deformable": lambda: (
        shrink(deformable_detr(), True),
        make_theirs("DeformableDetr", [2, 3, 4], class_cost=2),
        RenameTable(multi_scale(3, refine=False, two_stage=False)),
    ),
    "refined": lambda: (
        shrink(deformable_detr(refine=True), True),
        make_theirs("DeformableDetr", [2, 3, 4], class_cost=2, with_box_refine=True),
        RenameTable(multi_scale(3, refine=True, two_stage=False)),
    ),
    "two_stage": lambda: (
        shrink(deformable_detr(two_stage=True), True),
        make_theirs(
            "DeformableDetr", [2, 3, 4], class_cost=2, with_box_refine=True, two_stage=True, two_stage_num_proposals=20
        ),
        RenameTable(multi_scale(3, refine=True, two_stage=True)),
    ),
}


@pytest.fixture(scope="module", params=MEMBERS)
def member(request):
    """Our model with weights by the golden rule, and theirs with the same."""
    config, theirs, table = MEMBERS[request.param]()
    ours = instantiate(config).eval()
    state = {}
    for name, value in ours.state_dict().items():
        unit = name in ("queries.embed", "queries.content")  # as the rule has it for anchors
        weight = torch.from_numpy(make_weight("refpoint_embed.weight" if unit else name, value.shape))
        state[name] = 1 + weight if name.endswith("running_var") else weight
        if request.param == "refined" and ".class_heads." in name:
            state[name] = state[name.replace(".class_heads." + name.split(".")[2], ".class_heads.0")]
    ours.load_state_dict(state)
    converted, unknown = table.to_theirs(state)
    assert not unknown
    missing, unexpected = theirs.load_state_dict(converted, strict=False)
    assert all(name.endswith("num_batches_tracked") for name in missing)
    assert not unexpected
    return request.param, ours, theirs


@pytest.fixture(scope="module")
def images() -> ImageList:
    generator = torch.Generator().manual_seed(0)
    return ImageList.from_tensors([torch.randn(s, generator=generator) for s in ((3, 200, 260), (3, 165, 227))])


def targets() -> list[Target]:
    generator = torch.Generator().manual_seed(1)
    boxes = [torch.rand(n, 4, generator=generator) * 0.4 + 0.2 for n in (4, 2)]
    return [Target(torch.arange(len(x)) % 7, x) for x in boxes]


@torch.no_grad()
def test_forward_of_a_padded_batch_and_losses(member, images):
    name, ours, theirs = member
    padding = padding_of(images)
    prediction = ours.detect(ours.backbone(images.tensor), padding)
    labels = [{"class_labels": target.labels, "boxes": target.boxes} for target in targets()]
    expected = theirs(images.tensor, pixel_mask=(~padding).long(), labels=labels)
    assert (expected.pred_boxes[:, :, None] - expected.pred_boxes[:, None]).abs().amax() > 200 * TOLERANCE, (
        "queries collapsed"
    )
    assert (prediction.logits[-1] - expected.logits).abs().max() < TOLERANCE
    assert (prediction.boxes[-1] - expected.pred_boxes).abs().max() < TOLERANCE
    if name == "two_stage":
        assert (prediction.proposals.logits[0] - expected.enc_outputs_class).abs().max() < TOLERANCE
        boxes = expected.enc_outputs_coord_logits.sigmoid()
        assert (prediction.proposals.boxes[0] - boxes).abs().max() < TOLERANCE

    ours.criterion.auxiliary = False
    losses = ours.criterion(prediction, targets())
    for kind in ("loss_ce", "loss_bbox", "loss_giou"):
        loss = losses[kind] / ours.criterion.weights[kind]
        assert loss.item() == pytest.approx(expected.loss_dict[kind].item(), rel=1e-4), kind


@torch.no_grad()
def test_a_scaled_weight_is_noticed(member, images):
    _, ours, theirs = member
    weight = ours.decoder.layers[1].cross_attention.value.weight
    plain = weight.clone()
    weight.mul_(0.9)
    prediction = ours.detect(ours.backbone(images.tensor), padding_of(images))
    weight.copy_(plain)
    expected = theirs(images.tensor, pixel_mask=(~padding_of(images)).long())
    assert (prediction.logits[-1] - expected.logits).abs().max() > 10 * TOLERANCE
