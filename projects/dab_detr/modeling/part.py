"""The contract between the parts of a detector: the attributes that each part declares."""

PAGE = "docs/extending.md"

ANCHORS = "anchors"
LEARNED = "learned positions"
SPATIAL = "a spatial position"
ENCODED = "points encoded as cells"


class Part:
    """Base of the parts of a detector: the attributes that a part declares.

    Every attribute has a default. A part of your own therefore need not inherit from this class: it sets the
    attributes whose defaults are wrong for it, on the class or in its constructor.

    needs: inputs from the part before: a prior takes them from the queries, cross-attention from the prior.
    gives: outputs for the part after: queries for the prior, a prior for cross-attention. Both are tuples of words:
        `ANCHORS`: `Queries.anchors` or `Position.anchors`; `LEARNED`: `Queries.embed`; `SPATIAL`: `Position.spatial`;
        `ENCODED`: `Position.spatial` made by `Memory.encode`.
    anchor_dim: for queries, the number of columns in their anchors: 4 for boxes, 2 for points, 0 for none. For a prior
        and for denoising, the number of columns that it reads. None: any.
    levels: for attention, the number of feature maps that it attends to. None: any.
    splits_axes: for attention and for the position map, whether positions are a half for y and a half for x
        (row-column attention). None: the part takes both kinds; a position map without it is in one piece.
    memory_dim: for queries that are made of memory cells, the number of channels that they expect. None: any.
    by_boxes: for the selection, whether it takes the boxes (B, Q, 4) besides the logits.
    no_object_class: for class heads, the classification loss and the selection, whether the last class is
        "no object". None: the part works with both.
    class_agnostic: for two-stage queries and the criterion, whether the encoder's proposals only tell objects from
        background, as class 0. None: there are no proposals, or the part works with both.
    """

    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    anchor_dim: int | None = None
    levels: int | None = None
    splits_axes: bool | None = None
    memory_dim: int | None = None
    by_boxes: bool = False
    no_object_class: bool | None = None
    class_agnostic: bool | None = None

    def reset_special_weights(self) -> None:
        """Set the weights that do not start as Xavier-uniform; `layers.init_xavier` calls it after the others."""


def declared(part: object, name: str) -> object:
    """The value of the attribute `name` of any part, or the default of `Part`.

    Raises ValueError for `needs` or `gives` that is not a tuple or list of strings.
    """
    value = getattr(part, name, getattr(Part, name))
    if name in ("needs", "gives") and (isinstance(value, str) or not all(isinstance(x, str) for x in value)):
        raise ValueError(f"{type(part).__name__}.{name} must be a tuple of strings, got {value!r} ({PAGE})")
    return value


def required(part: object, name: str, key: str) -> object:
    """The value of an attribute that has no default. Raises ValueError if the part at the config `key` lacks it."""
    if not hasattr(part, name):
        raise ValueError(f"the {type(part).__name__} of {key} must have the attribute {name!r} ({PAGE})")
    return getattr(part, name)
