"""The released models by name, with the addresses of their weights and with their configs."""

import difflib
from dataclasses import dataclass
from pathlib import Path

PREFIX = "zoo://"
DETREX = "https://github.com/IDEA-Research/detrex-storage/releases/download/"
ORIGINAL = "https://drive.google.com/drive/folders/1wmiZKfOg_DIGIwyQedV4rzNqUwHVTkUv"
CONFIGS = (
    Path(__file__).parents[1] / "configs",  # in an installed package
    Path(__file__).parents[3] / "configs",  # in a clone
)


@dataclass(frozen=True, kw_only=True)
class ReleasedModel:
    """One model whose weights others have published.

    name: the name that a user types. what: the model in words.
    config: the file in configs/, without its ending, and `overrides` of it.
    url: address of the file; None if only a browser can download it. page: in that case, the web page that has it.
    publisher: who trained or converted the weights.
    ap: AP on COCO val2017 that the publisher gives, not measured by us.
    dataset: registered name of a dataset with its classes.
    size, sha256: size in bytes and hash of the file; None if unknown. See `sources.differences_of`.
    """

    name: str
    what: str
    config: str
    publisher: str
    ap: float
    url: str | None = None
    page: str | None = None
    overrides: tuple[str, ...] = ()
    dataset: str = "coco_2017_val"
    size: int | None = None
    sha256: str | None = None

    def config_file(self) -> Path:
        """The config's file. Raises ValueError if the package was installed without it."""
        return config_file(self.config)


def detrex(name: str, what: str, file: str, ap: float, **options) -> ReleasedModel:
    """A model from the releases of detrex, by its file there; by default its config has the same name."""
    return ReleasedModel(
        name=name, what=what, url=DETREX + file, ap=ap, publisher="detrex", **{"config": name, **options}
    )


def original(config: str, what: str, ap: float) -> ReleasedModel:
    """A model of the original code, in a folder of Google Drive."""
    return ReleasedModel(
        name=f"{config}_original", what=what, config=config, ap=ap, publisher="the original code", page=ORIGINAL
    )


# detrex's DINO has its own position map, and separate heads for each layer
DETREX_DINO = (
    "model.neck.position.temperature_x=10000",
    "model.neck.position.temperature_y=10000",
    "model.neck.position.offset=-0.5",
    "model.decoder.class_heads.shared=False",
    "model.decoder.box_heads.shared=False",
)

MODELS = (
    detrex("dab_detr_r50_50ep", "DAB-DETR, R50", "v0.1.0/dab_detr_r50_50ep.pth", 43.3),
    detrex(
        "dab_detr_r50_3patterns_50ep", "DAB-DETR, R50, 3 patterns", "v0.3.0/converted_dab_detr_r50_3patterns.pth", 42.8
    ),
    detrex("dab_detr_r50_dc5_50ep", "DAB-DETR, R50-DC5", "v0.3.0/converted_dab_detr_r50_dc5.pth", 44.6),
    detrex(
        "dab_detr_r50_dc5_3patterns_50ep",
        "DAB-DETR, R50-DC5, 3 patterns",
        "v0.3.0/converted_dab_detr_r50_dc5_3patterns.pth",
        45.7,
    ),
    detrex("dab_detr_r101_50ep", "DAB-DETR, R101", "v0.1.0/dab_detr_r101_50ep.pth", 44.0),
    detrex("dab_detr_r101_dc5_50ep", "DAB-DETR, R101-DC5", "v0.3.0/converted_detr_r101_dc5.pth", 45.7),
    detrex("dn_dab_detr_r50_50ep", "DN-DAB-DETR, R50", "v0.1.0/dn_detr_r50_50ep.pth", 44.7),
    detrex("dn_dab_detr_r50_dc5_50ep", "DN-DAB-DETR, R50-DC5", "v0.3.0/converted_dn_detr_r50_dc5.pth", 46.3),
    detrex(
        "dab_deformable_detr_r50_50ep",
        "DAB-Deformable-DETR, R50",
        "v0.2.0/dab_deformable_detr_r50_50ep_49AP.pth",
        49.0,
    ),
    detrex(
        "dab_deformable_detr_r50_two_stage_50ep",
        "DAB-Deformable-DETR, R50, two stages",
        "v0.2.0/dab_deformable_detr_r50_two_stage_49_7AP.pth",
        49.7,
    ),
    detrex(
        "dn_dab_deformable_detr_r50_50ep",
        "DN-DAB-Deformable-DETR, R50",
        "v0.1.0/converted_dn_deformable_detr_r50_50ep.pth",
        49.5,
    ),
    detrex(
        "dino_r50_4scale_12ep",
        "DINO, R50, 4 scales",
        "v0.2.0/dino_r50_4scale_12ep_49_2AP.pth",
        49.2,
        overrides=DETREX_DINO,
    ),
    detrex(
        "dino_r50_4scale_24ep",
        "DINO, R50, 4 scales, 24 epochs",
        "v0.1.1/dino_r50_4scale_24ep.pth",
        50.6,
        overrides=DETREX_DINO,
    ),
    detrex(
        "dino_r50_5scale_12ep",
        "DINO, R50, 5 scales",
        "v0.2.1/dino_r50_5scale_12ep.pth",
        49.6,
        overrides=DETREX_DINO,
    ),
    detrex(
        "dino_r101_4scale_12ep",
        "DINO, R101, 4 scales",
        "v0.1.1/dino_r101_4scale_12ep.pth",
        50.0,
        config="dino_r50_4scale_12ep",
        overrides=(*DETREX_DINO, "model.backbone.depth=101"),
    ),
    original("dab_detr_r50_50ep", "DAB-DETR, R50", 42.2),
    original("dab_detr_r50_3patterns_50ep", "DAB-DETR, R50, 3 patterns", 42.6),
    original("dab_detr_r50_dc5_50ep", "DAB-DETR, R50-DC5", 44.5),
    original("dab_detr_r50_dc5_fixxy_50ep", "DAB-DETR, R50-DC5, fixed centers", 44.7),
    original("dab_detr_r50_dc5_3patterns_50ep", "DAB-DETR, R50-DC5, 3 patterns", 45.7),
    original("dab_deformable_detr_r50_50ep", "DAB-Deformable-DETR, R50", 48.7),
)


def released(name: str) -> ReleasedModel:
    """Find a released model by its name, with or without `zoo://`. Raises ValueError, with similar names, if none."""
    short = name.removeprefix(PREFIX)
    known = {model.name: model for model in MODELS}
    if short not in known:
        close = difflib.get_close_matches(short, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "`python -m dab_detr.zoo` lists all names"
        raise ValueError(f"no released model is called {short!r}; {hint}")
    return known[short]


def config_file(name: str) -> Path:
    """The file of a config in configs/, by its name without ending. Raises ValueError if there is none."""
    for folder in CONFIGS:
        if (folder / f"{name}.py").is_file():
            return folder / f"{name}.py"
    raise ValueError(f"there is no config {name}.py in {' or '.join(map(str, CONFIGS))}")


def markdown() -> str:
    """The table of the released models, for the docs."""
    rows = ["| name | model | published AP | published by | weights |", "|---|---|---|---|---|"]
    for model in MODELS:
        source = f"[{'download' if model.url else 'by hand'}]({model.url or model.page})"
        rows.append(f"| `{model.name}` | {model.what} | {model.ap} | {model.publisher} | {source} |")
    return "\n".join(rows)
