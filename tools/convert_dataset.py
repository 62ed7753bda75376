"""Convert a dataset of YOLO, Pascal VOC, LabelMe, CreateML or COCO to annotation files in COCO format.

python tools/convert_dataset.py my/dataset my/coco                     # a folder in any known format
python tools/convert_dataset.py my/dataset my/coco --val-fraction 0.2  # splits off a validation set
python tools/convert_dataset.py my/data.yaml my/coco                   # YOLO, by its yaml file

Pictures stay in place. The tool names every picture and object that it does not convert, on the screen and in
my/coco/conversion.txt. The exit status is 1 if something was left out or needs a look, and 2 if nothing was written.
"""

import argparse
import sys

from dab_detr import command
from dab_detr.conversion import DamagedDataset, convert, recognize
from dab_detr.conversion.recognition import FORMATS

SHOWN = 20  # places of a finding on the screen


def main(argv: list[str] | None = None) -> int:
    """Convert. Returns the exit status."""
    return command.run(work, parse(argv))


def work(args: argparse.Namespace) -> int:
    """Convert. Returns the exit status; raises ValueError or OSError if nothing was written."""
    shown = None if args.all else SHOWN
    try:
        report = convert(
            recognize(args.dataset, format=args.format),
            args.output,
            val_fraction=args.val_fraction,
            seed=args.seed,
            skip_damaged=args.skip_damaged,
            skip_unlabeled=args.skip_unlabeled,
            overwrite=args.overwrite,
        )
    except DamagedDataset as error:
        for line in error.lines[:shown]:
            print(f"error: {line}; mend it, or leave its picture out with --skip-damaged", file=sys.stderr)
        if shown and len(error.lines) > shown:
            print(f"error: {len(error.lines) - shown} more damaged files are named with --all", file=sys.stderr)
        return command.BAD_USE
    for line in report.lines(shown):
        print(line)
    if "val" not in report.outputs and "train" in report.outputs:
        print("there is no validation set: --val-fraction 0.2 splits one off")
    print(f"check it: python tools/check_dataset.py {report.arguments()}")
    return 0 if report.clean else command.FINDINGS


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="the folder of a dataset, a data.yaml of YOLO, or an annotation file of COCO")
    parser.add_argument("output", help="folder for train.json, val.json, test.json and conversion.txt")
    parser.add_argument(
        "--val-fraction", type=float, help="fraction of train that becomes val, if there is no val: 0.2"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed for the pictures of val")
    parser.add_argument("--format", choices=FORMATS, help="for folders with labels of several formats")
    parser.add_argument("--skip-damaged", action="store_true", help="leave out the pictures of damaged files")
    parser.add_argument("--skip-unlabeled", action="store_true", help="leave out pictures without labels")
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier conversion")
    parser.add_argument("--all", action="store_true", help="name every place, not only the first 20")
    return command.expand_home(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
