"""The description inside an exported file, which needs no other file."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields

from detectron2.data import transforms as T

from ..checkpoint.description import versions

KEY = "dab_detr"  # under which the metadata lie in the file
INPUTS = ("images", "sizes")
OUTPUTS = ("boxes", "scores", "labels", "number")


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The metadata of an exported file, in plain data.

    class_names: names of the classes, in the order of the labels. category_ids: the ids of the dataset, if known.
    short_side, max_size: every image is resized so that its short side has `short_side` pixels and its long side at
        most `max_size`; None keeps images as they are.
    threshold: lowest score of a detection that the graph counts.
    image_type: "uint8" or "float32", the type of the images that go in.
    precision: "fp32", "fp16" (stored weights) or "int8" (convolutions). opset: of ONNX.
    checkpoint_sha256: hash of the checkpoint that was exported.
    """

    class_names: Sequence[str]
    category_ids: Sequence[int] | None
    short_side: int | None
    max_size: int | None
    threshold: float
    image_type: str
    precision: str
    opset: int | None = None
    checkpoint_sha256: str | None = None
    versions: dict[str, str] = field(default_factory=versions)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | None, path: str) -> "Metadata":
        """Read the result of `to_json`. Raises ValueError, naming the file, for any other text."""
        advice = "tools/export_model.py writes files that this project can run"
        if not text:
            raise ValueError(f"{path} was not exported by this project: it does not describe itself. {advice}")
        try:
            data = json.loads(text)
            return cls(**{x.name: data[x.name] for x in fields(cls)})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} describes itself in a way that this version does not know; {advice}") from error

    def augmentations(self) -> T.AugmentationList:
        """The resizing rule, as Detectron2 applies it."""
        rule = [] if self.short_side is None else [T.ResizeShortestEdge(self.short_side, self.max_size)]
        return T.AugmentationList(rule)


def resizing_rule(augmentations: T.AugmentationList) -> tuple[int | None, int | None]:
    """Short side and largest side of `augmentations`, or None and None without resizing.

    Raises ValueError for augmentations other than one ResizeShortestEdge of one length.
    """
    rules = list(augmentations.augs)
    if not rules:
        return None, None
    if len(rules) == 1 and isinstance(rules[0], T.ResizeShortestEdge) and len(set(rules[0].short_edge_length)) == 1:
        return int(rules[0].short_edge_length[0]), int(rules[0].max_size)
    raise ValueError(
        f"an exported file can describe one ResizeShortestEdge, not {rules}: "
        "change dataloader.test.mapper.augmentations"
    )
