"""Checkpoints to and from the real transformers library, and through the command line's tool."""

import json
import re

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from omegaconf import OmegaConf
from transformers import (
    AutoImageProcessor,
    ConditionalDetrImageProcessor,
    DabDetrConfig,
    DabDetrForObjectDetection,
    TimmBackboneConfig,
)

import described
from dab_detr.checkpoint import conversion, formats
from dab_detr.checkpoint.checkpointer import DABDETRCheckpointer
from dab_detr.checkpoint.classes import COCO_OUTPUTS
from dab_detr.checkpoint.description import KEY, Description
from dab_detr.checkpoint.reading import read
from dab_detr.checkpoint.transformers_config import detection_config
from dab_detr.engine.description import plain_lazy
from dab_detr.inference import Predictor
from dab_detr.models import dab_detr
from golden_cases import make_weight
from serving import Hub, use_hub
from tiny import LAZY, shrink, tell_apart
from tools import convert_checkpoint

THEIR_EPS = 1e-5
NAMES = ["cat", "dog", "mouse"]


def small(num_classes=3, **options):
    """Our node; its backbone is as wide as torchvision's, for timm has no other."""
    node = dab_detr(depth=18, **options)
    node.neck.update(in_channels=512, dim=32)
    node.encoder.update(num_layers=1, heads=4, hidden=64)
    node.decoder.layers.num_layers = 2
    node.decoder.eps = THEIR_EPS
    node.queries.num_queries = 10
    node.num_classes = num_classes
    return node


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A folder that transformers has written, with weights by the golden rule, and its model."""
    backbone = TimmBackboneConfig(backbone="resnet18", use_pretrained_backbone=False, out_indices=[4])
    sizes = {"encoder_layers": 1, "decoder_layers": 2, "num_queries": 10, "hidden_size": 32}
    sizes |= {f"{part}_attention_heads": 4 for part in ("encoder", "decoder")}
    sizes |= {f"{part}_ffn_dim": 64 for part in ("encoder", "decoder")}
    config = DabDetrConfig(backbone_config=backbone, id2label=dict(enumerate(NAMES)), **sizes)
    model = DabDetrForObjectDetection(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                weight = torch.from_numpy(make_weight(name, list(tensor.shape)))
                tensor.copy_(weight.abs() + 1 if name.endswith("running_var") else weight)
    folder = tmp_path_factory.mktemp("theirs")
    model.save_pretrained(folder)
    ConditionalDetrImageProcessor(size={"shortest_edge": 160, "longest_edge": 200}).save_pretrained(folder)
    return folder, model


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine without repositories."""
    with Hub(tmp_path / "hub") as hub:
        use_hub(monkeypatch, hub.address, tmp_path / "cache")
        yield hub


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (120, 150, 3), dtype=np.uint8)


