"""Detectron2's contract: what goes in, what comes out, and that no input of a user's meets an assert."""

import copy
import pickle

import pytest
import torch
from detectron2.config import instantiate
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes

from dab_detr.detector import DABDETR, padding_of
from dab_detr.modeling.structures import Prediction
from golden_cases import small_config, small_model
from samples import LOSSES, check_trained, golden_model, ground_truth, random_boxes, random_input, train, worst

QUERIES, CLASSES = 12, 7


@pytest.fixture
def model() -> DABDETR:
    return golden_model()


def test_is_registered():
    """By a function that builds a DABDETR from a yacs config, see tests/test_config_yacs.py."""
    assert META_ARCH_REGISTRY.get("DABDETR").__name__ == DABDETR.__name__


@pytest.mark.parametrize(
    "inputs",
    [
        [{"objects": 3}, {"height": 64, "width": 160, "objects": 2}],
        [{"objects": 0}, {"objects": 3}],
        [{"objects": 0}, {"objects": 0}],
        [{"objects": 5 * QUERIES}, {"objects": 1}],
        [{"objects": 2, "height": 1, "width": 1}, {"objects": 2, "height": 5, "width": 300}],
    ],
    ids=["plain", "half without objects", "without objects", "more objects than queries", "tiny images"],
)
def test_training_gives_finite_losses_and_gradients_to_all_parameters(model, inputs):
    check_trained(model, train(model, [random_input(**x) for x in inputs]))


@pytest.mark.parametrize("side", [1.0, 0.0])
def test_objects_of_one_pixel_or_none_can_be_trained_on(model, side):
    entry = random_input()
    corner = torch.tensor([[10.0, 20.0], [0.0, 0.0], [127.0, 95.0]])
    entry["instances"] = ground_truth(96, 128, torch.cat([corner, corner + side], 1), torch.tensor([0, 6, 3]))
    check_trained(model, train(model, [entry]))


@pytest.mark.parametrize("dtype", [torch.int32, torch.float16, torch.float64])
def test_numbers_of_other_types(model, dtype):
    entry = random_input(objects=3)
    expected = train(model, [entry])
    entry = copy.deepcopy(entry) | {"image": entry["image"].to(dtype)}
    entry["instances"].gt_classes = entry["instances"].gt_classes.int()
    losses = train(model, [entry])
    assert losses and all(
        loss.item() == pytest.approx(expected[name].item(), rel=1e-4) for name, loss in losses.items()
    )


