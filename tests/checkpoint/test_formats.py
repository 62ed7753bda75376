"""Every list of keys of a public checkpoint becomes ours and goes back, bit for bit."""

import ast
import re

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.layers import ShapeSpec
from omegaconf import DictConfig

from dab_detr.checkpoint import conversion, formats
from dab_detr.checkpoint.rename import RenameTable, Rule
from dab_detr.models import dab_deformable_detr, dab_detr, deformable_detr, dino
from golden_cases import GOLDEN
from tiny import shrink

LISTS = sorted((GOLDEN / "keys").glob("*.txt"))
NAMES = [path.stem for path in LISTS]
OURS = {
    "codetr_co_deformable_detr_r50": (deformable_detr, {"mixed": True}),
    "codetr_co_dino_5scale_r50": (dino, {"shared_heads": False, "five_scale": True}),
    "codetr_co_dino_5scale_swin_large": (dino, {"shared_heads": False, "five_scale": True}),
    "detrex_dab_deformable_detr_r50": (dab_deformable_detr, {}),
    "detrex_dab_detr_r50": (dab_detr, {}),
    "detrex_dab_detr_r50_dc5": (dab_detr, {"dilated": True}),
    "detrex_dn_detr_r50": (dab_detr, {}),
    "detrex_dino_r50_4scale": (dino, {"shared_heads": False}),
    "detrex_dino_r50_5scale": (dino, {"shared_heads": False, "five_scale": True}),
    "detrex_dino_swin_large_384_5scale": (dino, {"shared_heads": False, "five_scale": True}),
    "official_dino_4scale": (dino, {}),
    "official_dino_5scale": (dino, {"five_scale": True}),
    "official_dino_4scale_swin": (dino, {}),
    "official_dino_5scale_swin": (dino, {"five_scale": True}),
    "official_dab_deformable_detr_r50": (dab_deformable_detr, {}),
    "official_dab_detr_r50": (dab_detr, {}),
    "official_dab_detr_r50_dc5_3patterns": (dab_detr, {"dilated": True, "num_patterns": 3}),
    "transformers_4.57.6_safetensors_r50": (dab_detr, {}),
    "transformers_5.18.0_safetensors_r50": (dab_detr, {}),
}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def theirs(name: str) -> dict[str, torch.Tensor]:
    """A state dict with the keys and shapes of a list, all numbers different but where one tensor has several keys."""
    state, generator = {}, torch.Generator().manual_seed(0)
    for line in (GOLDEN / "keys" / f"{name}.txt").read_text().splitlines():
        key, shape = line.split(" ", 1)
        state[key] = torch.randn(ast.literal_eval(shape), generator=generator)
    for key in state:
        if "official_dino" in name and re.search(r"(class|bbox)_embed\.\d", key):
            state[key] = state[re.sub(r"embed\.\d", "embed.0", key.replace("transformer.decoder.", ""))]
        elif re.search(r"decoder\.(bbox|class)_embed\.", key) and key.replace("transformer.decoder.", "") in state:
            state[key] = state[key.replace("transformer.decoder.", "")]
        if ".ffns.0.layers.0.1.weight" in key:
            state[key] = state[key.replace("layers.0.1", "activation")]
    return state


def assert_there_and_back(to: str, ours: dict) -> None:
    converted, _ = formats.table_to(to, ours).to_theirs(ours)
    back, found, unknown = formats.to_ours(converted)
    assert not unknown and to in found.name
    assert same(back, ours)


def test_every_list_has_its_model():
    assert set(NAMES) == set(OURS)


@pytest.mark.parametrize(
    ("name", "official"), [("official_dino_4scale", 46_893_182), ("official_dino_5scale", 47_255_806)]
)
def test_a_dino_has_the_parameters_of_the_original_except_one_row(name, official):
    """The original's label table has one row of 256 more than classes, which nothing reads, in denoising neither."""
    state = theirs(name)
    ours, build = formats.to_ours(state)[0], OURS[name]
    node = build[0](**build[1])
    node.num_classes = 91
    with torch.device("meta"):
        assert sum(x.numel() for x in instantiate(node).parameters()) == official - 256
    assert (
        torch.equal(ours["denoising.labels"], state["label_enc.weight"][:91]) and len(state["label_enc.weight"]) == 92
    )


