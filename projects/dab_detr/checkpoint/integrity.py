"""Checks that a weights file is intact, by the checksums of a zip file or by our own checksum."""

import hashlib
import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

CHECKSUM = "dab_detr.sha256"  # in the metadata of our safetensors files
MOST_EXPANDED = 20  # bytes in memory for each byte of a file: torch does not compress, others may


def check_zip(path: str | Path) -> None:
    """Compare every entry of a zip file with its checksum, which torch does not do.

    Raises ValueError for an entry that differs, and for entries far larger than the file; BadZipFile and other errors
    for a damaged file.
    """
    with zipfile.ZipFile(path) as file:
        check_expansion(sum(x.file_size for x in file.infolist()), path)
        if differing := file.testzip():
            raise ValueError(f"its part {differing} does not have the checksum that was stored with it")


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def check_expansion(size: int, path: str | Path) -> None:
    """Raise ValueError if contents of `size` bytes cannot come from the file at `path`."""
    have = Path(path).stat().st_size
    if size > MOST_EXPANDED * max(have, 4096):
        raise ValueError(
            f"its contents would take {size / 2**20:.0f} MiB of memory, but the file has only {have / 2**20:.3g} MiB"
        )


def checksum(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and numbers of all tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def check_safetensors(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Compare tensors with the checksum in the metadata of their file, if it has one. Raises ValueError if they differ.

    Files from other code have no checksum, so damaged numbers in them go unnoticed.
    """
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        metadata = json.loads(file.read(length)).get("__metadata__") or {}
    if CHECKSUM in metadata and metadata[CHECKSUM] != checksum(state):
        raise ValueError("its tensors do not have the checksum that was stored with them")
