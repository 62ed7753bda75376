"""Export a detector as one graph from images to detections (docs/deploy.md).

python tools/export_model.py --checkpoint output/mine/model_best.pth --to onnx model.onnx
python tools/export_model.py --checkpoint weights.pth --config-file configs/dab_detr_r50_50ep.py --to openvino model.xml
"""

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from dab_detr import command
from dab_detr.checkpoint.integrity import sha256_of
from dab_detr.export.graph import DetectionGraph
from dab_detr.export.metadata import Metadata, resizing_rule
from dab_detr.export.runtime import is_exported
from dab_detr.export.writing import PRECISIONS, SUFFIXES, write
from dab_detr.inference.arguments import add_model_arguments, predictor_of, weights_of
from dab_detr.inference.images import sources_of

if TYPE_CHECKING:
    from detectron2.data.transforms import AugmentationList


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command.config_parser(__doc__, "for weights without an embedded config: a LazyConfig or a yacs config")
    parser.add_argument("output", type=Path, help="the file to write: .onnx, .xml (OpenVINO) or .pt2 (torch)")
    add_model_arguments(parser)
    parser.set_defaults(device="cpu")
    parser.add_argument("--to", required=True, choices=SUFFIXES, help="the format")
    parser.add_argument("--fixed", nargs=3, type=int, metavar=("B", "H", "W"), help="batch and size (default: any)")
    parser.add_argument("--input", choices=["uint8", "float32"], default="uint8", help="type of the images (0 to 255)")
    parser.add_argument("--precision", choices=["fp32", "fp16", "int8"], default="fp32")
    parser.add_argument("--calibration", nargs="+", help="images or folders for int8; 100 images are a good start")
    parser.add_argument("--threshold", type=float, default=0.0, help="lowest score of a detection that is counted")
    parser.add_argument("--gather", action="store_true", help="deformable attention without GridSample")
    return command.parse(parser, argv)


def check(args: argparse.Namespace) -> None:
    """Raise ValueError for arguments that do not go together."""
    if args.output.suffix != SUFFIXES[args.to]:
        raise ValueError(f"--to {args.to} writes {SUFFIXES[args.to]} files: rename {args.output}")
    if args.output.exists():
        raise ValueError(f"{args.output} exists already; nothing was written")
    if (args.precision == "int8") != bool(args.calibration):
        raise ValueError("--precision int8 and --calibration need each other")
    if args.precision not in PRECISIONS[args.to]:
        raise ValueError(f"--to {args.to} takes --precision {' or '.join(PRECISIONS[args.to])}, not {args.precision}")
    if args.fixed and min(args.fixed) < 1:
        raise ValueError(f"--fixed must be 1 or more, got {args.fixed}")
    if not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold must be from 0 to 1, got {args.threshold}")


def calibration_batches(paths: Sequence[str], augmentations: "AugmentationList", kind: str) -> Iterator[tuple]:
    """Each image of `paths` as a batch of one."""
    from detectron2.data.transforms import AugInput

    for source in tqdm(sources_of(paths), unit="image"):
        augmented = AugInput(source.read())
        augmentations(augmented)
        image = np.ascontiguousarray(augmented.image.transpose(2, 0, 1)[None]).astype(kind)
        yield image, np.array([image.shape[2:]], np.int64)


def run(args: argparse.Namespace) -> None:
    """Export. Raises ValueError and OSError for a model that cannot be exported."""
    check(args)
    if is_exported(weights_of(args)):
        raise ValueError(f"{weights_of(args)} is exported already: give the checkpoint that it was exported from")
    predictor = predictor_of(args)
    short_side, max_size = resizing_rule(predictor.augmentations)
    weights = weights_of(args)
    metadata = Metadata(
        class_names=predictor.class_names,
        category_ids=predictor.category_ids,
        short_side=short_side,
        max_size=max_size,
        threshold=args.threshold,
        image_type=args.input,
        precision=args.precision,
        checkpoint_sha256=sha256_of(weights) if Path(weights).is_file() else None,
    )
    graph = DetectionGraph(predictor.model, threshold=args.threshold, gather=args.gather)
    batches = ()
    if args.calibration:
        batches = calibration_batches(args.calibration, predictor.augmentations, args.input)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write(graph, args.output, metadata, to=args.to, shape=args.fixed, calibration=batches)
    sizes = "batches of {} images of {} x {}".format(*args.fixed) if args.fixed else "any batch and size"
    print(f"{args.output}: {len(predictor.class_names)} classes, {args.precision}, for {sizes}")
    print(next_step(args))


def next_step(args: argparse.Namespace) -> str:
    """The way to use the file. One that takes a fixed size needs pictures of that size, so it gets no command."""
    if args.fixed:
        return "next: check and serve it as docs/deploy.md says"
    command = f"python tools/predict.py --checkpoint {shlex.quote(str(args.output))} pictures/ --output found"
    return f"next: {command}  # docs/deploy.md says how to check and serve it"


def main(argv: list[str] | None = None) -> int:
    """Export. Returns the exit status."""
    return command.run(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