ONE_WAY = ("official_dino", "codetr")  # their names are read, not written


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(ONE_WAY)])
def test_there_and_back(name):
    state = theirs(name)
    ours, found, unknown = formats.to_ours(state)
    assert not unknown
    assert found.name.split()[0].rstrip("'") in {"detrex", "the", "transformers"}
    back, unknown = found.table(state).to_theirs(ours)
    assert not unknown
    assert same(back, state)


@pytest.mark.parametrize("name", NAMES)
def test_fills_our_model(name):
    ours = formats.to_ours(theirs(name))[0]
    build, options = OURS[name]
    node = build(**options)
    node.num_classes = len(ours["decoder.class_heads.0.weight"])
    if build is dino and "swin" in name:  # Detectron2 0.5 has no Swin: all but the backbone
        channels = {"res2": 192, "res3": 384, "res4": 768, "res5": 1536}
        node.neck.in_channels = {key: channels[key] for key in node.neck.in_channels}
        node.backbone = swin_shapes(channels)
    if build is not dino:
        node.denoising.groups = 5 if "denoising.labels" in ours else 0
    if "codetr" in name:
        node.collaboration.heads = ["rcnn", "atss"]
    with torch.device("meta"):
        expected = {key: tuple(x.shape) for key, x in instantiate(node).state_dict().items()}
    found = {key: tuple(x.shape) for key, x in ours.items() if "swin" not in name or not key.startswith("backbone.")}
    assert found.pop("collaboration.head_pos_embed.weight", None) == ((2, 1) if "co_deformable" in name else None)
    assert found == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("to", ["original", "detrex", "transformers"])
def test_to_others_and_back(name, to):
    ours = conversion.for_inference(formats.to_ours(theirs(name))[0])
    if "co_deformable" in name or "dino" in name and (to != "detrex" or "official" in name):  # not with shared heads
        with pytest.raises(ValueError, match=r"no place for|no such model: "):
            formats.table_to(to, ours)
        return
    if to == "transformers" and ("deformable" in name or "dn_" in name):
        with pytest.raises(ValueError, match=r"no such model: convert it to original or detrex|no place for denoising"):
            formats.table_to(to, ours)
        return
    assert_there_and_back(to, ours)


def swin_shapes(channels: dict[str, int]) -> DictConfig:
    """A node of a backbone without weights, with the channels of Swin-L."""
    return L(Shapes)(channels=channels)


