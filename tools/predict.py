"""Detect objects in images, folders, URLs, videos and cameras with a trained model.

python tools/predict.py --checkpoint output/mine/model_final.pth pictures/ --output predictions
python tools/predict.py --checkpoint output/mine/model_final.pth --video street.mp4 --output predictions
"""

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import torch
from detectron2.utils.logger import setup_logger

from dab_detr import command
from dab_detr.data.pictures import set_pixel_limit
from dab_detr.inference import Detections, Predictor, Video, VideoWriter
from dab_detr.inference.arguments import add_model_arguments, predictor_of
from dab_detr.inference.coco_json import StreamedFile, categories_of, lines_beside
from dab_detr.inference.images import Source, local_name, sources_of
from dab_detr.inference.output import Pictures, check_inputs_are_safe, check_nothing_is_replaced, picture_names


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command.config_parser(__doc__, "for weights that come without: a LazyConfig or a yacs config")
    parser.add_argument(
        "images",
        nargs="*",
        help="image files, folders (with all below them) and URLs; then overrides",
    )
    parser.add_argument("--video", help="instead of images: a video file, its URL, or the number of a camera")
    add_model_arguments(parser)
    parser.add_argument("--device", default="cuda", help="as torch names it (default cuda, the CPU without one)")
    parser.add_argument("--output", type=Path, help="folder for the pictures, or the video, with what was found")
    parser.add_argument(
        "--json", type=Path, help="file for what was found, in COCO's format; with the suffix .jsonl a line an image"
    )
    parser.add_argument("--threshold", type=float, default=0.3, help="lowest score of a detection (default 0.3)")
    parser.add_argument(
        "--batch-size",
        type=int,
        default=1,
        help="images that are read at once; those of one size go through the model together",
    )
    parser.add_argument("--pad", action="store_true", help="put images of different sizes together, padded")
    parser.add_argument("--skip-unreadable", action="store_true", help="name images that cannot be read and go on")
    parser.add_argument("--resume", action="store_true", help="continue a run that was stopped, with the same command")
    parser.add_argument("--overwrite", action="store_true", help="replace files that an earlier run has written")
    parser.add_argument("--max-pixels", type=int, help="largest image to read, in pixels (default 179 million)")
    parser.add_argument("--autocast", choices=["float16", "bfloat16"], help="automatic mixed precision")
    return command.parse(parser, argv, inputs="images")


def check(args: argparse.Namespace) -> None:
    """Raise ValueError for arguments that do not go together."""
    if bool(args.images) == bool(args.video):
        raise ValueError("give images, before the overrides of the config, or --video")
    if not args.output and not args.json:
        raise ValueError("give --output for pictures, --json for numbers, or both")
    if args.batch_size < 1:
        raise ValueError(f"--batch-size must be 1 or more, got {args.batch_size}")
    if args.max_pixels is not None:
        set_pixel_limit(args.max_pixels)
    if not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold must be from 0 to 1, got {args.threshold}")
    if args.resume and (args.video or args.overwrite):
        raise ValueError(f"--resume does not go together with {'--video' if args.video else '--overwrite'}")
    check_folders(args)


def check_folders(args: argparse.Namespace) -> None:
    """Raise ValueError if pictures would come to lie within a folder that is read, or --json is a folder."""
    if args.json and args.json.is_dir():
        raise ValueError(f"--json must be a file, {args.json} is a folder")
    output = args.output and args.output.resolve()
    for folder in map(local_name, args.images) if output else ():
        if Path(folder).is_dir() and Path(folder).resolve() in (output, *output.parents):
            raise ValueError(
                f"--output {args.output} is where the input lies, and would overwrite it: choose another folder"
            )


def check_written(args: argparse.Namespace, pictures: list[Path], names: list[str]) -> None:
    """Raise ValueError if a file to be written is one that is read, or, without --overwrite, one that exists.

    pictures: pictures or a video to be written. names: files and URLs that are read.
    """
    numbers = {args.json, lines_beside(args.json)} if args.json else set()
    if {x.resolve() for x in numbers} & {x.resolve() for x in pictures}:
        raise ValueError(f"--json {args.json} is also the name of a picture to be drawn: choose another")
    weights = Path(args.checkpoint)
    read = [*names, weights, *(weights.iterdir() if weights.is_dir() else ()), *filter(None, [args.config_file])]
    check_inputs_are_safe([*numbers, *pictures], read)
    if not args.overwrite and not args.resume:
        check_nothing_is_replaced([*numbers, *pictures])


