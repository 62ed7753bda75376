"""Reads weights files by their content, not by their name, and never runs code from them."""

import argparse
import json
import os
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from .hub import WEIGHTS
from .integrity import check_expansion, check_safetensors, check_zip

HOLDERS = ("model", "state_dict", "model_state_dict")  # keys under which a training may store the state dict
WRAPPED = re.compile(r"((module|_orig_mod)\.)*")  # keys of models in DistributedDataParallel and torch.compile
TORCH_BEFORE_1_6 = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)[:-1]
# the names in pickles of numpy arrays, which Detectron2's model zoo has
ARRAYS = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
}


def weights_file(path: str) -> str:
    """The weights file in a folder written by transformers; any other path unchanged."""
    if not Path(path).is_dir():
        return path
    for name in WEIGHTS:
        if Path(path, name).is_file():
            return str(Path(path, name))
    raise ValueError(f"{path} is a folder without {' or '.join(WEIGHTS)}")


def read(path: str | Path) -> dict[str, Any]:
    """Read a local file; its state dict is under "model" in the result.

    Reads files of torch (also with an argparse.Namespace, as the original's have), safetensors, and pickled numpy
    arrays of Detectron2's model zoo. For the latter, "matching_heuristics" says how to match their names.

    Raises ValueError for any other content, a truncated file, a pickle that asks to run code, and weights that are
    not finite.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} is not a regular file" if Path(path).exists() else f"{path} does not exist")
    with open(path, "rb") as file:
        head = file.read(256)
    if is_safetensors(head):
        content = read_safetensors(path)
    elif head.startswith((b"PK", TORCH_BEFORE_1_6)):
        content = read_torch(path, zipped=head.startswith(b"PK"))
    elif head.startswith(b"\x80"):
        content = read_arrays(path)
    else:
        raise ValueError(f"{path} is not a weights file {what_it_is(head)}")
    return with_model(content, path)


def is_safetensors(head: bytes) -> bool:
    """Whether the first bytes of a file are those of safetensors: the length of a JSON header, and its brace."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000


def what_it_is(head: bytes) -> str:
    """The probable kind of an unknown file, to complete an error message."""
    if not head.strip():
        return "(it is empty)"
    if head.startswith(b"version https://git-lfs"):
        return "but a pointer of Git LFS: fetch the file itself (git lfs pull)"
    if head.lstrip().startswith(b"<"):
        return "but a web page: the address leads to a page about the file, or to an error"
    return f"(it begins with {head[:12]!r})"


def read_safetensors(path: str | Path) -> dict[str, Any]:
    """Read the tensors, and as "class_names" those of a `config.json` in the same folder, if it has any."""
    try:
        content = {"model": safetensors.torch.load_file(path)}
        check_safetensors(content["model"], path)
    except Exception as error:  # a damaged file can raise anything
        raise damage(path, error) from error
    config = Path(path).with_name("config.json")
    names = names_of(config) if config.is_file() else []
    return content | {"class_names": names} if names else content


def names_of(config: Path) -> list[str | None]:
    """Class names in a config of transformers, None for "N/A"; an empty list if all are generic."""
    try:
        labels = json.loads(config.read_text(encoding="utf-8")).get("id2label") or {}
        names = [name for _, name in sorted(labels.items(), key=lambda item: int(item[0]))]
        generic = [bool(re.fullmatch(r"LABEL_\d+|N/A", name)) for name in names]
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{config} beside the weights is damaged or not from transformers: id2label must map numbers to names "
            f"({error}). Repair or remove it"
        ) from error
    return [] if all(generic) else [None if name == "N/A" else name for name in names]