class Shapes(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def output_shape(self):
        return {name: ShapeSpec(channels=x, stride=2 ** int(name[-1])) for name, x in self.channels.items()}


@pytest.mark.parametrize("size", ["4scale", "5scale"])
@pytest.mark.parametrize("kind", ["class_embed.4", "bbox_embed.2.layers.1"])
def test_an_original_dino_with_a_head_for_each_layer_is_not_taken_for_one_with_a_shared_head(size, kind):
    """Six different tensors never become one; a copy that differs from its own is an error."""
    state = theirs(f"official_dino_{size}")
    for prefix in ("", "transformer.decoder."):
        state[f"{prefix}{kind}.bias"] = state[f"{prefix}{kind}.bias"] + 1
    ours = formats.to_ours(state)[0]
    heads = "class_heads" if "class" in kind else "box_heads"
    assert sum(key.startswith(f"decoder.{heads}.") for key in ours) == (12 if "class" in kind else 36)
    state[f"{kind}.bias"] = state[f"{kind}.bias"] + 1
    with pytest.raises(ValueError, match=r"differs from another key for decoder\."):
        formats.to_ours(state)


def test_names_of_both_generations_of_transformers_are_read():
    """4.57 stores the one box head under the decoder, 5.x beside it; a pytorch_model.bin has both."""
    old, new = (theirs(f"transformers_{x}_safetensors_r50") for x in ("4.57.6", "5.18.0"))
    both = new | {
        new_key: old[old_key]
        for new_key, old_key in zip(*(sorted(k for k in x if "bbox" in k) for x in (new, old)), strict=True)
    }
    both |= {key: old[key] for key in new if key in old}
    heads = {key for key in old if "bbox" in key}, {key for key in new if "bbox" in key}
    assert not heads[0] & heads[1]
    assert formats.to_ours(old)[0].keys() == formats.to_ours(new)[0].keys() == formats.to_ours(old | both)[0].keys()


@pytest.mark.parametrize("torchvision_names", [False, True])
def test_detrex_names_of_the_backbone(torchvision_names):
    ours = formats.to_ours(theirs("detrex_dab_detr_r50"))[0]
    converted, _ = formats.table_to("detrex", ours, torchvision_names=torchvision_names).to_theirs(ours)
    assert ("backbone.body.conv1.weight" in converted) == torchvision_names
    assert same(formats.to_ours(converted)[0], ours)


def members():
    """Small models of which the original has a checkpoint, and how it is called there."""
    for name, node in {
        "points": dab_detr(),
        "denoising": dab_detr(num_patterns=3),
        "denoising, deformable": dab_deformable_detr(),
        "shared heads": dab_deformable_detr(refine=False),
        "two-stage": dab_deformable_detr(two_stage=True),
        "plain": deformable_detr(),
        "two-stage plain": deformable_detr(two_stage=True),
    }.items():
        shrink(node)
        if name == "denoising, deformable":
            node.queries.dim = 31
        if name == "points":
            node.queries.anchor_dim = 2
        node.denoising.groups = 2 if "denoising" in name else 0
        yield pytest.param(node, id=name)


OF_DETREX = ("denoising", "denoising, deformable", "shared heads", "two-stage")


@pytest.mark.parametrize("to", ["original", "detrex"])
@pytest.mark.parametrize("node", list(members()))
def test_every_member(node, to, request):
    """detrex has no members without anchor boxes."""
    ours = instantiate(node).state_dict()
    if to == "detrex" and request.node.callspec.id.partition("-detrex")[0] not in OF_DETREX:
        with pytest.raises(ValueError, match=r"detrex has no place for|detrex has no such model"):
            formats.table_to(to, ours)
        return
    assert_there_and_back(to, ours)


def test_ours_stays_as_it_is():
    ours = instantiate(shrink(dab_detr())).state_dict()
    back, found, unknown = formats.to_ours(ours)
    assert found is None and not unknown and same(back, dict(ours))


def test_what_a_format_has_no_place_for_is_named():
    ours = dict(instantiate(shrink(dab_detr())).state_dict())
    ours["decoder.novelty"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"original has no place for decoder\.novelty"):
        formats.table_to("original", ours)


def test_no_table_is_found_for_other_models():
    with pytest.raises(ValueError, match=r"only DAB-DETR, Deformable models and DINO"):
        formats.table_to("original", {"head.weight": torch.zeros(1)})


def test_the_first_files_of_transformers_number_the_parts_of_a_decoder_layer():
    state = theirs("transformers_4.57.6_safetensors_r50")
    parts = {f".{name}.": f".layer.{i}." for i, name in enumerate(("self_attn", "cross_attn", "mlp"))}
    early = {}
    for key, tensor in state.items():
        for name, number in parts.items() if key.startswith("model.decoder.layers.") else ():
            if re.fullmatch(rf"model\.decoder\.layers\.\d+{re.escape(name)}.*", key):
                key = key.replace(name, number, 1)
                break
        early[key] = tensor
    assert early.keys() != state.keys()
    ours, _, unknown = formats.to_ours(early)
    assert not unknown and same(ours, formats.to_ours(state)[0])


@pytest.mark.parametrize("shape", [(), (300,), (300, 3)])
def test_a_tensor_that_cannot_be_divided_is_named(shape):
    table = RenameTable([Rule("both", ("one", "two"), axis=1)])
    with pytest.raises(ValueError, match=r"both of shape \(.*\) does not divide into one, two"):
        table.to_ours({"both": torch.zeros(shape)})
