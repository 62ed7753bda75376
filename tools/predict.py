"""Detect objects in images, folders, URLs, videos and cameras with a trained model.

python tools/predict.py --model dab_detr_r50_50ep street.jpg
python tools/predict.py --checkpoint output/mine/model_best.pth pictures/ --output predictions
python tools/predict.py --checkpoint output/mine/model_best.pth --video street.mp4 --output predictions
torchrun --nproc-per-node 4 tools/predict.py --checkpoint output/mine/model_best.pth pictures/ --json found.json
"""

import argparse
import signal
import sys
from pathlib import Path

from dab_detr import command
from dab_detr.inference.arguments import add_model_arguments


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command.config_parser(__doc__, "for weights without an embedded config: a LazyConfig or a yacs config")
    parser.add_argument(
        "images",
        nargs="*",
        help="image files, folders (with all below them) and URLs; then overrides",
    )
    parser.add_argument("--video", help="instead of images: a video file, its URL, or the number of a camera")
    add_model_arguments(parser)
    parser.add_argument("--device", default="cuda", help="torch's name of it (default cuda, or cpu without a GPU)")
    parser.add_argument(
        "--output", type=Path, help="folder for the pictures or the video (default without --json: output/predictions)"
    )
    parser.add_argument(
        "--json",
        type=Path,
        help="file for the detections, in COCO's format; with the suffix .jsonl, one line for each image",
    )
    parser.add_argument("--threshold", type=float, default=0.3, help="lowest score of a detection (default 0.3)")
    parser.add_argument(
        "--batch-size",
        type=int,
        default=1,
        help="number of images of one size that go through the model together",
    )
    parser.add_argument("--pad", action="store_true", help="put images of different sizes together, padded")
    parser.add_argument("--skip-unreadable", action="store_true", help="name images that cannot be read and continue")
    parser.add_argument("--resume", action="store_true", help="continue a run that was stopped, with the same command")
    parser.add_argument("--overwrite", action="store_true", help="replace files that an earlier run has written")
    parser.add_argument("--max-pixels", type=int, help="largest image to read, in pixels (default 179 million)")
    parser.add_argument("--autocast", choices=["float16", "bfloat16"], help="automatic mixed precision")
    args = command.parse(parser, argv, inputs="images")
    if not args.output and not args.json:
        args.output = Path("output/predictions")
    return args


def interrupt(number: int, _) -> None:
    """End the run as Ctrl-C does."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def work(args: argparse.Namespace) -> None:
    """Detect; signals end it as Ctrl-C does."""
    for name in {"SIGTERM", "SIGHUP"} & set(dir(signal)):
        signal.signal(getattr(signal, name), interrupt)
    from detectron2.utils.logger import setup_logger  # imported here, so that --help does not wait for torch

    from dab_detr.inference.job import run

    setup_logger(name="dab_detr")
    run(args)


def main(argv: list[str] | None = None) -> int:
    """Detect. Returns the exit status."""
    return command.run(work, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