@torch.no_grad()
def test_a_checkpoint_of_transformers_detects_the_same(theirs):
    folder, model = theirs
    ours = instantiate(small()).eval()
    DABDETRCheckpointer(ours, class_names=NAMES, strict=True).load(str(folder))
    processor = AutoImageProcessor.from_pretrained(folder)
    inputs = processor(pixels(), return_tensors="pt")
    found = processor.post_process_object_detection(model(**inputs), threshold=0.0, target_sizes=[(120, 150)], top_k=20)

    prediction = ours.detect(ours.backbone(inputs["pixel_values"]), ~inputs["pixel_mask"].bool())
    assert (prediction.boxes[-1][0][:, None] - prediction.boxes[-1][0][None]).abs().amax() > 0.1, "queries collapsed"
    ours.selection.num_select = 20
    scores, query, labels = ours.selection(prediction.logits[-1])
    boxes = prediction.boxes[-1][0][query[0]]
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    torch.testing.assert_close(scores[0], found[0]["scores"], atol=1e-4, rtol=0)
    assert torch.equal(labels[0], found[0]["labels"])
    # 1e-4 of the image's side
    size = torch.tensor([150.0, 120, 150, 120])
    torch.testing.assert_close(corners, found[0]["boxes"] / size, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_repository_of_the_hub_detects_as_transformers_does(theirs, hub):
    """With the config, the image processor and the names of the repository, and nothing else."""
    folder, model = theirs
    (hub.folder / "me").mkdir(parents=True)
    (hub.folder / "me/tiny").symlink_to(folder)
    predictor = Predictor.from_pretrained("hf://me/tiny", device="cpu")
    found = predictor(pixels(), threshold=0.0)

    inputs = AutoImageProcessor.from_pretrained(folder)(pixels(), return_tensors="pt")
    scores, index = model(**inputs).logits[0].sigmoid().flatten().sort(descending=True)
    assert found.labels == [NAMES[i % 3] for i in index] and predictor.class_names == NAMES
    # the two resize with different libraries
    torch.testing.assert_close(found.instances.scores, scores, atol=2e-3, rtol=0)


def test_names_of_transformers_find_the_rows(theirs):
    folder, _ = theirs
    ours = instantiate(small(2))
    DABDETRCheckpointer(ours, class_names=["mouse", "Cat"], strict=True).load(str(folder))
    head = read(folder / "model.safetensors")["model"]["class_embed.weight"]
    assert torch.equal(ours.decoder.class_heads[0].weight, head[[2, 0]])


@pytest.mark.parametrize("options", [{}, {"num_patterns": 3}, {"temperature": 10.0}], ids=str)
@torch.no_grad()
def test_transformers_opens_what_we_write(tmp_path, options):
    node = small(**options)
    ours = tell_apart(instantiate(node)).eval()
    folder = tmp_path / "written"
    conversion.write(ours.state_dict(), folder, to="transformers", model=node, class_names=NAMES)
    model, told = DabDetrForObjectDetection.from_pretrained(folder, output_loading_info=True)
    assert not told["unexpected_keys"] and not told["mismatched_keys"]
    assert all("num_batches_tracked" in x for x in told["missing_keys"])
    assert model.config.id2label == dict(enumerate(NAMES)) and model.config.label2id["dog"] == 1
    processor = AutoImageProcessor.from_pretrained(folder)
    assert processor.size == {"shortest_edge": 800, "longest_edge": 1333}
    inputs = processor([pixels(), pixels()[:80]], return_tensors="pt", do_resize=False)
    images = ours.preprocess([{"image": torch.from_numpy(pixels()).permute(2, 0, 1)}])
    torch.testing.assert_close(images.tensor, inputs["pixel_values"][:1], atol=1e-5, rtol=0)

    expected = model.eval()(**inputs)
    prediction = ours.detect(ours.backbone(inputs["pixel_values"]), ~inputs["pixel_mask"].bool())
    torch.testing.assert_close(prediction.logits[-1], expected.logits, atol=2e-5, rtol=0)
    torch.testing.assert_close(prediction.boxes[-1], expected.pred_boxes, atol=2e-5, rtol=0)

    back = formats.to_ours(read(folder / "model.safetensors")["model"])[0]
    assert back.keys() == ours.state_dict().keys()
    assert all(torch.equal(back[name], x) for name, x in ours.state_dict().items())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("backbone.width", 32),
        ("neck.feature", "res3"),
        ("queries.anchor_dim", 2),
        ("decoder.prior.query_scale", "layer"),
        ("decoder.prior.modulate", False),
        ("decoder.prior.temperature", 20.0),
        ("decoder.box_heads.shared", False),
        ("decoder.refinement._target_", "dab_detr.FixedAnchors"),
        ("neck.position.temperature_x", 2.5),
        ("input_format", "BGR"),
    ],
)
def test_what_transformers_cannot_do_is_named(key, value):
    node = small()
    parent, _, name = key.rpartition(".")
    part = node
    for x in parent.split(".") if parent else ():
        part = part[x]
    part[name] = value
    with pytest.raises(ValueError, match=r"transformers' DAB-DETR needs .*model\.|transformers' DAB-DETR needs modul"):
        detection_config(node, NAMES)


def test_91_classes_to_80_and_back():
    node = shrink(dab_detr())
    node.num_classes, node.denoising.groups = 91, 2
    state = dict(instantiate(node).state_dict())
    eighty = conversion.with_classes(state, 80)
    assert len(eighty["decoder.class_heads.0.bias"]) == 80 and len(eighty["denoising.labels"]) == 81
    back = conversion.with_classes(eighty, 91)
    used = [i for i, name in enumerate(COCO_OUTPUTS[91]) if name]
    for name in ("decoder.class_heads.0.weight", "decoder.class_heads.0.bias", "denoising.labels"):
        assert torch.equal(back[name][used], state[name][used])
    assert torch.equal(back["denoising.labels"][-1], state["denoising.labels"][-1])
    assert back["decoder.class_heads.0.bias"][0].sigmoid().item() == pytest.approx(0.01)
    with pytest.raises(ValueError, match="not 80 and 7"):
        conversion.with_classes(eighty, 7)


def convert(*args) -> None:
    convert_checkpoint.convert(convert_checkpoint.parse([str(x) for x in args]))


