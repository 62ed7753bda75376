"""The full DAB-DETR R50, from pixels to boxes, computes what Hugging Face transformers' port computes."""

import pytest
import torch
from detectron2.config import instantiate
from detectron2.structures import ImageList
from transformers import DabDetrConfig, DabDetrForObjectDetection, TimmBackboneConfig

from dab_detr.checkpoint import transformers
from dab_detr.detector import padding_of
from dab_detr.models import dab_detr
from golden_cases import make_weight

THEIR_EPS = 1e-5  # of the inverse sigmoid; the original's, and our default, is 1e-3
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def theirs():
    backbone = TimmBackboneConfig(
        backbone="resnet50", use_pretrained_backbone=False, out_indices=[4], features_only=True
    )
    return DabDetrForObjectDetection(DabDetrConfig(backbone_config=backbone, num_labels=91)).eval()


@pytest.fixture(scope="module")
def ours(theirs):
    """Our model with weights by the golden rule, which are copied into theirs."""
    config = dab_detr()
    config.num_classes, config.decoder.eps = 91, THEIR_EPS
    model = instantiate(config).eval()
    state = {}
    for name, value in model.state_dict().items():
        weight = torch.from_numpy(make_weight("refpoint_embed.weight" if "queries" in name else name, value.shape))
        state[name] = 1 + weight if name.endswith("running_var") else weight
    model.load_state_dict(state)
    converted, unknown = transformers.dab_detr_table().to_theirs(state)
    assert not unknown
    missing, unexpected = theirs.load_state_dict(converted, strict=False)
    assert not unexpected
    assert all("num_batches_tracked" in x or "decoder.bbox_embed" in x for x in missing)  # the head's second name
    return model


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    sizes = ((3, 200, 260), (3, 165, 227))
    return ImageList.from_tensors([torch.randn(size, generator=generator) for size in sizes])


@torch.no_grad()
def test_forward_of_a_padded_batch(ours, theirs, images):
    padding = padding_of(images)
    prediction = ours.detect(ours.backbone(images.tensor), padding)
    expected = theirs(images.tensor, pixel_mask=(~padding).long())
    assert (expected.pred_boxes[:, :, None] - expected.pred_boxes[:, None]).abs().amax() > 0.1, "queries collapsed"
    assert (prediction.logits[-1] - expected.logits).abs().max() < TOLERANCE
    assert (prediction.boxes[-1] - expected.pred_boxes).abs().max() < TOLERANCE


@torch.no_grad()
def test_a_scaled_weight_is_noticed(ours, theirs, images):
    weight = ours.decoder.layers[5].cross_attention.query_spatial.weight
    plain = weight.clone()
    weight.mul_(0.9)
    prediction = ours.detect(ours.backbone(images.tensor), padding_of(images))
    weight.copy_(plain)
    expected = theirs(images.tensor, pixel_mask=(~padding_of(images)).long())
    assert (prediction.logits[-1] - expected.logits).abs().max() > 10 * TOLERANCE


def test_the_table_is_read_both_ways(ours):
    state = ours.state_dict()
    converted, _ = transformers.dab_detr_table().to_theirs(state)
    back, unknown = transformers.dab_detr_table().to_ours(converted)
    assert not unknown
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)
