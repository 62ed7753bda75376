"""Detect objects in images, folders, URLs, videos and cameras with a trained model.

python tools/predict.py --checkpoint output/mine/model_final.pth pictures/ --output predictions
python tools/predict.py --checkpoint output/mine/model_final.pth --video street.mp4 --output predictions
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import torch
from detectron2.utils.logger import setup_logger
from PIL import Image

from dab_detr.inference import CocoFile, Detections, Predictor, Video, VideoWriter
from dab_detr.inference.recipe import load_config


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", help="image files, folders (with all below them) and URLs")
    parser.add_argument("--video", help="instead of images: a video file, its URL, or the number of a camera")
    parser.add_argument(
        "--checkpoint", required=True, help="a checkpoint of train_net.py, or with a config any weights"
    )
    parser.add_argument("--config-file", help="for weights that come without: a LazyConfig or a yaml config")
    parser.add_argument("--opts", nargs="+", default=[], help="overrides of the config, as for train_net.py")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        help="a class of your own that the checkpoint's config may build; repeatable",
    )
    parser.add_argument("--output", type=Path, help="folder for the pictures, or the video, with what was found")
    parser.add_argument("--json", type=Path, help="file for what was found, in COCO's format")
    parser.add_argument("--threshold", type=float, default=0.3, help="lowest score of a detection (default 0.3)")
    parser.add_argument(
        "--batch-size",
        type=int,
        default=1,
        help="images that are read at once; those of one size go through the model together",
    )
    parser.add_argument("--pad", action="store_true", help="put images of different sizes together, padded")
    parser.add_argument("--skip-unreadable", action="store_true", help="name images that cannot be read and go on")
    parser.add_argument(
        "--device", default="cuda", help="as torch names it (default cuda, the CPU where there is none)"
    )
    parser.add_argument("--autocast", choices=["float16", "bfloat16"], help="automatic mixed precision")
    return parser


def check(args: argparse.Namespace) -> None:
    """Raises ValueError for arguments that do not go together."""
    if bool(args.images) == bool(args.video):
        raise ValueError("give images, before --opts, or --video")
    if not args.output and not args.json:
        raise ValueError("give --output for pictures, --json for numbers, or both")
    if args.opts and not args.config_file:
        raise ValueError("--opts override --config-file, which is not given")
    if args.batch_size < 1:
        raise ValueError(f"--batch-size must be 1 or more, got {args.batch_size}")
    if not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold must be from 0 to 1, got {args.threshold}")
    check_output(args)


def check_output(args: argparse.Namespace) -> None:
    """Raises ValueError where what is drawn would overwrite what is looked at, or come to lie within it."""
    if not args.output:
        return
    output, ending = args.output.resolve(), "mp4" if args.video else "png"
    sources = [Path(x).resolve() for x in args.images or [args.video] if Path(x).exists()]
    written = {output / f"{path.stem}.{ending}" for path in sources}
    if any(path in written or path in (output, *output.parents) for path in sources):
        raise ValueError(
            f"--output {args.output} is where the input lies, and would overwrite it: choose another folder"
        )


def predictor_of(args: argparse.Namespace) -> Predictor:
    options = {"device": args.device, "autocast": getattr(torch, args.autocast) if args.autocast else None}
    if not args.config_file:
        return Predictor.from_checkpoint(args.checkpoint, allow=args.allow, **options)
    return Predictor.from_config(load_config(args.config_file, args.opts), args.checkpoint, **options)


def drawn(found: Iterator[Detections], folder: Path) -> Iterator[Detections]:
    """The same, while a picture of each is saved under the image's own name, or that with a number."""
    taken = set()
    for detections in found:
        stem = name = Path(detections.name).stem
        while name in taken:
            name = f"{stem}_{len(taken)}"
        taken.add(name)
        Image.fromarray(detections.draw()).save(folder / f"{name}.png")
        yield detections


def filmed(found: Iterator[Detections], path: Path, frames_per_second: float) -> Iterator[Detections]:
    """The same, while a video of them is written."""
    with VideoWriter(path, frames_per_second) as writer:
        for detections in found:
            writer.write(detections.draw())
            yield detections


def run(args: argparse.Namespace) -> int:
    """Returns how many images were looked at. What was found until an error or Ctrl-C, which ends it, is kept."""
    check(args)
    predictor = predictor_of(args)
    source = args.images
    if args.video:
        source = Video(int(args.video) if args.video.isdecimal() else args.video)
    found = predictor.predict(
        source,
        threshold=args.threshold,
        batch_size=args.batch_size,
        pad=args.pad,
        skip_unreadable=args.skip_unreadable,
        progress=True,
    )
    for folder in (args.output, args.json and args.json.parent):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    if args.output:
        if args.video:
            name = f"{Path(source.name).stem}.mp4"
            found = filmed(found, args.output / name, source.frames_per_second)
        else:
            found = drawn(found, args.output)
    file = CocoFile(class_names=predictor.class_names, category_ids=predictor.category_ids)
    try:
        with closing(found), suppress(KeyboardInterrupt):
            for detections in found:
                file.add(detections)
    finally:
        if args.json:
            file.save(args.json)
    return len(file.content["images"])


def main() -> None:
    setup_logger(name="dab_detr")
    try:
        number = run(parser().parse_args())
    except (ValueError, ImportError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{number} images")


if __name__ == "__main__":
    main()
