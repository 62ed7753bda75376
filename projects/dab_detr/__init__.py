"""DAB-DETR and its family as a Detectron2 project. Importing it registers the meta-architecture `DABDETR`.

The public names, and torch with them, are imported when they are first used.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from .lazy import lazy_names
from .registration import register
from .version import __version__

if TYPE_CHECKING:
    from . import yacs
    from .detector import DABDETR
    from .engine.training import TrainingError
    from .explanation import explain
    from .modeling.optimization import optimize_for_inference
    from .modeling.transformer import FixedAnchors, RefinedAnchors
    from .training import train

if find_spec("detectron2") is None:
    raise ImportError(
        "dab_detr is a Detectron2 project and detectron2 is not installed (it is not on PyPI). In a checkout of "
        "dab_detr, `make test` sets up an environment that has it; in your own, follow "
        "https://detectron2.readthedocs.io/tutorials/install.html"
    )

register()

__all__ = [
    "DABDETR",
    "FixedAnchors",
    "RefinedAnchors",
    "TrainingError",
    "__version__",
    "explain",
    "optimize_for_inference",
    "train",
    "yacs",
]
__getattr__ = lazy_names(
    __name__,
    {
        "DABDETR": ".detector",
        "FixedAnchors": ".modeling.transformer",
        "RefinedAnchors": ".modeling.transformer",
        "explain": ".explanation",
        "optimize_for_inference": ".modeling.optimization",
        "TrainingError": ".engine.training",
        "train": ".training",
        "yacs": ".yacs",
    },
)
