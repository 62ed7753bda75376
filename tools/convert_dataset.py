"""Datasets in the layouts of YOLO, Pascal VOC and others as annotation files in COCO format. Pictures stay in place.

python tools/convert_dataset.py my/data.yaml my/coco       # YOLO, by its yaml file
python tools/convert_dataset.py VOCdevkit/VOC2012 my/coco  # Pascal VOC: Annotations, JPEGImages, ImageSets
python tools/convert_dataset.py my/export my/coco          # folders train, val, test with labels beside the pictures,
                                                           # of Pascal VOC, LabelMe, CreateML or COCO

The formats are read by the library supervision: pip install supervision
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
IMAGES, LABELS = ("JPEGImages", "images"), ("Annotations", "annotations", "labels")
# label files in the folder of a split: one for all pictures, or one for each
FORMATS = {
    "_annotations.coco.json": "from_coco",
    "_annotations.createml.json": "from_createml",
    "*.xml": "from_pascal_voc",
    "*.json": "from_labelme",
}


@dataclass(frozen=True, kw_only=True)
class Split:
    """One part of a dataset: a folder of pictures and its labels.

    format: the method of supervision's DetectionDataset that reads it.
    labels: the folder of the label files, or the one file for all pictures.
    data: what that method needs beside the two.
    stems: the pictures that belong to the split, by their names without suffix; None for all of the folder.
    """

    name: str
    format: str
    images: Path
    labels: Path
    data: tuple[Path, ...] = ()
    stems: frozenset[str] | None = None


def main(argv: list[str] | None = None) -> int:
    """Convert. Returns the exit status: 2 where there is nothing to convert or it cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="data.yaml of YOLO, or the folder of a dataset")
    parser.add_argument("out", type=Path, help="folder for train.json, val.json, test.json")
    args = parser.parse_args(argv)
    try:
        splits = find_splits(args.dataset)
        outputs = {split.name: args.out / f"{split.name}.json" for split in splits}
        for path in outputs.values():
            if path.exists():
                raise ValueError(f"{path} exists: nothing is written over, choose another folder")
        contents = convert(splits)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    for split in splits:
        content = contents[split.name]
        outputs[split.name].write_text(json.dumps(content))
        print(f"{outputs[split.name]}: {len(content['images'])} images, {len(content['annotations'])} annotations, "
              f"pictures in {split.images}")  # fmt: skip
    print("categories: " + ", ".join(f"{c['id']} {c['name']}" for c in content["categories"]))
    return 0


def find_splits(dataset: Path) -> list[Split]:
    """The parts of a dataset, by what its folder holds. Raises ValueError where the layout is none that is known."""
    if dataset.is_file():
        return list(_yolo(dataset))
    if not dataset.is_dir():
        raise ValueError(f"{dataset} does not exist")
    for path in sorted(dataset.glob("*.y*ml")):
        if isinstance(content := yaml.safe_load(path.read_text()), dict) and "names" in content:
            return list(_yolo(path))
    for layout in (_voc, _folders):
        if splits := list(layout(dataset)):
            return splits
    raise ValueError(
        f"{dataset} has no layout that is known: neither a data.yaml (YOLO), nor Annotations and JPEGImages (Pascal "
        f"VOC), nor folders train and val with labels beside the pictures ({', '.join(FORMATS)})"
    )


def _yolo(path: Path) -> Iterator[Split]:
    content = yaml.safe_load(path.read_text())
    if not isinstance(content, dict) or "names" not in content:
        raise ValueError(f"{path} is no data.yaml of YOLO: it has no 'names'")
    root = path.parent / content.get("path", "")
    for name in SPLITS:
        if not content.get(name):
            continue
        if not isinstance(content[name], str) or content[name].endswith(".txt"):
            raise ValueError(f"{path}: {name} has to be one folder of pictures, got {content[name]!r}")
        images = root / content[name]
        if not images.is_dir():  # exports of Roboflow say ../train/images and mean train/images
            images = path.parent / content[name].removeprefix("../")
        if not images.is_dir():
            raise ValueError(f"{path}: the folder of {name}, {images}, does not exist")
        # as YOLO itself finds them: the last "images" of the path is "labels"
        before, found, after = str(images).rpartition("images")
        labels = Path(f"{before}labels{after}") if found else images
        if not labels.is_dir():
            raise ValueError(f"{path}: the labels of {name}, {labels}, do not exist")
        yield Split(name=name, format="from_yolo", images=images, labels=labels, data=(path,))