@pytest.mark.parametrize("objects", [(0, 0), (0, 3), (3, 3)])
def test_end_to_end_cases_of_detectron2(model, objects):
    """200 x 250 beside 200 x 249 as in its test_model_e2e.py: float images, empty and half-empty, then evaluation."""
    inputs = [random_input(200, 250 - i, count, image=torch.rand(3, 200, 250 - i)) for i, count in enumerate(objects)]
    check_trained(model, train(model, inputs))
    results = model.eval()([{"image": x["image"]} for x in inputs])
    assert [x["instances"].image_size for x in results] == [(200, 250), (200, 249)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_images_that_are_not_finite_meet_no_assert(model, bad):
    inputs = [random_input(objects=3), random_input(objects=3)]
    inputs[0]["image"] = torch.full((3, 96, 128), bad)
    losses = train(model, inputs)
    assert set(losses) == LOSSES and not sum(losses.values()).isfinite()
    model.eval()
    with torch.no_grad():
        results = model(inputs)
        alone = model(inputs[1:])
    assert all(x["instances"].pred_boxes.tensor.isfinite().all() for x in results)
    assert all(x["instances"].scores.isfinite().all() for x in results)
    assert len(results[0]["instances"]) == 0
    assert worst(results[1]["instances"].scores, alone[0]["instances"].scores) < 1e-5  # the neighbor is as ever


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_raw_predictions_that_are_not_finite_meet_no_assert(model, bad):
    """As Detectron2's test_inf_nan_data: features of inf or nan, and predictions of which a part is."""
    with torch.no_grad():
        prediction = model.detect({"res5": torch.full((1, 32, 8, 8), bad)}, torch.zeros(1, 256, 256, dtype=torch.bool))
    (result,) = model.postprocess(prediction, [(256, 256)], [{}])
    assert len(result["instances"]) == 0
    prediction = raw(scores=torch.randn(1, QUERIES, CLASSES), boxes=random_boxes(1, QUERIES))
    prediction.boxes[0, 0, 3, 2] = bad
    prediction.logits[0, 0, 5] = float("nan")
    (result,) = model.postprocess(prediction, [(256, 256)], [{}])
    assert len(result["instances"]) == (QUERIES - 2) * CLASSES
    assert result["instances"].pred_boxes.tensor.isfinite().all()


def raw(scores: torch.Tensor, boxes: torch.Tensor) -> Prediction:
    """Of one layer, from logits (B, Q, K) and boxes (B, Q, 4)."""
    return Prediction(scores[None], boxes[None])


def test_inference_answers_in_the_size_that_is_asked_for(model):
    inputs = [random_input(96, 128), random_input(64, 160)]
    model.eval()
    with torch.no_grad():
        own = [x["instances"] for x in model(inputs)]
        asked = model([inputs[0] | {"height": 192, "width": 64}, inputs[1] | {"height": 64, "width": 160}])
    asked = [x["instances"] for x in asked]
    assert [x.image_size for x in own] == [(96, 128), (64, 160)]
    assert [x.image_size for x in asked] == [(192, 64), (64, 160)]
    for instances in own + asked:
        assert set(instances.get_fields()) == {"pred_boxes", "scores", "pred_classes", "query"}
        assert len(instances) == QUERIES * CLASSES
        height, width = instances.image_size
        limits = instances.pred_boxes.tensor.new_tensor([width, height, width, height])
        assert (instances.pred_boxes.tensor >= 0).all() and (instances.pred_boxes.tensor <= limits).all()
    scaled = own[0].pred_boxes.tensor * torch.tensor([0.5, 2, 0.5, 2])
    assert worst(asked[0].pred_boxes.tensor, scaled) < 1e-3
    assert torch.equal(own[0].scores, asked[0].scores)


@pytest.mark.parametrize("num_select", [1, 10, 300])
def test_detections_are_the_best_of_all_queries_and_classes(model, num_select):
    logits, boxes = torch.randn(2, 2, QUERIES, CLASSES), random_boxes(2, 2, QUERIES)
    model.selection.num_select = num_select
    results = model.postprocess(Prediction(logits, boxes), [(50, 80), (60, 60)], [{}, {"height": 30, "width": 90}])
    for image, (width, height) in enumerate([(80, 50), (90, 30)]):
        pairs = [(logits[1, image, q, k].item(), q, k) for q in range(QUERIES) for k in range(CLASSES)]
        pairs = sorted(pairs, reverse=True)[:num_select]
        instances = results[image]["instances"]
        assert instances.pred_classes.tolist() == [k for _, _, k in pairs]
        assert instances.query.tolist() == [q for _, q, _ in pairs] and instances.query.dtype == torch.int64
        torch.testing.assert_close(instances.scores, torch.tensor([score for score, _, _ in pairs]).sigmoid())
        for found, (_, q, _) in zip(instances.pred_boxes.tensor, pairs, strict=True):
            x, y, w, h = boxes[1, image, q]
            expected = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            assert worst(found, expected * torch.tensor([width, height, width, height])) < 1e-4


def test_detections_keep_the_index_of_their_query_where_others_are_dropped(model):
    """Detectron2 drops boxes without an area in the size that is asked for."""
    logits, boxes = torch.randn(1, 1, QUERIES, CLASSES), random_boxes(1, 1, QUERIES)
    boxes[..., ::2, 2] = 0.0
    (result,) = model.postprocess(Prediction(logits, boxes), [(50, 80)], [{"height": 500, "width": 800}])
    found = result["instances"]
    assert len(found) == QUERIES * CLASSES / 2 and (found.query % 2 == 1).all()
    expected = boxes[0, 0, found.query, :2] * torch.tensor([800.0, 500.0])
    assert worst(found.pred_boxes.get_centers(), expected) < 1e-3


def test_targets_are_normalized_by_the_size_of_their_own_image(model):
    inputs = [random_input(100, 200, 1), random_input(50, 40, 1)]
    for entry in inputs:
        entry["instances"].gt_boxes = Boxes(torch.tensor([[10.0, 5, 30, 25]]))
    first, second = model.targets(inputs)
    torch.testing.assert_close(first.boxes, torch.tensor([[0.1, 0.15, 0.1, 0.2]]))
    torch.testing.assert_close(second.boxes, torch.tensor([[0.5, 0.3, 0.5, 0.4]]))
    assert torch.equal(first.labels, inputs[0]["instances"].gt_classes)


def test_images_are_normalized_then_padded_at_the_bottom_and_right(model):
    inputs = [random_input(5, 9), random_input(7, 4)]
    images = model.preprocess(inputs)
    assert images.tensor.shape == (2, 3, 7, 9)
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    padding = padding_of(images)
    for i, entry in enumerate(inputs):
        _, h, w = entry["image"].shape
        expected = torch.zeros(3, 7, 9)
        expected[:, :h, :w] = (entry["image"] - mean[:, None, None]) / std[:, None, None]
        assert worst(images.tensor[i], expected) < 1e-6
        assert not padding[i, :h, :w].any() and padding[i, h:].all() and padding[i, :, w:].all()


def test_images_are_padded_as_the_backbone_needs_it(model, monkeypatch):
    monkeypatch.setattr(type(model.backbone), "size_divisibility", 32)
    images = model.preprocess([{"image": torch.zeros(3, 40, 64)}, {"image": torch.zeros(3, 33, 70)}])
    assert images.tensor.shape == (2, 3, 64, 96)
    assert images.image_sizes == [(40, 64), (33, 70)]


@pytest.mark.parametrize("label", [CLASSES, -1])
def test_a_class_out_of_range_names_the_file_and_the_key(model, label):
    entry = random_input(objects=3, file_name="some/image.jpg")
    entry["instances"].gt_classes[1] = label
    with pytest.raises(ValueError, match=rf"some/image.jpg has objects of class \[{label}\].*model.num_classes is 7"):
        model.train()([entry])


def test_training_without_instances_names_the_file(model):
    with pytest.raises(ValueError, match="training needs 'instances' in every input, but some/image.jpg has none"):
        model.train()([random_input(objects=1), random_input(file_name="some/image.jpg")])
    with pytest.raises(ValueError, match="an input without file_name"):
        model.train()([random_input()])


def test_wrong_channels_of_the_neck_name_the_key():
    config = small_config()
    config.neck.in_channels = 2048
    with pytest.raises(
        ValueError, match=r"'res5' of model.backbone has 32 channels, model.neck.in_channels expects 2048"
    ):
        instantiate(config)


def test_a_feature_that_the_backbone_lacks_names_the_keys():
    config = small_config()
    config.neck.feature = "res4"
    with pytest.raises(ValueError, match=r"model.neck takes 'res4'.*\['res5'\].*set model.backbone.out_features or"):
        instantiate(config)


def test_mean_and_std_move_with_the_model_and_are_no_part_of_a_checkpoint(model):
    assert {"pixel_mean", "pixel_std"} <= {name for name, _ in model.named_buffers()}
    assert not any("pixel" in key or "temperature" in key for key in model.state_dict())
    assert model.double().pixel_std.dtype == model.pixel_mean.dtype == torch.float64
    assert model.to("meta").device == torch.device("meta")


def test_whole_numbers_as_mean_and_std_do():
    config = small_config()
    config.pixel_mean, config.pixel_std = [128, 128, 128], [1, 1, 1]
    assert instantiate(config).pixel_std.dtype == torch.float32


def test_defaults():
    config = small_config()
    del config.input_format
    assert instantiate(config).input_format == "RGB"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_copies_answer_alike(model, copied):
    inputs = [random_input()]
    with torch.no_grad():
        ours, theirs = (x.eval()(inputs)[0]["instances"] for x in (model, copied(model)))
    assert torch.equal(ours.pred_boxes.tensor, theirs.pred_boxes.tensor) and torch.equal(ours.scores, theirs.scores)


@pytest.mark.parametrize("options", [{}, {"num_patterns": 3}, {"query_dim": 2}], ids=str)
def test_state_dict_round_trip(options):
    ours, theirs = small_model(options), small_model(options)
    with torch.no_grad():
        before, after = ours.eval(), theirs.eval()
        inputs = [random_input()]
        assert worst(before(inputs)[0]["instances"].scores, after(inputs)[0]["instances"].scores) > 0
        theirs.load_state_dict(ours.state_dict())
        assert torch.equal(before(inputs)[0]["instances"].scores, after(inputs)[0]["instances"].scores)


def test_fixed_centers_survive_a_step_of_the_whole_model():
    config = small_config()
    config.queries.fixed_xy = True
    model = instantiate(config)
    centre, size = model.queries.centre.clone(), model.queries.size.detach().clone()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.5)
    train(model, [random_input(objects=3)])
    optimizer.step()
    assert torch.equal(model.queries.centre, centre) and (model.queries.size != size).all()


def test_patterns_multiply_the_detections(model):
    images = model.preprocess([random_input()])
    prediction = small_model({"num_patterns": 3}).detect(model.backbone(images.tensor), padding_of(images))
    assert prediction.boxes.shape == (3, 1, 3 * QUERIES, 4)
