"""The generated dataset "shapes": a COCO-format detection dataset that needs no download.

The demo and the tests use it. A picture has 1 to 4 discs, boxes and triangles on a textured background. The dataset is
written once, and afterwards read like any other COCO-format dataset.
"""

import json
import logging
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from iopath.common.file_io import file_lock
from PIL import Image

from .picture import SHAPES_CLASSES, draw_picture, tight_box

__all__ = ["SHAPES_CLASSES", "generate_shapes", "register_shapes", "shapes_split"]

logger = logging.getLogger(__name__)

VERSION = 1
"""Raise this number whenever the same parameters give other pictures or annotations."""

SPLITS = ("train", "val")
RECORD = "parameters.json"


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Everything that the content of a shapes dataset depends on, besides `VERSION`."""

    num_train: int = 4000
    num_val: int = 500
    image_size: int = 96
    seed: int = 0
    sides: tuple[int, int] = (10, 56)

    def __post_init__(self) -> None:
        least, greatest = self.sides
        if min(self.num_train, self.num_val) < 1:
            raise ValueError(f"shapes: num_train={self.num_train} and num_val={self.num_val} must be 1 or more")
        if self.seed < 0:
            raise ValueError(f"shapes: seed={self.seed} must not be negative")
        if least < 2 or greatest < 2 * least or greatest > self.image_size:
            raise ValueError(
                f"shapes: sides={self.sides} must be (least, greatest) with least of 2 or more, "
                f"greatest at least twice that and at most image_size={self.image_size}"
            )

    @property
    def folder_name(self) -> str:
        least, greatest = self.sides
        return (
            f"v{VERSION}_train{self.num_train}_val{self.num_val}"
            f"_{self.image_size}px_{least}to{greatest}_seed{self.seed}"
        )

    def dataset_name(self, split: str) -> str:
        return f"shapes_{split}" if self == Parameters() else f"shapes_{self.folder_name}_{split}"

    def record(self) -> dict:
        """The parameters as they are written beside the data, in the types that JSON returns."""
        return {"dataset": "shapes", "version": VERSION, **asdict(self), "sides": list(self.sides)}


def generate_shapes(
    root: str | os.PathLike,
    *,
    num_train: int = 4000,
    num_val: int = 500,
    image_size: int = 96,
    seed: int = 0,
    sides: tuple[int, int] = (10, 56),
) -> Path:
    """Write a shapes dataset below `root`, unless it is there already.

    The folder's name spells out the version and all parameters, so other parameters give another folder. It holds
    `annotations/{train,val}.json`, `{train,val}/*.png` and the parameters, and it appears only when it is complete. If
    several processes ask for it, one writes and the others wait. Picture i of a split is the same for any number of
    pictures in the split.

    root: folder of shapes datasets; made if missing.
    num_train: number of training pictures.
    num_val: number of validation pictures.
    image_size: height and width of the pictures in pixels.
    seed: number of the dataset; other seeds give other pictures.
    sides: least and greatest side of an object's box in pixels.

    Returns the absolute folder of this dataset.

    Raises ValueError for parameters that make no dataset, FileExistsError for a folder whose content is not what its
    name says.
    """
    parameters = Parameters(num_train=num_train, num_val=num_val, image_size=image_size, seed=seed, sides=tuple(sides))
    return generate(Path(root), parameters)


def register_shapes(root: str | os.PathLike | None = None, **parameters) -> tuple[str, str]:
    """Register the splits of a shapes dataset with Detectron2; write the dataset first if needed.

    Calling it again with the same parameters changes nothing. With another `root`, the same data is read from there.

    root: as for `generate_shapes`. None is the folder `shapes` among Detectron2's datasets: below
        `$DETECTRON2_DATASETS`, or below `./datasets` if that is not set.
    parameters: as for `generate_shapes`.

    Returns the names of the training and the validation split in the catalogs: `shapes_train` and `shapes_val`, with
    the parameters in them where these are not the default.

    Raises ValueError and FileExistsError as `generate_shapes` does, and ValueError if another dataset has the name.
    """
    if root is None:
        root = Path(os.getenv("DETECTRON2_DATASETS", "datasets")).expanduser() / "shapes"
    checked = Parameters(**parameters)
    folder = generate(Path(root), checked)
    train, val = (register_split(checked.dataset_name(split), folder, split) for split in SPLITS)
    return train, val


def shapes_split(split: str, **parameters) -> str:
    """The name of one split, "train" or "val", after `register_shapes`; for the nodes of a LazyConfig."""
    return dict(zip(SPLITS, register_shapes(**parameters), strict=True))[split]


def generate(root: Path, parameters: Parameters) -> Path:
    """The folder of the dataset, written first if needed; one process writes it, the others wait."""
    folder = root.expanduser().absolute() / parameters.folder_name
    if not folder.exists():  # without the lock, so that a finished dataset may be read-only
        with file_lock(str(folder)):
            if not folder.exists():
                write_dataset(folder, parameters)
    check_record(folder, parameters)
    return folder


def check_record(folder: Path, parameters: Parameters) -> None:
    """Raise FileExistsError for a folder that holds anything but the dataset of these parameters."""
    try:
        found = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        found = None
    if found != parameters.record():
        raise FileExistsError(
            f"{folder} exists, but its {RECORD} does not say that it is this shapes dataset "
            f"(expected {parameters.record()}, found {found}). Delete the folder or choose "
            "another root."
        )


def write_dataset(folder: Path, parameters: Parameters) -> None:
    """Write everything into a sibling of `folder`, which gets its final name at the very end."""
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)  # left by an interrupted run
    start = time.perf_counter()
    logger.info("Writing the shapes dataset to %s, once; this takes seconds ...", folder)
    (partial / "annotations").mkdir(parents=True)
    for number, split in enumerate(SPLITS):
        content = write_pictures(partial / split, number, parameters)
        (partial / "annotations" / f"{split}.json").write_text(json.dumps(content))
    (partial / RECORD).write_text(json.dumps(parameters.record(), indent=2) + "\n")
    partial.rename(folder)
    logger.info("Wrote the shapes dataset in %.1f seconds.", time.perf_counter() - start)


def write_pictures(folder: Path, split: int, parameters: Parameters) -> dict:
    """Write the pictures of a split; returns its annotations in COCO format."""
    folder.mkdir()
    size = parameters.image_size
    images, annotations = [], []
    for index in range((parameters.num_train, parameters.num_val)[split]):
        picture = draw_picture(split, index, seed=parameters.seed, image_size=size, sides=parameters.sides)
        image_id, file_name = index + 1, f"{index + 1:06d}.png"
        # The noise hardly compresses: more effort costs time and saves next to nothing.
        Image.fromarray(picture.image).save(folder / file_name, compress_level=1)
        images.append({"id": image_id, "file_name": file_name, "height": size, "width": size})
        for label, mask in zip(picture.labels.tolist(), picture.masks, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": label + 1,
                    "bbox": list(tight_box(mask)),
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                }
            )
    return {
        "info": {"description": "generated shapes", "version": str(VERSION)},
        "licenses": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(SHAPES_CLASSES, 1)],
        "images": images,
        "annotations": annotations,
    }


def register_split(name: str, folder: Path, split: str) -> str:
    """Register one split under `name` and return it. Raises ValueError if another dataset has the name."""
    json_file = folder / "annotations" / f"{split}.json"
    if name in DatasetCatalog:
        known = MetadataCatalog.get(name).get("json_file", "")
        if known == str(json_file):
            return name
        if Path(known).parts[-3:] != json_file.parts[-3:]:
            raise ValueError(f"The dataset name {name!r} is already registered, for {known!r}.")
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    metadata = {
        "thing_classes": list(SHAPES_CLASSES),
        "thing_dataset_id_to_contiguous_id": {i + 1: i for i in range(len(SHAPES_CLASSES))},
    }
    register_coco_instances(name, metadata, str(json_file), str(folder / split))
    return name