def drawn(found: Iterator[Detections], pictures: Pictures) -> Iterator[tuple[Detections, dict]]:
    """Yield each with the name of its picture, which is saved before."""
    for detections in found:
        yield detections, {"picture": pictures.save(detections.name, detections.draw())}


def filmed(found: Iterator[Detections], path: Path, frames_per_second: float) -> Iterator[tuple[Detections, dict]]:
    """Yield each after its frame is written to a video."""
    with VideoWriter(path, frames_per_second) as writer:
        for detections in found:
            writer.write(detections.draw())
            yield detections, {}


def detections_file(args: argparse.Namespace, predictor: Predictor) -> StreamedFile | None:
    """The file of --json, with what is in it if the run is resumed."""
    if not args.json:
        return None
    head = {
        "info": {"checkpoint": args.checkpoint, "threshold": args.threshold},
        "categories": categories_of(predictor.class_names, predictor.category_ids),
    }
    return StreamedFile(args.json, head=head, resume=args.resume)


def remaining(sources: list[Source], file: StreamedFile | None, folder: Path | None) -> tuple[list[Source], set[str]]:
    """The images that a resumed run has not done yet, and the pictures that it has drawn."""
    if file:
        done = Counter(file.done)
        rest = []
        for source in sources:
            done[source.name] -= 1
            rest += [source] if done[source.name] < 0 else []
        return rest, file.pictures
    names = picture_names([x.name for x in sources])
    drawn = {name for name in names if (folder / name).exists()}
    return [x for x, name in zip(sources, names, strict=True) if name not in drawn], drawn


def run(args: argparse.Namespace) -> int:
    """Detect, and print a line with the counts and places. Returns how many images were done in this run.

    What was found until an error or a signal is kept, in files that are whole.
    """
    check(args)
    predictor = predictor_of(args, autocast=getattr(torch, args.autocast) if args.autocast else None)
    if args.video:
        sources = Video(int(args.video) if args.video.isdecimal() else args.video)
        film = args.output and args.output / f"{Path(sources.name).stem}.mp4"
        check_written(args, [film] if film else [], [args.video])
    else:
        sources = sources_of(args.images)
        pictures = Pictures(args.output, [x.name for x in sources]) if args.output else None
        check_written(args, pictures.paths() if pictures else [], [x.name for x in sources])
    for folder in (args.output, args.json and args.json.parent):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    file = detections_file(args, predictor)
    if args.resume:
        sources, taken = remaining(sources, file, args.output)
        pictures = Pictures(args.output, [x.name for x in sources], taken) if args.output else None
    found = predictor.predict(
        sources,
        threshold=args.threshold,
        batch_size=args.batch_size,
        pad=args.pad,
        skip_unreadable=args.skip_unreadable,
        progress=True,
    )
    if not args.output:
        found = ((detections, {}) for detections in found)
    elif args.video:
        found = filmed(found, film, sources.frames_per_second)
    else:
        found = drawn(found, pictures)
    images = objects = 0
    stopped = None
    try:
        with closing(found):
            for detections, more in found:
                if file:
                    file.add(detections, **more)
                images, objects = images + 1, objects + len(detections)
    except KeyboardInterrupt as signalled:
        stopped = signalled
    finally:
        if file:
            file.close()
    left = 0 if args.video else len(sources) - images
    print(summary(args, images, objects, left, stopped is not None))
    if stopped is not None and not args.video:  # a camera has no other end
        raise stopped
    return images


def summary(args: argparse.Namespace, images: int, objects: int, left: int, stopped: bool) -> str:
    """The last line of a run: counts and places."""
    parts = [f"{images} images with {objects} objects"]
    if left:
        parts.append(f"{left} images {'are left, --resume goes on with them' if stopped else 'could not be read'}")
    parts += [f"{'video' if args.video else 'pictures'} in {args.output}"] if args.output else []
    parts += [f"detections in {args.json}"] if args.json else []
    return "; ".join(parts)


def interrupt(number: int, _) -> None:
    """End the run as Ctrl-C does."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def work(args: argparse.Namespace) -> None:
    setup_logger(name="dab_detr")
    for name in {"SIGTERM", "SIGHUP"} & set(dir(signal)):
        signal.signal(getattr(signal, name), interrupt)
    run(args)


def main(argv: list[str] | None = None) -> int:
    """Detect. Returns the exit status."""
    return command.run(work, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
