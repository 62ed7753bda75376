"""Files of weights: what is read, and what is refused without running anything."""

import argparse
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from dab_detr.checkpoint.reading import read, weights_file

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


def equal(state: dict) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(state[key], STATE[key]) for key in STATE)


class Malicious:
    """Creates a file when it is unpickled by someone careless."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("content", [STATE, {"model": STATE}, {"model": {f"module.{k}": x for k, x in STATE.items()}}])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch(tmp_path, content, zipped):
    torch.save(content, tmp_path / "x.anything", _use_new_zipfile_serialization=zipped)
    assert equal(read(tmp_path / "x.anything")["model"])


def test_what_stands_beside_the_weights_is_kept(tmp_path):
    torch.save({"model": STATE, "epoch": 49, "args": argparse.Namespace(lr=1e-4)}, tmp_path / "x.pth")
    content = read(tmp_path / "x.pth")
    assert content["epoch"] == 49 and content["args"].lr == 1e-4


def test_safetensors_with_the_names_of_its_classes(tmp_path):
    safetensors.torch.save_file(STATE, tmp_path / "model.safetensors")
    assert read(tmp_path / "model.safetensors").keys() == {"model"}
    (tmp_path / "config.json").write_text('{"id2label": {"1": "cat", "0": "N/A", "10": "dog"}}')
    content = read(weights_file(str(tmp_path)))
    assert equal(content["model"]) and content["class_names"] == [None, "cat", "dog"]


def test_generic_names_are_none(tmp_path):
    safetensors.torch.save_file(STATE, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}')
    assert "class_names" not in read(tmp_path / "model.safetensors")


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(ValueError, match=r"folder without model\.safetensors or pytorch_model\.bin"):
        weights_file(str(tmp_path))


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_of_the_model_zoo(tmp_path, protocol):
    arrays = {key: x.numpy() for key, x in STATE.items()}
    content = {"model": arrays, "__author__": "someone", "matching_heuristics": True}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    found = read(tmp_path / "x.pkl")
    assert equal(found["model"]) and found["matching_heuristics"]


def test_arrays_of_detectron1(tmp_path):
    blobs = {"a.weight": STATE["a.weight"].numpy(), "a.bias": np.zeros(2, np.float32), "a_momentum": np.zeros(2)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"blobs": blobs}))
    found = read(tmp_path / "x.pkl")
    assert equal(found["model"]) and found["__author__"] == "Caffe2" and found["matching_heuristics"]


@pytest.mark.parametrize("name", ["x.pth", "x.bin", "x.pkl"])
def test_a_pickle_that_runs_code_is_refused(tmp_path, name):
    executed = tmp_path / "executed"
    content = {"model": {"a": Malicious(executed)}}
    if name.endswith("pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=name.endswith("pth"))
    with pytest.raises(
        ValueError, match=rf"{name} is refused, nothing of it was run: .* asks for (_?io|builtins)\.open"
    ):
        read(tmp_path / name)
    assert not executed.exists()
    with open(tmp_path / name, "rb") as file:  # the trap works
        pickle.load(file) if name.endswith("pkl") else torch.load(tmp_path / name, weights_only=False)
    assert executed.exists()


def whole(path: Path) -> None:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(STATE, path)
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({"model": {key: x.numpy() for key, x in STATE.items()}, "__author__": "x"}))
    else:
        torch.save({"model": STATE}, path, _use_new_zipfile_serialization=path.suffix == ".pth")


@pytest.mark.parametrize("name", ["x.pth", "x.bin", "x.pkl", "x.safetensors"])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
def test_a_truncated_file_is_named(tmp_path, name, part):
    path = tmp_path / name
    whole(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=rf"{name} is truncated or damaged"):
        read(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>Not found</html>", "a web page"),
        (b"\n <html></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer of Git LFS"),
        (b"\xff\xd8\xff\xe0 a photograph", "begins with"),
    ],
)
def test_what_is_no_file_of_weights(tmp_path, content, told):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.pth is no file of weights, .*{told}"):
        read(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [[1, 2], {"model": {}}, {"model": {"a": 1}}, {"epoch": 3}, {"model": 3}])
def test_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth holds no state dict"):
        read(tmp_path / "x.pth")
