"""Registers our names with Detectron2 as soon as its models are imported, without importing ours."""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

REGISTRIES = "detectron2.modeling"


def DABDETR(cfg):
    """The model of a yacs config, under the name by which Detectron2's `build_model` finds it."""
    from .yacs import build_detector

    return build_detector(cfg)


def build_dab_detr_resnet_backbone(cfg, input_shape):
    """Our ResNet, under the name by which Detectron2's `build_backbone` finds it."""
    from .modeling.backbone import build_dab_detr_resnet_backbone

    return build_dab_detr_resnet_backbone(cfg, input_shape)


def register() -> None:
    """Register now if Detectron2's models are imported, otherwise right after their import."""
    if REGISTRIES in sys.modules:
        add_names(sys.modules[REGISTRIES])
    else:
        sys.meta_path.insert(0, AfterImport())


def add_names(modeling: ModuleType) -> None:
    """Add our names to the registries of `detectron2.modeling`."""
    for registry, entry in (
        (modeling.META_ARCH_REGISTRY, DABDETR),
        (modeling.BACKBONE_REGISTRY, build_dab_detr_resnet_backbone),
    ):
        if entry.__name__ not in registry:
            registry.register(entry)


class AfterImport(MetaPathFinder):
    """Finds `detectron2.modeling` as Python does, and adds our names after its execution."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """The spec of `detectron2.modeling` whose loader adds our names; None for any other module."""
        if name != REGISTRIES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                add_names(module)

            spec.loader.exec_module = execute_and_register
        return spec
