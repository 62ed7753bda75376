"""A damaged or forged file of weights is refused in one line, before memory is asked for."""

import os
import pickle
import random
import resource
import struct
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
import safetensors.torch
import torch
from omegaconf import OmegaConf

import described
from dab_detr.checkpoint.checkpointer import CheckpointError, DABDETRCheckpointer
from dab_detr.checkpoint.description import KEY, read_description
from dab_detr.checkpoint.formats import FORMATS
from dab_detr.checkpoint.integrity import CHECKSUM, checksum
from dab_detr.checkpoint.reading import read
from dab_detr.inference import Predictor

STATE = {"a.weight": torch.arange(600.0).reshape(20, 30), "a.bias": torch.ones(20, dtype=torch.bfloat16)}


def save(kind: str, path) -> None:
    if kind == "safetensors":
        safetensors.torch.save_file(STATE, path, metadata={CHECKSUM: checksum(STATE)})
    else:
        torch.save({"model": STATE, KEY: {"text": "a" * 500}}, path)


def same(state: dict) -> bool:
    """Whether all tensors that have a name of ours are ours."""
    return all(torch.equal(x, STATE[key]) for key, x in state.items() if key in STATE)


@pytest.mark.parametrize("kind", ["zip", "safetensors"])
@pytest.mark.parametrize("harm", ["a flipped bit", "zeros"])
def test_a_damaged_file_is_refused_or_the_same(kind, harm, tmp_path):
    save(kind, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    dice, refused = random.Random(0), 0
    for _ in range(200):
        damaged = bytearray(whole)
        place = dice.randrange(len(whole))
        if harm == "zeros":
            damaged[place : place + 64] = bytes(len(damaged[place : place + 64]))
        else:
            damaged[place] ^= 1 << dice.randrange(8)
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            state = read(tmp_path / "damaged")["model"]
        except ValueError as error:
            refused += 1
            assert "damaged" in str(error) and "\n" not in str(error)
        else:
            assert same(state) and len(state) == len(STATE)
    assert refused > 100


def test_the_checksum_is_over_names_types_shapes_and_numbers():
    others = [
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(2, 3, dtype=torch.int32)},
        {"a": torch.tensor([[0, 0, 0], [0, 0, -0.0]])},
        {"a": torch.zeros(2, 3), "b": torch.zeros(0)},
        {"a": torch.zeros(2, 3)},
    ]
    assert len({checksum(x) for x in others}) == len(others)
    assert checksum({"a": torch.eye(3).t(), "b": torch.zeros(1)}) == checksum({"b": torch.zeros(1), "a": torch.eye(3)})


@contextmanager
def memory_of(gibibytes: float):
    """Fails whatever asks for so much more than is taken already."""
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + int(gibibytes * 2**30), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def expanded(path) -> None:
    torch.save({"model": {"a": torch.zeros(1).expand(2**15, 2**16)}}, path)


def bomb(path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("x/data/0", "w") as entry:
        for _ in range(32):
            entry.write(bytes(2**20))


class Reconstructed:
    """An array whose pickle names a shape and holds no numbers."""

    def __reduce__(self):
        return np.ndarray(0).__reduce__()[0], (np.ndarray, (2**31,), b"f")


def hollow(path) -> None:
    path.write_bytes(pickle.dumps({"model": {"a": Reconstructed()}, "__author__": "x"}))


def huge_header(path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[2147483648],"data_offsets":[0,8589934592]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(100))


@pytest.mark.parametrize("write", [expanded, bomb, hollow, huge_header])
def test_a_small_file_does_not_ask_for_much_memory(write, tmp_path):
    path = tmp_path / "x.pth"
    write(path)
    assert path.stat().st_size < 50_000
    with (
        memory_of(1),
        pytest.raises(ValueError, match=r"x\.pth (is truncated or damaged|stores fewer numbers than)") as caught,
    ):
        read(path)
    assert "\n" not in str(caught.value)


def test_tensors_that_share_their_numbers_are_read(tmp_path):
    weight = torch.ones(4, 4)
    torch.save({"model": {"a": weight, "b": weight, "c": weight[1:], "d": weight.t()}}, tmp_path / "x.pth")
    assert read(tmp_path / "x.pth")["model"].keys() == set("abcd")


def test_a_number_that_overflows_in_the_model_is_refused(tmp_path):
    torch.save({"model": {"a": torch.tensor([1.0, 1e300], dtype=torch.float64)}}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth has weights that are not finite"):
        read(tmp_path / "x.pth")


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth is not a regular file"):
        read(tmp_path / "x.pth")


def nested(value: object, levels: int) -> object:
    for _ in range(levels):
        value = [value]
    return value


def circle() -> list:
    inner: list = []
    inner.append({"a": inner})
    return inner


def doubled() -> list:
    """Two names for everything, 60 levels deep."""
    value: list = []
    for _ in range(60):
        value = [value, value]
    return value


@pytest.mark.parametrize("config", [nested(1, 150), circle(), doubled()], ids=["deep", "a circle", "without end"])
def test_descriptions_have_an_end(config, tmp_path):
    path = described.save_lazy(tmp_path)
    described.change(path, lambda about: about["config"].update(model=config))
    with pytest.raises(ValueError, match=r"model\.pth(: | is truncated or damaged).*(nested too deeply|recursion)"):
        read_description(path)


@pytest.mark.parametrize("content", ['{"id2label":' + "[" * 100_000, "[" * 100_000])
def test_a_deep_config_beside_the_weights_is_named(content, tmp_path):
    safetensors.torch.save_file(STATE, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json beside the weights"):
        read(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("encoder.num_layers", 10_000_000, "model.encoder.num_layers is 10000000, the checkpoint has"),
        ("decoder.layers.num_layers", 5_000, "model.decoder.layers.num_layers is 5000"),
        ("encoder.hidden", 100_000_000, "the model has [0-9]+ weights, the checkpoint"),
        ("queries.num_queries", 10**9, "the model has [0-9]+ weights, the checkpoint"),
    ],
)
def test_a_config_does_not_ask_for_much_memory(key, value, told, tmp_path):
    path = described.save_lazy(tmp_path)

    def enlarge(about):
        cfg = OmegaConf.create(about["config"])
        OmegaConf.update(cfg, f"model.{key}", value)
        about["config"] = OmegaConf.to_container(cfg)

    described.change(path, enlarge)
    with memory_of(2), pytest.raises(ValueError, match=f"the config inside .*model.pth cannot be built: {told}"):
        Predictor.from_checkpoint(path, device="cpu")


MIXED = [(a, b) for a in FORMATS for b in FORMATS if a is not b]


@pytest.mark.parametrize(("one", "other"), MIXED, ids=lambda x: x.name)
@pytest.mark.parametrize("tensor", [torch.zeros(()), torch.zeros(3), torch.zeros(2, 5)], ids=["0d", "1d", "2d"])
def test_tensors_of_mixed_formats_are_one_line(one, other, tensor, tmp_path):
    path = tmp_path / "x.pth"
    state = dict.fromkeys(
        (*one.keys, *other.keys, "class_embed.0.weight", "transformer.decoder.layers.7.norm1.bias"), tensor
    )
    torch.save({"model": state}, path)
    model = torch.nn.Linear(2, 2)
    model.num_classes = 3
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        DABDETRCheckpointer(model).load(str(path))
