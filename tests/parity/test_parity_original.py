"""DAB-DETR computes what the original computes: the golden cases, and for the options they leave out a second,
plain implementation that is held to the golden cases itself."""

import pytest
import torch

from dab_detr.checkpoint import original
from golden_cases import CASES, GoldenCase, load_case, load_original, make_weights, small_model
from reference import Reference

TOLERANCE = 2e-5
DIM = 256
# options of the original without a golden case, and what each changes in its state dict: new shapes, None for "gone"
MLP = {f"layers.{i}.{p}": ([DIM, DIM] if p == "weight" else [DIM]) for i in range(3) for p in ("weight", "bias")}
BOX_HEAD = MLP | {"layers.2.weight": [4, DIM], "layers.2.bias": [4]}
FURTHER = {
    "points": (
        {"query_dim": 2},
        {"refpoint_embed.weight": [12, 2], "transformer.decoder.ref_point_head.layers.0.weight": [DIM, DIM]}
        | {f"transformer.decoder.ref_anchor_head.layers.{i}.{p}": None for i in (0, 1) for p in ("weight", "bias")},
    ),
    "fix_elewise": (
        {"query_scale_type": "fix_elewise"},
        {"transformer.decoder.query_scale.weight": [3, DIM]}
        | {f"transformer.decoder.query_scale.layers.{i}.{p}": None for i in (0, 1) for p in ("weight", "bias")},
    ),
    "keep_query_pos": (
        {"keep_query_pos": True},
        {f"transformer.decoder.layers.{i}.ca_qpos_proj.weight": [DIM, DIM] for i in (1, 2)}
        | {f"transformer.decoder.layers.{i}.ca_qpos_proj.bias": [DIM] for i in (1, 2)},
    ),
    "per_layer_heads": (
        {"bbox_embed_diff_each_layer": True},
        {f"{where}bbox_embed.{key}": None for where in ("", "transformer.decoder.") for key in MLP}
        | {f"bbox_embed.{i}.{key}": shape for i in range(3) for key, shape in BOX_HEAD.items()},
    ),
    "relu": (
        {"activation": "relu"},
        {f"transformer.{x}.layers.{i}.activation.weight": None for x in ("encoder", "decoder") for i in range(3)},
    ),
}


@pytest.fixture(params=CASES)
def golden(request) -> GoldenCase:
    return load_case(request.param)


def original_state(name: str) -> tuple[dict, dict]:
    """Options and state dict of the original for one of FURTHER."""
    options, changes = FURTHER[name]
    shapes = {key: entry["shape"] for key, entry in load_case("base").meta["params"].items()}
    shapes = {key: shape for key, shape in (shapes | changes).items() if shape is not None}
    weights = make_weights(shapes)
    tied = {key: entry["tied"] for key, entry in load_case("base").meta["params"].items() if "tied" in entry}
    return options, weights | {
        key: weights[other] for key, other in tied.items() if key in weights and other in weights
    }


def worst(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a - b).abs().max().item()


def run(model, case: GoldenCase) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        prediction = model.detect({"res5": case.tensor("src")}, case.tensor("mask"))
    return prediction.logits, prediction.boxes


def test_forward_losses_and_gradients(golden):
    model = small_model(golden.meta["options"])
    load_original(model, golden.state)
    src = golden.tensor("src").requires_grad_()
    prediction = model.detect({"res5": src}, golden.tensor("mask"))
    assert worst(prediction.logits, golden.tensor("logits")) < TOLERANCE
    assert worst(prediction.boxes, golden.tensor("boxes")) < TOLERANCE

    losses = model.criterion(prediction, golden.targets)
    expected = {key[2:]: float(value) for key, value in golden.arrays.items() if key.startswith("L_")}
    for name, loss in losses.items():
        weight = model.criterion.weights[name.rstrip("_012")]
        assert loss.item() / weight == pytest.approx(expected[name], rel=1e-4), name
    total = sum(losses.values())
    assert total.item() == pytest.approx(float(golden.arrays["total"]), rel=1e-4)

    total.backward()
    torch.testing.assert_close(src.grad, golden.tensor("grad_src"), rtol=1e-4, atol=1e-6)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    refined = golden.meta["options"].get("iter_update", True)
    gradients, _ = original.table_of_ours(gradients, refined=refined).to_theirs(gradients)
    for name, norm in golden.meta["grad_norms"].items():
        assert gradients[name].norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6), name


