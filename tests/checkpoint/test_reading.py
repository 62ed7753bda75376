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


def under(prefix: str) -> dict:
    return {f"{prefix}{key}": x for key, x in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model": STATE},
        {"state_dict": STATE, "epoch": 3},
        {"model_state_dict": STATE},
        {"model": under("module.")},
        {"state_dict": under("_orig_mod.")},
        {"model": under("_orig_mod.module."), "state_dict": {}},
        under("module._orig_mod."),
    ],
)
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


@pytest.mark.parametrize(
    "content",
    ["[1]", "{", "5", '{"id2label": ["a"]}', '{"id2label": [0]}', '{"id2label": {"0": 1}}', '{"id2label": {"a": "b"}}'],
)
def test_a_neighboring_config_that_is_not_of_transformers(tmp_path, content):
    safetensors.torch.save_file(STATE, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json beside the weights is damaged or not from transformers"):
        read(tmp_path / "model.safetensors")


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
        ValueError, match=rf"{name} is refused, and nothing in it was run: .* asks for (_?io|builtins)\.open"
    ):
        read(tmp_path / name)
    assert not executed.exists()
    with open(tmp_path / name, "rb") as file:  # the trap works
        pickle.load(file) if name.endswith("pkl") else torch.load(tmp_path / name, weights_only=False)
    assert executed.exists()


class Call:
    """Is unpickled as the call of a builtin."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


BUILTINS = {
    "eval": Call(eval, "print('executed')"),
    "exec": Call(exec, "print('executed')"),
    "print": Call(print, "executed"),
    "getattr": Call(getattr, "", "title"),
    "__import__": Call(__import__, "this"),
    "slice": slice(1, 2),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", BUILTINS)
def test_a_pickle_that_calls_a_builtin_is_refused(tmp_path, name, zipped, capsys):
    torch.save({"model": STATE, "x": BUILTINS[name]}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=rf"x\.pth is refused, and nothing in it was run: .* asks for {name}, which"):
        read(tmp_path / "x.pth")
    assert capsys.readouterr().out == ""


def test_torch_does_not_speak_of_a_pickle_that_holds_no_weights(tmp_path):
    """It would advise to load it all the same."""
    torch.save({"model": STATE}, tmp_path / "x.pth", pickle_protocol=4)
    with pytest.raises(ValueError, match=r"x\.pth is truncated or damaged: its pickle does not hold weights$"):
        read(tmp_path / "x.pth")


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
    with pytest.raises(ValueError, match=rf"x\.pth is not a weights file .*{told}"):
        read(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [[1, 2], {"model": {}}, {"model": {"a": 1}}, {"epoch": 3}, {"model": 3}])
def test_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth has no state dict"):
        read(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "keys"),
    [({"ema": {"a": torch.zeros(1)}, "epoch": 3}, "ema, epoch"), ({"model": {0: torch.zeros(1), 1: 2}}, "0, 1")],
)
def test_the_keys_of_a_file_without_a_state_dict_are_told(tmp_path, content, keys):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=rf"under 'model', 'state_dict', 'model_state_dict'; it has the keys {keys}$"):
        read(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [{"blobs": [1, 2]}, {0: np.zeros(2), "a": 1}, {"blobs": {1: np.zeros(2)}}])
def test_arrays_without_names(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"x\.pkl has no state dict"):
        read(tmp_path / "x.pkl")


def test_arrays_without_numbers(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"model": {"a": np.array(["text"])}, "__author__": "x"}))
    with pytest.raises(ValueError, match=r"x\.pkl has an array that does not hold numbers: a"):
        read(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    "odd", [torch.eye(2).to_sparse(), torch.zeros(2, device="meta"), torch.zeros(2, dtype=torch.complex64)]
)
def test_tensors_that_are_no_weights(tmp_path, odd):
    torch.save({"model": STATE | {"odd.one": odd}}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth has a tensor that cannot be a weight .*: odd\.one"):
        read(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("value", "kind"),
    [("nan", torch.float32), ("inf", torch.float32), ("-inf", torch.float16), ("nan", torch.float8_e4m3fn)],
)
def test_weights_that_are_not_finite(tmp_path, value, kind):
    bad = torch.tensor([0.0, float(value)]).to(kind)
    torch.save({"model": STATE | {"fine": torch.ones(2).to(kind), "bad.one": bad}}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth has weights .* not finite, in 1 of 4 tensors: bad\.one\..*diverged"):
        read(tmp_path / "x.pth")


@pytest.mark.parametrize("names", [5, "disc", ["a", 1], {"a": 1}])
def test_names_of_classes_that_are_none(tmp_path, names):
    torch.save({"model": STATE, "class_names": names}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth: class_names must be a list of names, got "):
        read(tmp_path / "x.pth")
