"""The sizes of the study."""

from dataclasses import dataclass

from .lite0 import LITE0
from .row import Row


@dataclass(frozen=True)
class Preset:
    """A size of the study.

    configs: "small", "coco" or "photographs", the config that it takes from a row.
    steps: the budget of a row; None for the config's own.
    evaluations: the number of evaluations in a run.
    seeds, core_seeds: the number of seeds of a row and of a core row.
    overrides: overrides of every run.
    backbone: the source of the backbone that every run starts from: a config to train first, below `configs/`, or
        `LITE0`; "" for the weights that a config names.
    """

    configs: str = "small"
    steps: int | None = 500
    evaluations: int = 5
    seeds: int = 1
    core_seeds: int = 3
    overrides: tuple[str, ...] = ()
    backbone: str = ""

    def seeds_of(self, row: Row) -> int:
        """The number of seeds that a row is run with."""
        return self.core_seeds if row.core else self.seeds


ON_CPU = ("train.device=cpu",)
PRESETS = {
    "probe": Preset(steps=200, core_seeds=1, overrides=ON_CPU, backbone="shapes/dab_detr"),
    "cpu": Preset(overrides=ON_CPU, backbone="shapes/dab_detr"),
    "gpu": Preset(steps=14000, evaluations=20, seeds=3, core_seeds=5),
    "photographs": Preset(configs="photographs", steps=2000, evaluations=10, seeds=3, overrides=ON_CPU, backbone=LITE0),
    "coco": Preset(configs="coco", steps=None, core_seeds=1),
}
