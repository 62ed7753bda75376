"""The dataset doctor: find what is wrong with a dataset in COCO format, and write a mended copy of its annotations.

python tools/check_dataset.py --train my/train.json my/train --val my/val.json my/val
python tools/check_dataset.py --train my/train.json my/train --config-file configs/dab_detr_r50_50ep.py --fix mended

The exit status is 1 if there are errors, and 2 if the check itself could not run.
"""

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from dab_detr import command
from dab_detr.config import load
from dab_detr.data.content import Content, is_id, printable
from dab_detr.doctor.examine import examine
from dab_detr.doctor.finding import Finding, Severity
from dab_detr.doctor.mend import mend
from dab_detr.doctor.reading import read_content
from dab_detr.doctor.sizes import histograms, relative_sizes


def main(argv: list[str] | None = None) -> int:
    """Examine, and mend if asked to. Returns the exit status."""
    return command.run(check, parse(argv))


def check(args: argparse.Namespace) -> int:
    """Examine, and mend if asked to; returns the exit status. Raises ValueError or OSError if it cannot."""
    splits = [tuple(split) for split in (args.train, args.val) if split]
    num_queries, anchors = args.num_queries, None
    if args.config_file:
        num_queries, anchors = queries_of(args.config_file, args.opts)
    if args.fix:
        outputs = mended_paths(args.fix, [annotations for annotations, _ in splits])
    found = examine(*splits, num_queries=num_queries)
    tell(found, shown=None if args.all else 5)
    if any(finding.kind == "not COCO format" for findings in found.values() for finding in findings):
        return 1
    for annotations, _ in splits:
        tell_objects(annotations, anchors)
    if args.fix:
        found = write_mended(splits, outputs, num_queries)
    return int(has_errors(found))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command.config_parser(__doc__, "a config to take the queries and the anchors from")
    pair = {"nargs": 2, "metavar": ("ANNOTATIONS", "IMAGES")}
    parser.add_argument("--train", required=True, **pair, help="a JSON file in COCO format and its image folder")
    parser.add_argument("--val", **pair, help="the same for the validation set")
    parser.add_argument("--num-queries", type=int, help="the model's queries, to find images with more objects")
    parser.add_argument("--all", action="store_true", help="list every place, not only the first five")
    parser.add_argument("--fix", metavar="OUT", help="folder for a mended copy of the annotation files")
    return command.parse(parser, argv)


def queries_of(config_file: str, overrides: list[str]) -> tuple[int, np.ndarray | None]:
    """The number of queries of a config's model, and width and height (Q, 2) of its anchor boxes, or None.

    Raises ValueError for a config without a model with queries.
    """
    from detectron2.config import instantiate  # here, because `command` silences the warnings of imports

    node = load(config_file, overrides).get("model", {}).get("queries")
    if node is None:
        raise ValueError(f"{config_file} has no model with queries: give --num-queries instead")
    size = getattr(instantiate(node), "size", None) if "anchor_dim" in node else None
    anchors = None if size is None else size.detach().sigmoid().numpy()
    return node.num_queries * max(1, node.get("num_patterns", 0)), anchors


def mended_paths(folder: str, annotations: list[str]) -> list[Path]:
    """Paths of the mended copies. Raises ValueError if one of them exists, even as the source of the copy."""
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f"{folder} is not a folder: --fix writes into one")
    outputs = [Path(folder, os.path.basename(path)) for path in annotations]
    if len(set(outputs)) < len(outputs):
        outputs = [Path(folder, f"{split}.json") for split in ("train", "val")]
    for path in outputs:
        if path.exists():
            raise ValueError(f"{path} exists: --fix never overwrites a file, choose another folder")
    return outputs


def tell(found: dict[str, list[Finding]], shown: int | None) -> None:
    """Print the findings, the worst first, with the first `shown` places of each (None: all)."""
    for label, findings in found.items():
        print(label)
        for severity in Severity:
            for finding in (x for x in findings if x.severity is severity):
                print(f"  {severity.value:8} {finding.kind}: {printable(finding.sentence(shown))}")
        if not findings:
            print("  no problems found")
    counts = [sum(x.severity is severity for findings in found.values() for x in findings) for severity in Severity]
    print("{} errors, {} warnings, {} notes".format(*counts))


def tell_objects(annotations: str, anchors: np.ndarray | None) -> None:
    """Print the number of objects in each category, and their sizes beside those of the anchors."""
    raw, _ = read_content(annotations)
    content = Content.from_json(raw)
    print("", f"{annotations}: {len(content.images)} images, {len(content.objects)} annotations", sep="\n")
    of_category = Counter(x["category_id"] for x in content.objects if is_id(x.get("category_id")))
    for category in raw["categories"]:
        i, name = category["id"], printable(str(category["name"]))
        print(f"  category {i:>4} {name:20} {of_category[i]:>8} annotations")
    sizes = relative_sizes(content)
    if len(sizes):
        print(*histograms(sizes, anchors), sep="\n")


def write_mended(splits: list[tuple[str, str]], outputs: list[Path], num_queries: int | None) -> dict:
    """Write mended copies, print the changes, and examine the copies. Returns the findings about them."""
    contents = [read_content(annotations) for annotations, _ in splits]
    copies = [mend(content, images) for (content, _), (_, images) in zip(contents, splits, strict=True)]
    for (_, findings), (_, done) in zip(contents, copies, strict=True):
        done.update(f"mended: {finding.kind}" for finding in findings)
    for (annotations, images), path, (mended, done) in zip(splits, outputs, copies, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(mended))
        print("", f"{path} is the mended copy of {annotations}, for the images in {images}:", sep="\n")
        print("\n".join(f"  {number} {what}" for what, number in done.items() if number) or "  nothing needed mending")
    found = examine(
        *((str(path), root) for path, (_, root) in zip(outputs, splits, strict=True)), num_queries=num_queries
    )
    remaining = {label: [x for x in findings if x.severity is Severity.ERROR] for label, findings in found.items()}
    if has_errors(remaining):
        print("", "What could not be mended:", sep="\n")
        tell(remaining, shown=5)
    return remaining


def has_errors(found: dict[str, list[Finding]]) -> bool:
    """Whether one of the findings is an error."""
    return any(x.severity is Severity.ERROR for findings in found.values() for x in findings)


if __name__ == "__main__":
    sys.exit(main())