def test_matches(golden):
    model = small_model(golden.meta["options"])
    load_original(model, golden.state)
    with torch.no_grad():
        prediction = model.detect({"res5": golden.tensor("src")}, golden.tensor("mask"))
        matches = model.criterion.matcher(prediction, golden.targets)
    layer, image, query = matches.query
    first = 0
    for i in range(2):
        here = (layer == 2) & (image == i)
        pairs = dict(zip(query[here].tolist(), (matches.object[here] - first).tolist(), strict=True))
        expected = zip(golden.arrays[f"match_q{i}"].tolist(), golden.arrays[f"match_t{i}"].tolist(), strict=True)
        assert pairs == dict(expected)
        first += len(golden.arrays[f"labels{i}"])


def test_the_plain_reference_equals_the_original(golden):
    with torch.no_grad():
        logits, boxes = Reference(golden.state, **golden.meta["options"])(golden.tensor("src"), golden.tensor("mask"))
    assert worst(logits, golden.tensor("logits")) < TOLERANCE
    assert worst(boxes, golden.tensor("boxes")) < TOLERANCE


@pytest.mark.parametrize("name", FURTHER)
def test_options_without_a_golden_case(name):
    """Keys and shapes convert strictly, the output equals the plain reference's, and the option changes it."""
    case = load_case("base")
    options, state = original_state(name)
    model = small_model(options)
    load_original(model, state)
    logits, boxes = run(model, case)
    with torch.no_grad():
        expected = Reference(state, **options)(case.tensor("src"), case.tensor("mask"))
    assert worst(logits, expected[0]) < TOLERANCE
    assert worst(boxes, expected[1]) < TOLERANCE
    assert worst(logits, case.tensor("logits")) > 100 * TOLERANCE


def test_temperature_of_the_anchors():
    """The paper's 20 instead of the released checkpoints' 10000."""
    case = load_case("base")
    model = small_model()
    model.decoder.prior.temperature = 20.0
    load_original(model, case.state)
    with torch.no_grad():
        logits, boxes = Reference(case.state, anchor_temperature=20)(case.tensor("src"), case.tensor("mask"))
    ours = run(model, case)
    assert worst(ours[0], logits) < TOLERANCE
    assert worst(ours[1], boxes) < TOLERANCE
    assert worst(ours[0], case.tensor("logits")) > 100 * TOLERANCE


def test_every_weight_counts():
    """Scaled by 0.9, each tensor moves the output out of tolerance, but for those that cannot: biases of keys, which
    softmax does not see, and what layer 0's self-attention does with content that is zero for all queries alike."""
    case = load_case("base")
    model = small_model()
    load_original(model, case.state)
    blind = []
    for name, parameter in model.named_parameters():
        if name.startswith("backbone."):
            continue
        plain = parameter.data.clone()
        parameter.data.mul_(0.9)
        logits, boxes = run(model, case)
        if worst(logits, case.tensor("logits")) < TOLERANCE and worst(boxes, case.tensor("boxes")) < TOLERANCE:
            blind.append(name)
        parameter.data.copy_(plain)
    first = "decoder.layers.0.self_attention"
    expected = {f"encoder.layers.{i}.attention.key.bias" for i in range(2)}
    for i in range(3):
        expected |= {f"decoder.layers.{i}.self_attention.{key}.bias" for key in ("key", "key_position")}
        expected |= {f"decoder.layers.{i}.cross_attention.{key}.bias" for key in ("key", "key_position")}
    expected |= {
        f"{first}.{x}.{p}" for x in ("query", "key", "query_position", "key_position") for p in ("weight", "bias")
    }
    expected |= {f"{first}.value.weight"}
    assert set(blind) == expected
