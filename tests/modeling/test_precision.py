"""Other precisions than fp32: float64 and 16-bit autocast, end to end."""

import pytest
import torch
from detectron2.config import instantiate

from dab_detr.detector import DABDETR, padding_of
from golden_cases import small_config
from samples import check_trained, golden_model, random_input, train, worst

QUERIES, CLASSES = 12, 7


@pytest.fixture
def model() -> DABDETR:
    return golden_model()


def test_float64_from_end_to_end(model):
    inputs = [random_input(objects=3), random_input(64, 160, objects=2)]
    single = train(model, inputs)
    with torch.no_grad():
        expected = model.eval()(inputs)
    dtypes: set[torch.dtype] = set()
    for module in model.double().modules():
        module.register_forward_hook(lambda module, args, out: dtypes_of(out, dtypes))
    losses = train(model, inputs)
    assert dtypes == {torch.float64}
    assert all(target.boxes.dtype == torch.float64 for target in model.targets(inputs))
    assert all(loss.dtype == torch.float64 for loss in losses.values())
    check_trained(model, losses)
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(single[name].item(), rel=1e-4)
    with torch.no_grad():
        results = model.eval()(inputs)
    for ours, theirs in zip(results, expected, strict=True):
        assert worst(ours["instances"].scores, theirs["instances"].scores.double()) < 1e-4


def dtypes_of(out, found: set[torch.dtype]) -> None:
    """Adds the dtypes of the floating-point tensors in a module's answer."""
    if isinstance(out, torch.Tensor):
        found |= {out.dtype} if out.is_floating_point() else set()
    elif isinstance(out, (tuple, list)):
        for x in out:
            dtypes_of(x, found)
    elif isinstance(out, dict) or hasattr(out, "__dict__"):
        dtypes_of(list((out if isinstance(out, dict) else vars(out)).values()), found)


def test_bf16_autocast_has_finite_outputs_and_fp32_boxes(model):
    inputs = [random_input(objects=3), random_input(64, 160, objects=0)]
    with torch.no_grad():
        exact = model.eval().detect(*features_of(model, inputs))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = train(model, inputs)
        with torch.no_grad():
            prediction = model.eval().detect(*features_of(model, inputs))
            results = model(inputs)
    check_trained(model, losses)
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert prediction.logits.dtype == prediction.boxes.dtype == torch.float32
    assert worst(prediction.boxes, exact.boxes) < 0.1
    for x in results:
        assert len(x["instances"]) == QUERIES * CLASSES
        assert x["instances"].pred_boxes.tensor.dtype == x["instances"].scores.dtype == torch.float32


def features_of(model: DABDETR, inputs: list[dict]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    images = model.preprocess(inputs)
    return model.backbone(images.tensor), padding_of(images)


def test_the_models_precision_is_autocast_for_all_but_the_losses(model):
    inputs = [random_input(objects=3), random_input(64, 160, objects=2)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = model.train().detect(*features_of(model, inputs))
    expected = model.criterion(expected, model.targets(inputs))
    model.precision = "bf16"
    losses = train(model, inputs)
    check_trained(model, losses)
    for name, loss in losses.items():
        assert loss.dtype == torch.float32 and torch.equal(loss, expected[name])
    model.precision = "fp32"
    assert losses["loss_ce"] != train(model, inputs)["loss_ce"]


def test_fp32_leaves_an_autocast_around_the_model_as_it_is(model):
    """Detectron2's AMPTrainer brings one."""
    inputs = [random_input(objects=3)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = train(model, inputs)
    model.precision = "bf16"
    assert torch.equal(losses["loss_ce"], train(model, inputs)["loss_ce"])


def test_unknown_precision_is_refused():
    config = small_config()
    config.precision = "fp16"
    with pytest.raises(ValueError, match=r"model.precision must be one of \['fp32', 'bf16'\], got 'fp16'.*amp.enabled"):
        instantiate(config)
