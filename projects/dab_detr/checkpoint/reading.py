"""Reads a file of weights by what it holds, not by its name, and runs nothing that it asks for."""

import argparse
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in a folder that transformers has written
TORCH_BEFORE_1_6 = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)[:-1]
# what pickles of numpy arrays name: those of Detectron2's model zoo
ARRAYS = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
}


def weights_file(path: str) -> str:
    """The file of weights in a folder that transformers has written; any other path as it is."""
    if not Path(path).is_dir():
        return path
    for name in WEIGHTS:
        if Path(path, name).is_file():
            return str(Path(path, name))
    raise ValueError(f"{path} is a folder without {' or '.join(WEIGHTS)}")


def read(path: str | Path) -> dict[str, Any]:
    """The content of a local file, with the state dict under "model".

    Files of torch (also those that hold an argparse.Namespace, as the original's do), of safetensors, and pickled
    numpy arrays of Detectron2's model zoo, which say how to match their names ("matching_heuristics").

    Raises ValueError for any other content, a truncated file, and a pickle that wants to run code.
    """
    with open(path, "rb") as file:
        head = file.read(256)
    if is_safetensors(head):
        content = read_safetensors(path)
    elif head.startswith((b"PK", TORCH_BEFORE_1_6)):
        content = read_torch(path)
    elif head.startswith(b"\x80"):
        content = read_arrays(path)
    else:
        raise ValueError(f"{path} is no file of weights, {what_it_is(head)}")
    return with_model(content, path)


def is_safetensors(head: bytes) -> bool:
    """By its first bytes: the length of a JSON header, and its brace."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000


def what_it_is(head: bytes) -> str:
    """What a file that is none of ours may be, to tell the user."""
    if not head.strip():
        return "it is empty"
    if head.startswith(b"version https://git-lfs"):
        return "but a pointer of Git LFS: fetch the file itself (git lfs pull)"
    if head.lstrip().startswith(b"<"):
        return "but a web page: the address was that of a page about the file, or of an error"
    return f"it begins with {head[:12]!r}"


def read_safetensors(path: str | Path) -> dict[str, Any]:
    """The tensors; with the class names of a `config.json` beside them as "class_names", if it has any."""
    try:
        content = {"model": safetensors.torch.load_file(path)}
    except safetensors.SafetensorError as error:
        raise damage(path, error) from error
    config = Path(path).with_name("config.json")
    names = json.loads(config.read_text()).get("id2label", {}) if config.is_file() else {}
    if not all(re.fullmatch(r"LABEL_\d+|N/A", name) for name in names.values()):
        content["class_names"] = [None if names[i] == "N/A" else names[i] for i in sorted(names, key=int)]
    return content


def read_torch(path: str | Path) -> Any:
    """Tensors and plain data, and the command line that the original's files carry; nothing else is unpickled."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files fail in any way
        asked = re.search(r"(?:GLOBAL|global:?|class|function) ([\w.]+\.\w+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and asked:
            raise refusal(path, asked[1]) from error
        raise damage(path, error) from error


class UnwantedNameError(Exception):
    """A pickle asks for something that arrays do not need."""


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays and the containers they lie in."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise UnwantedNameError(f"{module}.{name}")
        return super().find_class(module, name)


def read_arrays(path: str | Path) -> Any:
    """Pickled numpy arrays; those of Detectron1 under their "blobs"."""
    try:
        with open(path, "rb") as file:
            content = ArrayUnpickler(file, encoding="latin1").load()
    except UnwantedNameError as error:
        raise refusal(path, str(error)) from error
    except Exception as error:  # damaged files fail in any way
        raise damage(path, error) from error
    if not isinstance(content, dict) or "__author__" in content:
        return content
    arrays = content.get("blobs", content)
    kept = {key: value for key, value in arrays.items() if not key.endswith("_momentum")}
    return {"model": kept, "__author__": "Caffe2", "matching_heuristics": True}


def refusal(path: str | Path, name: str) -> ValueError:
    """The error for a pickle that names what weights do not need."""
    return ValueError(
        f"{path} is refused, nothing of it was run: it is a pickle that asks for {name}, which weights do not need. "
        "If you trust whoever made it, let them save the state dict alone"
    )


def damage(path: str | Path, error: Exception) -> ValueError:
    """The error for a file that begins well."""
    return ValueError(f"{path} is truncated or damaged: {next(iter(str(error).splitlines()), type(error).__name__)}")


def with_model(content: Any, path: str | Path) -> dict[str, Any]:
    """The content with its state dict under "model" as tensors, where else the content is the state dict."""
    if isinstance(content, dict) and "model" not in content:
        content = {"model": content}
    state = content["model"] if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(x, Tensor | np.ndarray) for x in state.values()):
        raise ValueError(f"{path} holds no state dict: its tensors by name, alone or under 'model'")
    model = {key: torch.as_tensor(value) for key, value in state.items()}
    if all(key.startswith("module.") for key in model):  # saved from inside DistributedDataParallel
        model = {key.removeprefix("module."): value for key, value in model.items()}
    return {**content, "model": model}