def read_torch(path: str | Path, *, zipped: bool) -> Any:
    """Unpickle tensors, plain data and the command line that the original's files carry, and nothing else."""
    try:
        if zipped:
            check_zip(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own message advises loading it anyway
        if asked := re.search(r"GLOBAL ([\w.]*\w) ", str(error)):
            raise refusal(path, asked[1]) from error
        raise damage(path, "its pickle does not hold weights") from error
    except Exception as error:  # a damaged file can raise anything
        raise damage(path, error) from error


class UnwantedNameError(Exception):
    """A pickle asks for a name that arrays do not need."""


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays and their containers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise UnwantedNameError(f"{module}.{name}")
        return super().find_class(module, name)


def read_arrays(path: str | Path) -> Any:
    """Unpickle numpy arrays; files of Detectron1 have them under "blobs"."""
    try:
        with open(path, "rb") as file:
            content = ArrayUnpickler(file, encoding="latin1").load()
        check_expansion(sum(x.nbytes for x in arrays_in(content)), path)
    except UnwantedNameError as error:
        raise refusal(path, str(error)) from error
    except Exception as error:  # a damaged file can raise anything
        raise damage(path, error) from error
    if not isinstance(content, dict) or "__author__" in content:
        return content
    arrays = content.get("blobs", content)
    if isinstance(arrays, dict):
        arrays = {key: value for key, value in arrays.items() if not str(key).endswith("_momentum")}
    return {"model": arrays, "__author__": "Caffe2", "matching_heuristics": True}


def arrays_in(content: Any) -> list[np.ndarray]:
    """The arrays in a dict and the dicts in it."""
    values = content.values() if isinstance(content, dict) else ()
    inner = [array for value in values if isinstance(value, dict) for array in value.values()]
    return list({id(x): x for x in [*values, *inner] if isinstance(x, np.ndarray)}.values())


def refusal(path: str | Path, name: str) -> ValueError:
    """The error for a pickle that names anything weights do not need."""
    return ValueError(
        f"{path} is refused, and nothing in it was run: it is a pickle that asks for {name}, which weights do not "
        "need. Ask its author to save the state dict alone"
    )


def damage(path: str | Path, error: Exception | str) -> ValueError:
    """The error for a file whose beginning is right but whose rest is not."""
    return ValueError(f"{path} is truncated or damaged: {next(iter(str(error).splitlines()), type(error).__name__)}")


def with_model(content: Any, path: str | Path) -> dict[str, Any]:
    """The content with its state dict, as tensors, under "model". The content may itself be the state dict."""
    holder = next((x for x in HOLDERS if isinstance(content, dict) and x in content), None)
    state = content[holder] if holder else content
    if not is_state_dict(state):
        keys = next((list(x) for x in (state, content) if isinstance(x, dict)), [])
        raise ValueError(
            f"{path} has no state dict: a dict of tensors by name, alone or under {', '.join(map(repr, HOLDERS))}"
            + (f"; it has the keys {shortened(keys)}" if keys else "")
        )
    wrapped = len(WRAPPED.match(os.path.commonprefix(list(state)))[0])
    model = {key[wrapped:]: tensor(key, value, path) for key, value in state.items()}
    wrong = [key for key, x in model.items() if x.is_floating_point() and not x.float().isfinite().all()]
    if wrong:
        raise ValueError(
            f"{path} has weights that are not finite, in {len(wrong)} of {len(model)} tensors: {shortened(wrong)}. "
            "It is damaged, or its training diverged"
        )
    rest = {key: value for key, value in content.items() if key != holder} if holder else {}
    check_names(rest.get("class_names"), path)
    return rest | {"model": model}


def is_state_dict(state: Any) -> bool:
    """Whether an object is a dict of one or more tensors or arrays by name."""
    return (
        isinstance(state, dict)
        and bool(state)
        and all(isinstance(key, str) and isinstance(value, Tensor | np.ndarray) for key, value in state.items())
    )


def tensor(key: str, value: Tensor | np.ndarray, path: str | Path) -> Tensor:
    """The value as a dense tensor. Raises ValueError for kinds of tensors that weights never are."""
    try:
        found = torch.as_tensor(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} has an array that does not hold numbers: {key} ({error})") from error
    if (
        found.layout is not torch.strided
        or found.is_meta
        or found.is_quantized
        or found.is_nested
        or found.is_complex()
    ):
        raise ValueError(
            f"{path} has a tensor that cannot be a weight (it is sparse, meta, quantized, nested or complex): {key}"
        )
    if found.numel() * found.element_size() > found.untyped_storage().nbytes():
        raise ValueError(f"{path} stores fewer numbers than the shape {tuple(found.shape)} of this tensor needs: {key}")
    return found


def check_names(names: Any, path: str | Path) -> None:
    """Raise ValueError unless `names` is a list of class names or None."""
    if names is not None and not (
        isinstance(names, Sequence) and not isinstance(names, str) and all(isinstance(x, str | None) for x in names)
    ):
        raise ValueError(f"{path}: class_names must be a list of names, got {names!r:.80}")


def shortened(keys: Sequence[Any]) -> str:
    """The first five keys, in one line."""
    return f"{', '.join(map(str, keys[:5]))}{' ...' if keys[5:] else ''}"
