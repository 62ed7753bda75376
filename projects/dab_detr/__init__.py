"""DAB-DETR and its family as a Detectron2 project. Importing it registers the meta-architecture `DABDETR`."""

try:
    import detectron2  # noqa: F401
except ImportError as error:
    raise ImportError(
        "dab_detr is a Detectron2 project and detectron2 is not installed (it is not on PyPI). In a checkout of "
        "dab_detr, `make test` sets up an environment that has it; in your own, follow "
        "https://detectron2.readthedocs.io/tutorials/install.html"
    ) from error

from . import yacs as yacs  # registers the meta-architecture
from .detector import DABDETR
from .modeling.optimization import optimize_for_inference
from .modeling.transformer import FixedAnchors, RefinedAnchors
from .version import __version__

__all__ = ["DABDETR", "FixedAnchors", "RefinedAnchors", "__version__", "explain", "optimize_for_inference", "train"]


def explain(*args, **kwargs):
    """Detect the objects in one image and record what their queries saw; see `explanation.explain`."""
    from .explanation import explain

    return explain(*args, **kwargs)


def train(*args, **kwargs):
    """Train a model by a config and return the result; see `training.train`."""
    from .training import train

    return train(*args, **kwargs)
