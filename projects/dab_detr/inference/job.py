"""A run of tools/predict.py: from its arguments to pictures and a file of detections.

Detections from before an error or a signal are kept, in complete files.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
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
from .video import Video, VideoWriter


def run(args: argparse.Namespace) -> int:
    """Detect, and print a line with the counts and paths. Returns the number of images done in this run.

    Under torchrun, all processes call this together. Each detects in its share of the images.
    """
    processes = join()
    try:
        check(args, processes)
        predictor = predictor_of(args, autocast=getattr(torch, args.autocast) if args.autocast else None)
        return run_on_video(args, predictor) if args.video else run_on_images(args, predictor, processes)
    finally:
        processes.leave()


def run_on_video(args: argparse.Namespace, predictor: Predictor) -> int:
    """Detect in every frame of a video. A camera has no end: it runs until a signal."""
    video = Video(int(args.video) if args.video.isdecimal() else args.video)
    film = args.output and args.output / f"{Path(video.name).stem}.mp4"
    check_written(args, [film] if film else [], [args.video])
    make_folders(args)
    file = StreamedFile(args.json, head=head_of(args, predictor)) if args.json else None
    found = detect(args, predictor, video)
    images, objects, _ = collect(filmed(found, film, video.frames_per_second) if film else plain(found), file)
    print(summary(args, images, objects))
    return images


def run_on_images(args: argparse.Namespace, predictor: Predictor, processes: Processes) -> int:
    """Detect in the images that are not done yet, in this process's share of them."""
    sources = sources_of(args.images)
    names = [x.name for x in sources]
    check_written(args, Pictures(args.output, names).paths() if args.output else [], names)
    processes.wait()  # no process may write before all have checked
    make_folders(args)
    file, taken = detections_file(args, predictor, names, processes), set()
    if args.resume:
        sources, taken = remaining(sources, file, args.output)
    pictures = Pictures(args.output, [x.name for x in sources], taken, share=processes.share) if args.output else None
    processes.wait()  # no process may draw before all have listed the drawn pictures
    share = sources[processes.share]
    found = detect(args, predictor, share, progress=processes.rank == 0)
    images, objects, stopped = collect(drawn(found, pictures) if pictures else plain(found), file)
    if stopped is not None:
        print(summary(args, images, objects, left=len(share) - images, stopped=True))
        raise stopped
    total_images, total_objects = processes.total(images, objects)
    if processes.rank == 0:
        if isinstance(file, SharedFile):
            file.merge()
        print(summary(args, total_images, total_objects, left=len(sources) - total_images))
    return images


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
) -> tuple[int, int, KeyboardInterrupt | None]:
    """Write all detections. Returns the numbers of images and objects, and the signal that ended the run, or None."""
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
    except UnreadableImage as error:
        raise UnreadableImage(f"{error}; --skip-unreadable names such images and continues") from error
    finally:
        if file:
            file.close()
    return images, objects, stopped


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
    sources: list[Source], file: StreamedFile | SharedFile | None, folder: Path | None
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


def summary(args: argparse.Namespace, images: int, objects: int, left: int = 0, stopped: bool = False) -> str:
    """The last line of a run: counts and paths."""
    parts = [f"{images} images with {objects} objects"]
    if left:
        parts.append(f"{left} images {'are left, --resume continues with them' if stopped else 'could not be read'}")
    parts += [f"{'video' if args.video else 'pictures'} in {args.output}"] if args.output else []
    parts += [f"detections in {args.json}"] if args.json else []
    return "; ".join(parts)
