"""Datasets with faults planted, and what the dataset doctor has to say of them."""

from pathlib import Path

from PIL import Image

from coco_files import annotation, content, without
from dab_detr.doctor.finding import Severity
from dab_detr.doctor.mend import mend

ERROR, WARNING, NOTE = Severity


def dataset(ids=(1, 2, 3)) -> dict:
    """A good one, of which there is nothing to say but that an image has no objects."""
    return content(ids)


def spoilt(spoil) -> dict:
    data = dataset()
    spoil(data)
    return data


def images_of(folder: Path, split: str) -> Path:
    """Pictures that differ, in the place of those that `write` has made."""
    for number, path in enumerate(sorted((folder / split).glob("*.png"))):
        Image.new("RGB", (20, 10), (number, len(split), 7)).save(path)
    return folder / split


def mended(folder, data) -> dict:
    """The mended copy of what has been written as training set."""
    result, _ = mend(data, str(images_of(folder, "train")))
    return result


def every(**changes):
    """Changes all annotations by functions of them."""
    return lambda data: [x.update({k: f(x) for k, f in changes.items()}) for x in data["annotations"]]


def move(index, box):
    return lambda data: annotation(data, index, bbox=box, area=box[2] * box[3])


def normalize(x):
    left, top, width, height = x["bbox"]
    return [left / 20, top / 10, width / 20, height / 10]


def shares(*indices):
    """Put the boxes of these annotations, or of all, into shares of their image, one of them far from its corner."""

    def spoil(data):
        move(5, [11, 5, 8, 4])(data)
        for i in indices or range(6):
            annotation(data, i, bbox=normalize(data["annotations"][i]))

    return spoil


def corners(data):
    data.update(content(num_images=6))
    every(bbox=lambda x: [x["bbox"][0] + 6, 3, x["bbox"][0] + 16, 9])(data)


def rename_image(index, name):
    return lambda data: data["images"][index].update(file_name=name)


