"""A run of tools/predict.py: from its arguments to pictures and a file of detections.

Detections from before an error or a signal are kept, in complete files.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import torch

from ..data.pictures import set_pixel_limit
from .arguments import predictor_of, weights_of
from .coco_json import StreamedFile, categories_of, lines_beside
from .detections import Detections
from .images import Source, UnreadableImage, local_name, sources_of
from .output import Pictures, check_inputs_are_safe, check_nothing_is_replaced, picture_names
from .predictor import Predictor
from .shares import Processes, SharedFile, join, parts_beside
from .summary import Counts, summary
from .video import Video, VideoWriter


def run(args: argparse.Namespace) -> int:
    """Detect, and print a line with the counts and paths. Returns the number of images done in this run.

    Under torchrun, all processes call this together. Each detects in its share of the images.
    """
    processes = join()
    try:
        check(args, processes)
        sources = [] if args.video else sources_of(args.images)
        film = film_of(args)
        names = [x.name for x in sources]
        written = Pictures(args.output, names).paths() if args.output else []
        check_written(args, [film] if film else written, names or [args.video])  # before the model is loaded
        predictor = predictor_of(args, autocast=getattr(torch, args.autocast) if args.autocast else None)
        if args.video:
            return run_on_video(args, predictor, film)
        return run_on_images(args, predictor, sources, processes)
    finally:
        processes.leave()


def film_of(args: argparse.Namespace) -> Path | None:
    """The video to write, if there is one."""
    if not args.video or not args.output:
        return None
    name = f"camera {int(args.video)}" if args.video.isdecimal() else Path(args.video).stem
    return args.output / f"{name}.mp4"


def run_on_video(args: argparse.Namespace, predictor: Predictor, film: Path | None) -> int:
    """Detect in every frame of a video. A camera has no end: it runs until a signal."""
    video = Video(int(args.video) if args.video.isdecimal() else args.video)
    make_folders(args)
    file = StreamedFile(args.json, head=head_of(args, predictor)) if args.json else None
    found = detect(args, predictor, video)
    counts, _ = collect(filmed(found, film, video.frames_per_second) if film else plain(found), file)
    print(summary(args, counts, predictor.class_names))
    return counts.images


def run_on_images(
    args: argparse.Namespace, predictor: Predictor, sources: Sequence[Source], processes: Processes
) -> int:
    """Detect in the images that are not done yet, in this process's share of them."""
    names = [x.name for x in sources]
    processes.wait()  # no process may write before all have checked
    make_folders(args)
    file, taken = detections_file(args, predictor, names, processes), set()
    if args.resume:
        sources, taken = remaining(sources, file, args.output)
    pictures = Pictures(args.output, [x.name for x in sources], taken, share=processes.share) if args.output else None
    processes.wait()  # no process may draw before all have listed the drawn pictures
    share = sources[processes.share]
    found = detect(args, predictor, share, progress=processes.rank == 0)
    counts, stopped = collect(drawn(found, pictures) if pictures else plain(found), file)
    if stopped is not None:
        print(summary(args, counts, predictor.class_names, left=len(share) - counts.images, stopped=True))
        raise stopped
    total = counts.of_all(processes)
    if processes.rank == 0:
        if isinstance(file, SharedFile):
            file.merge()
        print(summary(args, total, predictor.class_names, left=len(sources) - total.images))
    return counts.images


def detect(args: argparse.Namespace, predictor: Predictor, images, progress: bool = True) -> Iterator[Detections]:
    """Yield the detections in some images, with the settings of the arguments."""
    return predictor.predict(
        images,
        threshold=args.threshold,
        batch_size=args.batch_size,
        pad=args.pad,
        skip_unreadable=args.skip_unreadable,
        progress=progress,
    )


def collect(
    found: Iterator[tuple[Detections, dict]], file: StreamedFile | SharedFile | None
) -> tuple[Counts, KeyboardInterrupt | None]:
    """Write all detections. Returns their counts, and the signal that ended the run, or None."""
    counts, stopped = Counts(), None
    try:
        with closing(found):
            for detections, more in found:
                if file:
                    file.add(detections, **more)
                counts.add(detections)
    except KeyboardInterrupt as signalled:
        stopped = signalled
    except UnreadableImage as error:
        raise UnreadableImage(f"{error}; --skip-unreadable names such images and continues") from error
    finally:
        if file:
            file.close()
    return counts, stopped