def _voc(root: Path) -> Iterator[Split]:
    images, labels = _first(root, IMAGES), _first(root, LABELS)
    if not images or not labels or not any(labels.glob("*.xml")):
        return
    lists = {name: root / "ImageSets" / "Main" / f"{name}.txt" for name in SPLITS}
    if not any(path.is_file() for path in lists.values()):
        yield Split(name="train", format="from_pascal_voc", images=images, labels=labels)
    for name, path in lists.items():
        if path.is_file():
            stems = frozenset(line.split()[0] for line in path.read_text().splitlines() if line.strip())
            yield Split(name=name, format="from_pascal_voc", images=images, labels=labels, stems=stems)


def _folders(root: Path) -> Iterator[Split]:
    for name, aliases in SPLITS.items():
        folder = _first(root, aliases)
        if not folder:
            continue
        images, labels = _first(folder, IMAGES) or folder, _first(folder, LABELS) or folder
        for pattern, method in FORMATS.items():
            if found := sorted(labels.glob(pattern)):
                one_for_all = "*" not in pattern
                yield Split(name=name, format=method, images=images, labels=found[0] if one_for_all else labels)
                break


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def convert(splits: list[Split]) -> dict[str, dict]:
    """The content of an annotation file for each split. All have the same categories: YOLO's, or all names sorted."""
    read = {split.name: read_split(split) for split in splits}
    classes = [names for names, _ in read.values()]
    names = classes[0] if splits[0].format == "from_yolo" else sorted({name for some in classes for name in some})
    return {split.name: tidy(read[split.name][1], names, split.stems) for split in splits}


def read_split(split: Split) -> tuple[list[str], dict]:
    """Class names of a split and its content in COCO format, as supervision gives them."""
    print(f"reading {split.images} ...")
    dataset = _reader(split.format)(str(split.images), str(split.labels), *map(str, split.data))
    if not dataset.image_paths:
        raise ValueError(f"there are no pictures in {split.images}")
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "coco.json")
        dataset.as_coco(annotations_path=path)
        return list(dataset.classes), json.loads(Path(path).read_text())


def _reader(method: str) -> Callable:
    try:
        from supervision import DetectionDataset
    except ImportError as error:
        raise ImportError("tools/convert_dataset.py needs the library supervision: pip install supervision") from error
    return getattr(DetectionDataset, method)


def tidy(content: dict, names: list[str], stems: frozenset[str] | None) -> dict:
    """Content with the categories `names`, numbered from 1, of the pictures `stems`, in the order of their names."""
    number = {name: i for i, name in enumerate(names, 1)}
    ids = {c["id"]: number[c["name"]] for c in content["categories"]}
    images = [x for x in content["images"] if stems is None or Path(x["file_name"]).stem in stems]
    images.sort(key=lambda x: x["file_name"])
    renumbered = {x["id"]: i for i, x in enumerate(images, 1)}
    annotations = [x for x in content["annotations"] if x["image_id"] in renumbered]
    annotations.sort(key=lambda x: (renumbered[x["image_id"]], x["id"]))
    return {
        "categories": [{"id": i, "name": name} for name, i in number.items()],
        "images": [{"id": renumbered[x["id"]], **{k: x[k] for k in ("file_name", "width", "height")}} for x in images],
        "annotations": [
            {**x, "id": i, "image_id": renumbered[x["image_id"]], "category_id": ids[x["category_id"]]}
            for i, x in enumerate(annotations, 1)
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