def test_the_tool_all_the_way_round(tmp_path, capsys):
    node = small(91)
    state = tell_apart(instantiate(node)).state_dict()
    torch.save({"model": state}, tmp_path / "ours.pth")
    config = ["--config-file", LAZY, "model.backbone.depth=18", "model.neck.in_channels=512", "model.neck.dim=32"]
    config += ["model.encoder.num_layers=1", "model.encoder.heads=4", "model.encoder.hidden=64"]
    config += ["model.decoder.layers.num_layers=2", "model.queries.num_queries=10"]
    convert(tmp_path / "ours.pth", tmp_path / "original.pth", "--to", "original")
    convert(tmp_path / "original.pth", tmp_path / "detrex.pth", "--to", "detrex", "--torchvision-names")
    convert(tmp_path / "detrex.pth", tmp_path / "theirs", "--to", "transformers", *config)
    convert(tmp_path / "theirs", tmp_path / "back.pth", "--to", "dab_detr")
    back = read(tmp_path / "back.pth")
    assert all(torch.equal(back["model"][name], x) for name, x in state.items())
    assert back["class_names"] == COCO_OUTPUTS[91]
    assert json.loads((tmp_path / "theirs/config.json").read_text())["id2label"]["12"] == "N/A"
    convert(tmp_path / "original.pth", tmp_path / "eighty.pth", "--to", "dab_detr", "--num-classes", 80)
    assert len(read(tmp_path / "eighty.pth")["model"]["decoder.class_heads.0.bias"]) == 80
    told = capsys.readouterr().out
    assert "original.pth: 220 tensors of the original DAB-DETR" in told and "91 classes become 80" in told


def test_a_checkpoint_that_describes_itself_needs_no_config(tmp_path):
    """The names and the model's node are those of the training, as train_net.py writes them."""
    node = small()
    model = tell_apart(instantiate(node))
    about = Description(
        class_names=NAMES,
        category_ids=[1, 2, 3],
        config={"model": plain_lazy(node)},
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
        input_format="RGB",
    )
    torch.save({"model": model.state_dict(), KEY: about.to_dict()}, tmp_path / "ours.pth")
    convert(tmp_path / "ours.pth", tmp_path / "theirs", "--to", "transformers")
    theirs = DabDetrForObjectDetection.from_pretrained(tmp_path / "theirs")
    assert theirs.config.id2label == dict(enumerate(NAMES))
    assert (theirs.config.hidden_size, theirs.config.decoder_layers) == (32, 2)
    convert(tmp_path / "theirs", tmp_path / "back.pth", "--to", "dab_detr")
    assert read(tmp_path / "back.pth")["class_names"] == NAMES


def test_the_tool_never_overwrites(tmp_path):
    torch.save({"model": {}}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth exists already; nothing was written"):
        convert(tmp_path / "x.pth", tmp_path / "x.pth", "--to", "original")


def test_transformers_needs_the_config(tmp_path):
    torch.save({"model": instantiate(small()).state_dict()}, tmp_path / "ours.pth")
    with pytest.raises(ValueError, match="--config-file"):
        convert(tmp_path / "ours.pth", tmp_path / "theirs", "--to", "transformers")
    assert not (tmp_path / "theirs").exists()


def test_wrong_names_are_counted(tmp_path):
    torch.save({"model": instantiate(small()).state_dict()}, tmp_path / "ours.pth")
    with pytest.raises(ValueError, match="gives 2 names, but the model has 3 outputs"):
        convert(tmp_path / "ours.pth", tmp_path / "x.pth", "--to", "dab_detr", "--class-names", "a", "b")


@pytest.mark.parametrize("option", ["IN", "--config-file"])
def test_what_is_not_there_is_said_in_one_line(option, tmp_path, capsys):
    torch.save({"model": instantiate(small()).state_dict()}, tmp_path / "ours.pth")
    source, config = ("none.pth", LAZY) if option == "IN" else (tmp_path / "ours.pth", "none.py")
    args = [source, tmp_path / "out", "--to", "transformers", "--config-file", config]
    assert convert_checkpoint.main([str(x) for x in args]) == 2
    assert re.fullmatch(r"error: [^\n]*none\.\w+[^\n]*\n", capsys.readouterr().err)


@pytest.mark.parametrize("model", [{"decoder": []}, {"pixel_mean": None}])
def test_a_damaged_config_in_the_checkpoint_says_the_way_out(model, tmp_path):
    node = small()
    about = Description(
        class_names=NAMES, category_ids=None, config={"model": plain_lazy(node) | model}, pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3, input_format="RGB",
    )  # fmt: skip
    torch.save({"model": instantiate(node).state_dict(), KEY: about.to_dict()}, tmp_path / "ours.pth")
    with pytest.raises(
        ValueError, match="lacks a setting that transformers needs .*: give another with --config-file$"
    ):
        convert(tmp_path / "ours.pth", tmp_path / "theirs", "--to", "transformers")


@pytest.mark.parametrize("key", ["model.encoder.dropout", "dataloader.test.mapper.augmentations.0.max_size"])
def test_a_conversion_follows_no_interpolation(key, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "7")
    path = described.save_lazy(tmp_path)

    def forge(about):
        cfg = OmegaConf.create(about["config"])
        OmegaConf.update(cfg, key, "\\${oc.env:SECRET}")
        about["config"] = OmegaConf.to_container(cfg)

    described.change(path, forge)
    with pytest.raises(ValueError, match="interpolations are not followed"):
        convert(path, tmp_path / "theirs", "--to", "transformers")
    assert not (tmp_path / "theirs").exists()