def plain(found: Iterator[Detections]) -> Iterator[tuple[Detections, dict]]:
    """Yield the detections of each image, with nothing else to write to the file."""
    for detections in found:
        yield detections, {}


def drawn(found: Iterator[Detections], pictures: Pictures) -> Iterator[tuple[Detections, dict]]:
    """Save the picture of each image, then yield its detections with the picture's name."""
    for detections in found:
        yield detections, {"picture": pictures.save(detections.name, detections.draw())}


def filmed(found: Iterator[Detections], path: Path, frames_per_second: float) -> Iterator[tuple[Detections, dict]]:
    """Write each frame to a video, then yield its detections."""
    with VideoWriter(path, frames_per_second) as writer:
        for detections in found:
            writer.write(detections.draw())
            yield detections, {}


def head_of(args: argparse.Namespace, predictor: Predictor) -> dict:
    """The settings that the files of a run and of its resumption must share."""
    return {
        "info": {"checkpoint": weights_of(args), "threshold": args.threshold},
        "categories": categories_of(predictor.class_names, predictor.category_ids),
    }


def detections_file(
    args: argparse.Namespace, predictor: Predictor, names: list[str], processes: Processes
) -> StreamedFile | SharedFile | None:
    """Open the file of --json, and keep its content if the run is resumed. Several processes get a shared file."""
    if not args.json:
        return None
    head = head_of(args, predictor)
    if processes.count > 1 or parts_beside(args.json):
        return SharedFile(args.json, head=head, names=names, processes=processes, resume=args.resume)
    return StreamedFile(args.json, head=head, resume=args.resume)


def make_folders(args: argparse.Namespace) -> None:
    """Make the folders that the run writes into."""
    for folder in (args.output, args.json and args.json.parent):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)


def remaining(
    sources: Sequence[Source], file: StreamedFile | SharedFile | None, folder: Path | None
) -> tuple[list[Source], set[str]]:
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


def check(args: argparse.Namespace, processes: Processes) -> None:
    """Raise ValueError for arguments that do not go together."""
    if bool(args.images) == bool(args.video):
        raise ValueError("give either images, before the overrides of the config, or --video")
    if args.batch_size < 1:
        raise ValueError(f"--batch-size must be 1 or more, got {args.batch_size}")
    if args.max_pixels is not None:
        set_pixel_limit(args.max_pixels)
    if not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold must be from 0 to 1, got {args.threshold}")
    if args.resume and (args.video or args.overwrite):
        raise ValueError(f"--resume does not go together with {'--video' if args.video else '--overwrite'}")
    if args.video and processes.count > 1:
        raise ValueError("--video runs in one process: start it without torchrun")
    check_folders(args)


def check_folders(args: argparse.Namespace) -> None:
    """Raise ValueError if --output lies in an input folder, or if --output is a file or --json a folder."""
    if args.output and args.output.exists() and not args.output.is_dir():
        raise ValueError(f"--output must be a folder, {args.output} is a file")
    if args.json and args.json.is_dir():
        raise ValueError(f"--json must be a file, {args.json} is a folder")
    output = args.output and args.output.resolve()
    for folder in map(local_name, args.images) if output else ():
        if Path(folder).is_dir() and Path(folder).resolve() in (output, *output.parents):
            raise ValueError(f"--output {args.output} would overwrite the input: choose another folder")


def check_written(args: argparse.Namespace, pictures: list[Path], names: list[str]) -> None:
    """Raise ValueError if a file to write is also an input, or if it exists and --overwrite is not given.

    pictures: the pictures or the video to write. names: the files and URLs to read.
    """
    numbers = {args.json, lines_beside(args.json), *parts_beside(args.json)} if args.json else set()
    if {x.resolve() for x in numbers} & {x.resolve() for x in pictures}:
        raise ValueError(f"--json {args.json} is also the name of a picture to be drawn: choose another")
    weights = Path(weights_of(args))
    read = [*names, weights, *(weights.iterdir() if weights.is_dir() else ()), *filter(None, [args.config_file])]
    check_inputs_are_safe([*numbers, *pictures], read)
    if not args.overwrite and not args.resume:
        check_nothing_is_replaced([*numbers, *pictures])
