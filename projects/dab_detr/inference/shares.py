"""Several processes share the images of a run. Their results become one file, the same as from one process."""

import json
import os
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from ..checkpoint.writing import atomic_write
from ..engine.launch import VARIABLES, started_from_outside
from .coco_json import StreamedFile, lines_beside, write_coco
from .detections import Detections

PATIENCE = timedelta(days=30)
"""The time that a process waits for one with more work."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The processes of a run: their number, and the index of this one, from 0."""

    rank: int = 0
    count: int = 1

    @property
    def share(self) -> slice:
        """This process's share of a list."""
        return slice(self.rank, None, self.count)

    def wait(self) -> None:
        """Wait for all processes. Raises ValueError if one of them has ended."""
        self.total(0)

    def total(self, *numbers: int) -> list[int]:
        """Add up the numbers of all processes. Raises ValueError if one of them has ended."""
        found = torch.tensor(numbers)
        if distributed.is_initialized():
            try:
                distributed.all_reduce(found)
            except RuntimeError as error:
                raise ValueError("another process of this run has ended; --resume continues the run") from error
        return found.tolist()

    def leave(self) -> None:
        """End the connection to the others."""
        if distributed.is_initialized():
            distributed.destroy_process_group()


def join() -> Processes:
    """Join the processes that torchrun or Slurm started; without them, this process is the only one.

    Raises ValueError if variables of the environment are missing.
    """
    if not started_from_outside() or os.environ["WORLD_SIZE"] == "1":
        return Processes()
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing:
        raise ValueError(
            f"RANK and WORLD_SIZE are set in the environment, as by torchrun, but {missing} are not: set all or none"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group("gloo", timeout=PATIENCE)
    return Processes(rank=distributed.get_rank(), count=distributed.get_world_size())


class SharedFile:
    """Writes detections as `StreamedFile` does. Each process writes its own part beside the file, until `merge`.

    A kill leaves the parts. Any number of processes can resume them.

    names: the names of all images, in the order of the merged file. head, resume: as in `StreamedFile`.

    Raises ValueError as `StreamedFile` does.
    """

    def __init__(self, path: Path, *, head: Mapping, names: Sequence[str], processes: Processes, resume: bool):
        self.path, self.head, self.names, self.processes = path, head, names, processes
        if processes.rank == 0:
            self.prepare(resume)
        processes.wait()
        self.done: Counter[str] = Counter()
        self.pictures: set[str] = set()
        for part in parts_beside(path):
            found = StreamedFile(part, head=head, resume=True)
            found.file.close()
            self.done += found.done
            self.pictures |= found.pictures
        processes.wait()  # no process writes before all have read
        self.file = StreamedFile(part_beside(path, str(processes.rank)), head=head, resume=True)

    def prepare(self, resume: bool) -> None:
        """Remove the parts of an earlier run, or with `resume` turn its file into a part."""
        if not resume:
            for part in parts_beside(self.path):
                part.unlink()
        elif self.path.exists() or lines_beside(self.path).exists():
            earlier = StreamedFile(self.path, head=self.head, resume=True)
            earlier.file.close()
            earlier.lines.path.replace(part_beside(self.path, "earlier"))
        for part in parts_beside(self.path):  # an incomplete line from a kill is removed once, here
            StreamedFile(part, head=self.head, resume=True).file.close()

    def add(self, detections: Detections, **more: object) -> None:
        """Write one image, so that a kill does not lose it."""
        self.file.add(detections, **more)

    def close(self) -> None:
        """Complete this process's part."""
        self.file.close()

    def merge(self) -> None:
        """Write the file from all parts and remove them. Only one process calls this, after all have closed theirs."""
        parts = parts_beside(self.path)
        records = OrderedRecords(parts, self.names)
        with atomic_write(self.path) as file:
            if self.path.suffix == ".jsonl":
                file.writelines(json.dumps(record).encode() + b"\n" for record in (self.head, *records))
            else:
                write_coco(records, file, **self.head)
        for part in parts:
            part.unlink()


class OrderedRecords:
    """The records of several files of JSON lines in the order of the images. Only offsets are kept in memory.

    Images with the same name come in the order of their pictures. Records of other images come first.
    """

    def __init__(self, paths: Sequence[Path], names: Sequence[str]):
        self.paths, places = paths, defaultdict(list)
        for number, path in enumerate(paths):
            for start, record in offsets(path):
                picture = record.get("picture", "")
                places[record["file_name"]].append((len(picture), picture, number, start))
        waiting = {name: deque(sorted(found)) for name, found in places.items()}
        others = [waiting[name] for name in sorted(waiting.keys() - set(names))]
        self.places = [place[2:] for found in others for place in found]
        self.places += [waiting[name].popleft()[2:] for name in names if waiting.get(name)]

    def __iter__(self) -> Iterator[dict]:
        with ExitStack() as stack:
            files = [stack.enter_context(path.open("rb")) for path in self.paths]
            for number, start in self.places:
                files[number].seek(start)
                yield json.loads(files[number].readline())


def offsets(path: Path) -> Iterator[tuple[int, dict]]:
    """Yield each record of a file of JSON lines with its offset."""
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if number:  # the first line is the head
                yield start, json.loads(line)
            start += len(line)


def part_beside(path: Path, name: str) -> Path:
    """The part of a file that one process writes."""
    return path.with_name(f"{path.name}.part-{name}.jsonl")


def parts_beside(path: Path) -> list[Path]:
    """The parts of a file that exist, sorted."""
    return sorted(x for x in path.parent.glob("*.part-*.jsonl") if x.name.startswith(f"{path.name}.part-"))
