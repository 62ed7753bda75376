"""Pascal VOC: one XML file for each picture. LabelImg, CVAT and Roboflow write it too."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from .damage import Damage, shown
from .inventory import Inventory
from .items import finite
from .layout import SPLIT_NAMES, SPLITS, Layout, Split, common, image_folder, splits_by_folder
from .ledger import Kind, Ledger
from .lookup import fold
from .paired import PairedLayout, Shape, Sheet
from .records import Records
from .text import decode, read_lines

CORNERS = ("xmin", "ymin", "xmax", "ymax")
MASK_FOLDERS = {"segmentationclass", "segmentationobject"}


@dataclass(frozen=True, kw_only=True)
class VocLayout(PairedLayout):
    """A dataset in Pascal VOC's format.

    absent: names in the lists of ImageSets that have no picture.

    Corners count pixels from 1 and include the last one, as in Pascal VOC, unless the files show otherwise: LabelImg
    wrote them, a corner is below 1, or a corner has a fraction. Then they are used unchanged.
    """

    absent: tuple[str, ...] = ()
    format = "Pascal VOC"

    def parse(self, path: Path) -> Sheet:
        """See PairedLayout."""
        root = parse_xml(path)
        sheet = VocSheet(picture=(root.findtext("filename") or "").strip())
        sheet.by_labelimg = (root.findtext("source/database") or "").strip() == "Unknown"
        stated = [root.findtext(f"size/{key}") for key in ("width", "height")]
        if all(stated):
            width, height = (int(finite(value, "size", path, "")) for value in stated)
            sheet.size = (width, height) if width > 0 and height > 0 else None
        for number, node in enumerate(root.iter("object"), 1):  # some tools put them into an <objects>
            sheet.shapes.append(voc_shape(node, path, number))
        return sheet

    def adjust(self, sheets: list[Sheet]) -> None:
        """Subtract 1 from corners that count from 1."""
        corners = [value for sheet in sheets for shape in sheet.shapes for value in shape.points]
        from_zero = any(value < 1 or value != int(value) for value in corners)
        for sheet in sheets:
            if not from_zero and not sheet.by_labelimg:
                for shape in sheet.shapes:
                    x1, y1, x2, y2 = shape.points
                    shape.points = [x1 - 1, y1 - 1, x2, y2]

    def read(self, ledger: Ledger) -> Records:
        """See Layout."""
        for name in self.absent:
            ledger.add(Kind.NO_PICTURE, name)
        return super().read(ledger)


@dataclass(kw_only=True)
class VocSheet(Sheet):
    """A label file. by_labelimg: whether LabelImg wrote it. LabelImg counts pixels from 0."""

    by_labelimg: bool = False


def parse_xml(path: Path) -> ElementTree.Element:
    """Return the root of an XML file. Raises Damage."""
    try:
        data = path.read_bytes()
        try:
            root = ElementTree.fromstring(data)
        except (ElementTree.ParseError, LookupError, ValueError):  # the stated encoding may be wrong
            stated = re.match(rb"""\s*<\?xml[^>]*encoding\s*=\s*["']([\w.-]+)""", data)
            text = decode(data, path, stated[1].decode() if stated else None)
            text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text.lstrip("\ufeff"))
            root = ElementTree.fromstring(text)
    except OSError as error:
        raise Damage(path, "", f"cannot be read ({error.strerror or error})") from error
    except (ElementTree.ParseError, RecursionError) as error:
        raise Damage(path, "", f"is not XML ({error})") from error
    if root.tag != "annotation":
        raise Damage(path, "", f"is not a Pascal VOC file: its root is <{root.tag}> and not <annotation>")
    return root


def voc_shape(node: ElementTree.Element, path: Path, number: int) -> Shape:
    """Return an <object>. Raises Damage."""
    entry = f"object {number}"
    name = (node.findtext("name") or "").strip()
    if not name:
        raise Damage(path, entry, "has no <name>")
    if len(node.findall("bndbox")) != 1:
        raise Damage(path, entry, f"has {len(node.findall('bndbox')) or 'no'} <bndbox>")
    x1, y1, x2, y2 = (
        finite((node.findtext(f"bndbox/{key}") or "").strip(), f"<{key}>", path, entry) for key in CORNERS
    )
    points = [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]
    return Shape(name=name, points=points, entry=entry, swapped=points != [x1, y1, x2, y2])