# what is done to the annotations: (how it is done, severity, kind, what the message has to have)
FAULTS = {
    "category id unknown": (
        lambda x: annotation(x, 2, category_id=9), ERROR, "unknown category",
        r"1 annotations have a category_id that .* \(1, 2, 3\): 9 in annotation 102 \(2\.png\)$",
    ),
    "category id as text": (
        lambda x: annotation(x, 0, category_id="1"), ERROR, "unknown category", r"'1' in annotation 100 \(1\.png\)",
    ),
    "category id missing": (
        lambda x: without(x, "category_id", 0), ERROR, "unknown category", r"None in annotation 100 \(1\.png\)",
    ),
    "category id as list": (
        lambda x: annotation(x, 0, category_id=[1]), ERROR, "unknown category", r"\[1\] in annotation 100",
    ),
    "category ids from 0": (
        every(category_id=lambda x: x["category_id"] - 1), ERROR, "unknown category",
        r"0 in annotation 100 .*shift by one: every category_id \+1 would be a category",
    ),
    "category ids beyond": (
        every(category_id=lambda x: x["category_id"] + 1), ERROR, "unknown category", "every category_id -1 would",
    ),
    "category id twice": (
        lambda x: x["categories"].append({"id": 2, "name": "again"}), ERROR, "category id twice", "used twice: 2$",
    ),
    "category name twice": (
        lambda x: x["categories"][2].update(name="class 0"), WARNING, "category name twice",
        "'class 0' with the ids 1, 3",
    ),
    "category for background": (
        lambda x: x["categories"][1].update(name="Background"), WARNING, "background category", "2 'Background'",
    ),
    "category without objects": (
        lambda x: x["categories"].append({"id": 7, "name": "rare"}), WARNING, "unused category", "7 'rare'",
    ),
    "annotation without image": (
        lambda x: annotation(x, 1, image_id=77), ERROR, "unknown image",
        "1 annotations belong to images that do not exist: image_id 77 in annotation 101",
    ),
    "image id twice": (
        lambda x: x["images"][0].update(id=20), ERROR, "image id twice", r"used twice: 20 \(0\.png and 2\.png\)",
    ),
    "image size of zero": (
        lambda x: x["images"][2].update(height=0), ERROR, "no image size", r"image 20 \(2\.png\) 20 x 0",
    ),
    "image size left out": (
        lambda x: x["images"][2].pop("width"), ERROR, "no image size", r"image 20 \(2\.png\) None x 10",
    ),
    "image size as text": (
        lambda x: x["images"][2].update(width="20"), ERROR, "no image size", r"image 20 \(2\.png\) '20' x 10",
    ),
    "image size differs": (
        lambda x: x["images"][2].update(width=25), ERROR, "wrong image size",
        r"image 20 \(2\.png\) is 20x10, annotated as 25x10$",
    ),
    "image size exchanged": (
        lambda x: x["images"][0].update(width=10, height=20), ERROR, "wrong image size",
        r"image 0 \(0\.png\) is 20x10, annotated as 10x20, width and height exchanged",
    ),
    "file listed twice": (
        lambda x: rename_image(2, "3.png")(x), WARNING, "file twice", r"3\.png with the ids 20, 30",
    ),
    "annotation id twice": (
        lambda x: annotation(x, 1, id=100), ERROR, "annotation id twice",
        r"annotation 100 \(1\.png\), annotation 100 \(2\.png\)",
    ),
    "annotation id missing": (
        lambda x: without(x, "id", 1), ERROR, "no annotation id", r"the first is annotations\[1\]",
    ),
    "annotation id 0": (
        lambda x: annotation(x, 1, id=0), WARNING, "annotation id below 1",
        r"count an object of id 0 as missed .*: annotation 0 \(2\.png\); --fix numbers them again$",
    ),
    "annotation id of 64 bits": (
        lambda x: annotation(x, 1, id=2**53 + 1), WARNING, "annotation id too large", r"9007199254740993 \(2\.png\)",
    ),
    "annotation id as text": (
        lambda x: annotation(x, 1, id="a16"), WARNING, "annotation id no number", r"annotation a16 \(2\.png\)",
    ),
    "annotation id beyond all numbers": (
        lambda x: annotation(x, 1, id=10**400), WARNING, "annotation id too large", r"annotation 10+\.\.\. \(2\.png\)",
    ),
    "image id beyond 64 bits": (
        lambda x: x["images"][0].update(id=2**63), ERROR, "image id too large", "9223372036854775808$",
    ),
    "category id beyond 64 bits": (
        lambda x: x["categories"][2].update(id=2.0**70), ERROR, "category id too large", "1 category ids",
    ),
    "all objects crowds": (
        every(iscrowd=lambda x: 1), ERROR, "nothing to learn", r"is a crowd region .* Set iscrowd to 0",
    ),
    "no annotations": (lambda x: x["annotations"].clear(), ERROR, "no annotations", "no annotations at all"),
    "no list of annotations": (lambda x: x.pop("annotations"), ERROR, "no annotations", "only images"),
    "annotation twice": (
        lambda x: x["annotations"].append({**x["annotations"][3], "id": 7}), WARNING, "annotation twice",
        r"annotation 7 \(3\.png\)",
    ),
    "box of two categories": (
        lambda x: x["annotations"].append({**x["annotations"][3], "id": 7, "category_id": 2}), WARNING,
        "box of two categories", r"annotation 7 \(3\.png\)",
    ),
    "bbox missing": (lambda x: without(x, "bbox", 0), ERROR, "no box", r"1 annotations .*: annotation 100 \(1\.png\)"),
    "bbox of three": (lambda x: annotation(x, 0, bbox=[1, 2, 3]), ERROR, "no box", r"annotation 100 \(1\.png\)"),
    "bbox of text": (
        lambda x: annotation(x, 0, bbox=["1", "1", "4", "4.0"]), ERROR, "no box", r"annotation 100 \(1\.png\)",
    ),
    "bbox NaN": (
        lambda x: annotation(x, 0, bbox=[1, 1, float("nan"), 4]), ERROR, "box not finite", r"100 \(1\.png\)",
    ),
    "bbox infinite": (
        lambda x: annotation(x, 0, bbox=[1, 1, float("inf"), 4]), ERROR, "box not finite", r"100 \(1\.png\)",
    ),
    "box inverted": (
        move(4, [12, 6, -8, 4]), ERROR, "inverted box",
        r"annotation 104 \(3\.png\) \[12, 6, -8, 4\] in 20x10$",
    ),
    "box empty": (move(4, [2, 2, 8, 0]), WARNING, "empty box", r"annotation 104 \(3\.png\) \[2, 2, 8, 0\]"),
    "box of half a pixel": (move(4, [2, 2, 8, 0.5]), WARNING, "tiny box", r"annotation 104 \(3\.png\)"),
    "box outside": (move(4, [20, 2, 8, 4]), ERROR, "box outside the image", r"104 \(3\.png\) \[20, 2, 8, 4\] in 20x10"),
    "box left of the image": (move(4, [-8, 2, 8, 4]), ERROR, "box outside the image", r"annotation 104 \(3\.png\)"),
    "box over the border": (move(4, [15, 2, 8, 4]), WARNING, "box over the border", r"annotation 104 \(3\.png\)"),
    "boxes in shares": (
        shares(), ERROR, "normalized boxes",
        r"^6 boxes .* must be in pixels: annotation 100 \(1\.png\) .*; as x, y, width, height they fit$",
    ),
    "half of the boxes in shares": (
        shares(0, 1, 5), ERROR, "normalized boxes", r"^3 boxes .*annotation 100 .* annotation 105 \(3\.png\)",
    ),
    "box in shares": (
        lambda x: annotation(x, 3, bbox=[0, 0, 1.0001, 1.0]), ERROR, "normalized boxes",
        r"^1 boxes .*: annotation 103 \(3\.png\) \[0, 0, 1.0001, 1\]",
    ),
    "boxes of corners": (
        corners, ERROR, "boxes of corners",
        r"must be \[x, y, width, height\].*: annotation 100 \(1\.png\) \[6, 3, 16, 9\]",
    ),
    "area too large": (
        lambda x: annotation(x, 1, area=100), WARNING, "wrong area", r"annotation 101 \(2\.png\) 100$",
    ),
    "area below 0": (
        lambda x: annotation(x, 1, area=-24), ERROR, "impossible area", r"^1 annotations .* 101 \(2\.png\) -24; --fix",
    ),
    "infinite area": (lambda x: annotation(x, 1, area=1e999), ERROR, "impossible area", r"101 \(2\.png\) inf"),
    "area in shares": (lambda x: annotation(x, 1, area=0.1), WARNING, "wrong area", r"101 \(2\.png\) 0\.1$"),
    "iscrowd of 2": (lambda x: annotation(x, 1, iscrowd=2), ERROR, "iscrowd not 0 or 1", r"101 \(2\.png\)"),
    "crowd": (lambda x: annotation(x, 1, iscrowd=1), NOTE, "crowd", r"annotation 101 \(2\.png\)"),
    "iscrowd as text": (lambda x: annotation(x, 1, iscrowd="0"), ERROR, "iscrowd not 0 or 1", r"101 \(2\.png\)"),
    "ignore": (lambda x: annotation(x, 1, ignore=1), ERROR, "ignore", r"annotation 101 \(2\.png\)"),
    "ignore as text": (lambda x: annotation(x, 1, ignore="0"), ERROR, "ignore", r"annotation 101 \(2\.png\)"),
    "image id as text": (
        every(image_id=lambda x: str(x["image_id"])), ERROR, "unknown image",
        r"image_id '10' in annotation 100.*; 6 of them would be known if numbers and text were not mixed up$",
    ),
    "image ids of two kinds": (
        lambda x: x["images"][0].update(id="a"), ERROR, "image ids mixed",
        "some image ids are numbers and others are text: 10, 20, 30 and 'a'",
    ),
    "category name a number": (
        lambda x: x["categories"][1].update(name=7), ERROR, "category name no text", "1 categories .*: 2 7$",
    ),
    "category name of half a character": (
        lambda x: x["categories"][1].update(name="a\ud800"), ERROR, "category name no text", r"2 'a\\ud800'$",
    ),
    "category name null": (
        lambda x: x["categories"][1].update(name=None), ERROR, "category name no text", "1 categories .*: 2 None$",
    ),
    "polygon alone": (
        lambda x: annotation(x, 1, segmentation=[1.0, 1.0, 5.0, 1.0, 5.0, 5.0]), ERROR, "segmentation",
        r"neither a list of polygons, each a list, nor RLE .*: annotation 101 \(2\.png\)$",
    ),
    "RLE without size": (
        lambda x: annotation(x, 1, segmentation={"counts": "abc"}), ERROR, "segmentation", r"101 \(2\.png\)$",
    ),
    "RLE of negative size": (
        lambda x: annotation(x, 1, segmentation={"counts": [0, 200], "size": [-10, 20]}), ERROR, "segmentation",
        r"counts .* add up to its size .*: annotation 101 \(2\.png\)$",
    ),
    "RLE of negative counts": (
        lambda x: annotation(x, 1, segmentation={"counts": [-1, 201], "size": [10, 20]}), ERROR, "segmentation",
        r"annotation 101 \(2\.png\)$",
    ),
    "RLE beyond its size": (
        lambda x: annotation(x, 1, segmentation={"counts": [100, 101], "size": [10, 20]}), ERROR, "segmentation",
        r"annotation 101 \(2\.png\)$",
    ),
    "RLE of a size beyond all numbers": (
        lambda x: annotation(x, 1, segmentation={"counts": [10**40], "size": [10**20, 10**20]}), ERROR,
        "segmentation", r"annotation 101 \(2\.png\)$",
    ),
    "polygon of two points": (
        lambda x: annotation(x, 1, segmentation=[[1, 1, 5, 5]]), WARNING, "segmentation without area",
        r"left out by Detectron2.*: annotation 101 \(2\.png\)$",
    ),
    "key points in lists": (
        lambda x: annotation(x, 1, keypoints=[[1, 1, 2]]), ERROR, "keypoints", r"annotation 101 \(2\.png\)$",
    ),
    "key points beyond all numbers": (
        lambda x: annotation(x, 1, keypoints=[10**400, 1, 2]), ERROR, "keypoints", r"annotation 101 \(2\.png\)$",
    ),
    "bbox beyond all numbers": (
        lambda x: annotation(x, 0, bbox=[1, 1, 10**400, 4]), ERROR, "box not finite", r"100 \(1\.png\)",
    ),
}  # fmt: skip


# likewise, what spoils a validation set; in a training set it is a warning
FAULTS_OF_EVALUATION = {
    "area missing": (lambda x: without(x, "area", 1), "no area", r"annotation 101 \(2\.png\)"),
    "area null": (lambda x: annotation(x, 1, area=None), "no area", r"annotation 101 \(2\.png\)"),
    "area as text": (lambda x: annotation(x, 1, area="100"), "no area", r"annotation 101 \(2\.png\)"),
    "iscrowd missing": (lambda x: without(x, "iscrowd", 1), "no iscrowd", r"annotation 101 \(2\.png\)"),
}  # fmt: skip


PAIRS = {
    "shifted": (dataset(ids=(0, 1, 2)), ERROR, "categories shifted by one", "1, 2, 3 in the first and 0, 1, 2 in the"),
    "fewer": (dataset(ids=(1, 2)), ERROR, "categories differ", r"only \S+train\.json has 3 'class 2'"),
    "renamed": (
        spoilt(lambda x: x["categories"][1].update(name="other")), ERROR, "categories differ",
        "2 is .class 1. and .other",
    ),
    "never learned": (
        spoilt(lambda x: x["categories"][1].update(name="other")), WARNING, "category never learned", "'other'",
    ),
}  # fmt: skip
