"""The generated dataset "shapes"."""

from .dataset import SHAPES_CLASSES, generate_shapes, register_shapes, shapes_split

__all__ = ["SHAPES_CLASSES", "generate_shapes", "register_shapes", "shapes_split"]