def find_voc(inventory: Inventory, source: Path) -> Layout | None:
    """Return the layout of a folder that holds files of Pascal VOC, or None.

    Raises ValueError if it holds several datasets with lists of their own.
    """
    stems = {fold(path.stem) for path in inventory.pictures}
    labels = tuple(x for x in inventory.named(".xml") if fold(x.stem) in stems or looks_like_voc(x))
    if not labels:
        return None
    inventory, understood = without_masks(inventory)
    folders = {path.parent for path in inventory.named(".txt") if path.parent.name.lower() == "main"}
    if len(folders) > 1:
        several = " and ".join(shown(path.parent.parent) for path in sorted(folders))
        raise ValueError(f"{shown(source)} holds several datasets of Pascal VOC: convert {several} one by one")
    lists = image_sets(inventory)
    splits, absent = splits_by_list(inventory, lists) if lists else (splits_by_folder(inventory), ())
    if lists:
        understood += (f"the splits are those of {', '.join(path.name for path in lists.values())}",)
    return VocLayout(
        source=source, inventory=inventory, splits=splits, labels=labels, absent=absent, understood=understood
    )


def without_masks(inventory: Inventory) -> tuple[Inventory, tuple[str, ...]]:
    """Return the inventory without the masks of Pascal VOC, and a sentence if there are any.

    They have the base names of the pictures in JPEGImages. Without other pictures, they count as pictures.
    """
    masks = {x for x in inventory.pictures if MASK_FOLDERS & {part.lower() for part in inventory.relative(x)[:-1]}}
    pictures = tuple(x for x in inventory.pictures if x not in masks)
    if not masks or not pictures:
        return inventory, ()
    others = tuple(sorted({*inventory.others, *masks}))
    names = " and ".join(sorted({x.parent.name for x in masks}))
    return replace(inventory, pictures=pictures, others=others), (f"the files in {names} are masks, not pictures",)


def looks_like_voc(path: Path) -> bool:
    """Whether the beginning of an XML file looks like Pascal VOC. True for a damaged one."""
    try:
        start = decode(path.read_bytes()[:4000], path)
    except (OSError, Damage):
        return True
    return not re.search(r"<\w", start) or bool(re.search(r"<annotation[\s>]", start))


def image_sets(inventory: Inventory) -> dict[str, Path]:
    """The lists of splits in ImageSets/Main, otherwise in ImageSets, by their names in small letters."""
    found: dict[str, Path] = {}
    for folders in (["imagesets", "main"], ["imagesets"]):
        for path in inventory.named(".txt"):
            above = [part.lower() for part in inventory.relative(path)[:-1]]
            if above[-len(folders) :] == folders and (
                path.stem.lower() in SPLIT_NAMES or path.stem.lower() == "trainval"
            ):
                found.setdefault(path.stem.lower(), path)
    return found


def splits_by_list(inventory: Inventory, lists: dict[str, Path]) -> tuple[tuple[Split, ...], tuple[str, ...]]:
    """Return the splits in lists of names (without suffix), and the names without a picture.

    Without a list of train, train is trainval without val.
    """
    folder = image_folder(inventory, inventory.pictures) if inventory.pictures else inventory.folder
    chosen: dict[str, dict[Path, None]] = {}
    absent: list[str] = []
    for stem, path in lists.items():
        pictures, missing = listed_pictures(inventory, folder, read_lines(path))
        chosen.setdefault(SPLIT_NAMES.get(stem, stem), {}).update(dict.fromkeys(pictures))
        absent += [f"{line} of {path.name}" for line in missing]
    both = chosen.pop("trainval", {})
    if "train" not in chosen and both:
        chosen["train"] = {path: None for path in both if path not in chosen.get("val", {})}
    splits = tuple(
        Split(
            name=name, folder=common([folder, *(x.parent for x in chosen[name])]), pictures=tuple(sorted(chosen[name]))
        )
        for name in SPLITS
        if chosen.get(name)
    )
    return splits, tuple(absent)


def listed_pictures(inventory: Inventory, folder: Path, lines: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Return the pictures in the lines of a list, and the lines that fit no picture or more than one."""
    exact, by_stem = defaultdict(list), defaultdict(list)
    for path in inventory.pictures:
        relative = path.relative_to(folder if path.is_relative_to(folder) else inventory.folder)
        for key in (relative, relative.with_suffix("")):
            exact[fold(key.as_posix())].append(path)
        for key in (path.name, path.stem):
            by_stem[fold(key)].append(path)
    found, missing = [], []
    for line in filter(None, map(str.strip, lines)):
        names = (line, re.sub(r"\s+(1|0|-1)$", "", line))  # the lists of a class say 1, 0 or -1
        keys = [fold(name.replace("\\", "/")) for name in names]
        pictures = next((exact[key] for key in keys if key in exact), None)
        if pictures is None:
            pictures = next((by_stem[key] for key in keys if len(by_stem.get(key, ())) == 1), [])
        found += pictures
        missing += [] if pictures else [line]
    return found, missing
