"""A row of the study, and short forms for the kinds of rows."""

from dataclasses import dataclass

BASE = "dab_detr"
CONVERGENCE, SWEEP, ABLATION, WHY, ADDITION, START = "convergence", "sweep", "ablation", "why", "addition", "start"


@dataclass(frozen=True)
class Row:
    """An experiment.

    question: the part of the page that it belongs to.
    member: its name as a member of the family, whose curve is drawn; "" for DAB-DETR or DETR with what `label` says.
    several_maps: whether it sees several feature maps, where DAB-DETR sees one.
    small, coco, photographs: its config for the generated shapes, for COCO and for a dataset of photographs, below
        `configs/`; "" for none.
    overrides: overrides of the model, on top of the config.
    steps: its budget as a multiple of the preset's.
    core: whether it is a core row, which has more seeds.
    base: the row that it is compared with.
    attention: whether its attention is measured over the training, which must be to all cells of one map.
    start: the start of its queries, see `starts`; "" for the config's own.
    queries_of: the row whose trained queries it starts from instead; "" for none. A row with another start has no
        config for COCO, because there a training starts from a backbone's weights.
    claim: the sign of the difference in AP to `base` that the papers report: 1, -1, or 0 for none and for differences
        of 0.1 AP.
    source: the place of the claim.
    guess: why the difference may have the other sign here.
    """

    name: str
    label: str
    question: str
    member: str = ""
    several_maps: bool = False
    small: str = "shapes/dab_detr"
    coco: str = "dab_detr_r50_50ep"
    photographs: str = ""
    overrides: tuple[str, ...] = ()
    steps: float = 1.0
    core: bool = False
    base: str = BASE
    attention: bool = False
    start: str = ""
    queries_of: str = ""
    claim: int = 0
    source: str = ""
    guess: str = ""

    @property
    def full_name(self) -> str:
        """The name of a member, or DAB-DETR or DETR with what is different."""
        return self.member or f"{'DETR' if self.base == 'detr' else 'DAB-DETR'} ({self.label})"


def member(config: str, full_name: str, label: str = "", **options) -> Row:
    """A row of one of the configs in configs/shapes, by default under the config's name."""
    options = {"question": CONVERGENCE, "coco": f"{config}_r50_50ep", "name": config} | options
    return Row(label=label or full_name, member=full_name, small=f"shapes/{config}", **options)


def addition(config: str, full_name: str, label: str = "", **options) -> Row:
    """A row of a later member."""
    return member(config, full_name, label, **{"question": ADDITION, "claim": 1} | options)


def detr(name: str, label: str, **options) -> Row:
    """A row of DETR with overrides."""
    return Row(name, label, small="shapes/detr", **{"coco": "", "base": "detr"} | options)


def ablation(name: str, label: str, *overrides: str, **options) -> Row:
    """A row of DAB-DETR with overrides."""
    return Row(name, label, options.pop("question", ABLATION), overrides=overrides, **options)


def temperature(value: int, **options) -> Row:
    """A row of DAB-DETR with this temperature for both the position map and the anchors."""
    names = ("neck.position.temperature_x", "neck.position.temperature_y", "decoder.prior.temperature")
    overrides = [f"model.{name}={value}" for name in names]
    label = f"temperature {value} of map and anchors"
    return ablation(f"temperature_{value}", label, *overrides, core=True, **{"base": "temperature_20"} | options)
