"""A run of the study is one command of train_net.py."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .presets import Preset
from .row import Row

BACKBONE = "backbone.pth"
LAST = "model_final.pth"
DATA = "dataset.root"


@dataclass(frozen=True)
class Run:
    """One training of a row with one seed, in `folder`."""

    row: Row
    preset: Preset
    seed: int
    folder: Path

    @property
    def result(self) -> Path:
        """The file of its result."""
        return self.folder.with_suffix(".json")

    @property
    def log(self) -> Path:
        """The file of what its training prints."""
        return self.folder.with_suffix(".log")

    @property
    def command_file(self) -> Path:
        """The file of the command that its folder comes from."""
        return self.folder.with_suffix(".txt")

    @property
    def config(self) -> str:
        """Its config below the root of the checkout."""
        return f"configs/{getattr(self.row, self.preset.configs)}.py"

    @property
    def start_file(self) -> Path:
        """The file of its queries' start, if its row has one."""
        return self.folder.with_suffix(".start.pth")

    @property
    def backbone_file(self) -> Path | None:
        """The file of the backbone that all runs of its preset start from, if there is one."""
        return self.folder.parents[1] / BACKBONE if self.preset.backbone else None

    @property
    def starts_elsewhere(self) -> bool:
        """Whether its queries do not start as its config says."""
        return bool(self.row.start or self.row.queries_of)

    @property
    def weights(self) -> Path | None:
        """The file of the weights that it starts from; None for those of its config."""
        return self.start_file if self.starts_elsewhere else self.backbone_file

    @property
    def steps(self) -> int | None:
        """Its number of steps; None for that of its config."""
        return round(self.preset.steps * self.row.steps) if self.preset.steps else None

    @property
    def period(self) -> int:
        """The number of steps between two evaluations."""
        return max(1, self.steps // self.preset.evaluations)

    @property
    def measures_attention(self) -> bool:
        """Whether it keeps the checkpoint of every evaluation for `over_training`.

        It does not for photographs, because only the process of a training knows that dataset.
        """
        return self.row.attention and self.preset.steps is not None and self.preset.configs != "photographs"

    @property
    def queries_checkpoint(self) -> Path | None:
        """The checkpoint of the run that its queries come from, if they come from one."""
        if not self.row.queries_of:
            return None
        return self.folder.parents[1] / self.row.queries_of / self.folder.name / LAST

    @property
    def command(self) -> str:
        """The command that does the same in another checkout, without --resume and without the way to the data."""
        folder = self.folder.parents[1]
        words = [x.replace(f"{folder}", f"output/study/{folder.name}") for x in self.arguments() if x != "--resume"]
        words = [f"{DATA}={Path(x).name}" if x.startswith(f"{DATA}=") else x for x in words]
        return shlex.join(["python", "train_net.py", *words])

    def is_known(self, results: Sequence[Mapping], backbone: str | None = None) -> bool:
        """Whether one of these results is of the same command, and of the backbone with this fingerprint if given."""
        return any(x["command"] == self.command and backbone in (None, x.get("backbone")) for x in results)

    def set_aside(self) -> None:
        """Rename the files of an earlier training of this row and seed, so that this run starts from the beginning."""
        paths = (self.folder, self.result, self.log, self.command_file, self.start_file)
        paths, number = [path for path in paths if path.exists()], 1
        while any(path.with_name(f"before{number}_{path.name}").exists() for path in paths):
            number += 1
        for path in paths:
            path.rename(path.with_name(f"before{number}_{path.name}"))

    def arguments(self) -> list[str]:
        """The arguments of train_net.py."""
        overrides = [f"train.seed={self.seed}", f"train.output_dir={self.folder}"]
        if self.preset.steps:
            overrides += [f"train.max_iter={self.steps}", f"train.eval_period={self.period}"]
        if self.measures_attention:
            overrides += [f"train.checkpointer.period={self.period}", "train.checkpointer.max_to_keep=null"]
        if self.weights:
            overrides += [f"train.init_checkpoint={self.weights}", "train.init_partially=True"]
        resume = ["--resume"] if self.folder.is_dir() else []
        return [
            "--config-file",
            self.config,
            *resume,
            *self.row.overrides,
            *self.preset.overrides,
            *overrides,
        ]


def planned(rows: Sequence[Row], preset: Preset, output: Path, seeds: int | None = None) -> list[Run]:
    """All runs of these rows, the first seed of every row first. A row without a config for the preset has no runs.

    Rows that start from another row's queries come after the others.

    seeds: the number of seeds of every row; None for the preset's.
    """
    usable = sorted((row for row in rows if getattr(row, preset.configs)), key=lambda row: bool(row.queries_of))
    most = seeds or max(preset.seeds, preset.core_seeds)
    return [
        Run(row, preset, seed, output / row.name / f"seed{seed}")
        for seed in range(most)
        for row in usable
        if seed < (seeds or preset.seeds_of(row))
    ]
