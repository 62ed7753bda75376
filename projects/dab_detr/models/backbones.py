"""Nodes of backbones: ResNets, and transformers of timm."""

from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from ..modeling.backbone import TimmBackbone, resnet
from ..modeling.simple_pyramid import SimplePyramid


def resnet_node(depth: int, dilated: bool = False, out_features: tuple[str, ...] = ("res5",)) -> DictConfig:
    """A ResNet with frozen batch norm. Its stem and first stage are frozen too."""
    return L(resnet)(
        depth=depth, out_features=list(out_features), dilated=dilated, freeze_at=2, norm="FrozenBN", width=64
    )


def swin_node(name: str, out_features: tuple[str, ...]) -> DictConfig:
    """A Swin transformer of timm, with timm's weights."""
    return L(TimmBackbone)(name=name, out_features=list(out_features), pretrained=True, drop_path_rate=0.2)


def vit_node(name: str, out_features: tuple[str, ...]) -> DictConfig:
    """A plain vision transformer of timm under a simple feature pyramid, with timm's weights."""
    base = L(TimmBackbone)(name=name, out_features=["res4"], pretrained=True, drop_path_rate=0.1)
    return L(SimplePyramid)(base=base, dim=256, out_features=list(out_features))
