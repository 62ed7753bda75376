"""Show what a detector's queries look at, in one HTML page for each image. The page opens from the disk.

python tools/explain.py --checkpoint output/mine/model_best.pth street.jpg --output output/explained
python tools/explain.py --checkpoint output/mine/model_best.pth street.jpg --output output/explained --figures
python tools/explain.py --checkpoint a.pth street.jpg --output output/explained --figures --beside b.pth c.pth
python tools/explain.py --checkpoint output/mine/model_best.pth my/val --annotations val.json --output output/seen
"""

import argparse
import os
import sys
from pathlib import Path

from dab_detr import command
from dab_detr.checkpoint.writing import atomic_write
from dab_detr.explanation import explain
from dab_detr.explanation.figures import save_figures, save_study
from dab_detr.explanation.layers import study_layers
from dab_detr.explanation.page import page
from dab_detr.explanation.truth import Annotations
from dab_detr.export.runtime import is_exported
from dab_detr.inference import Predictor
from dab_detr.inference.arguments import add_model_arguments, predictor_of, weights_of
from dab_detr.inference.images import sources_of
from dab_detr.inference.output import picture_names


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command.config_parser(__doc__, "for weights without an embedded config: a LazyConfig or a yacs config")
    parser.add_argument("images", nargs="+", help="image files, folders (with all below them) and URLs; then overrides")
    add_model_arguments(parser)
    parser.add_argument("--device", default="cuda", help="torch's name of it (default cuda, or cpu without a GPU)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the pages")
    parser.add_argument(
        "--figures", action="store_true", help="also draw the papers' figures, for the best detection of each image"
    )
    parser.add_argument(
        "--beside",
        nargs="+",
        metavar="CHECKPOINT",
        default=[],
        help="with --figures: other checkpoints of train_net.py, whose attention is drawn beside that of --checkpoint",
    )
    parser.add_argument(
        "--annotations",
        help="a COCO file with the objects of these images: the pages show them with their matches, and --figures "
        "also draws AP, matches and the use of anchors over all images",
    )
    parser.add_argument("--threshold", type=float, default=0.3, help="lowest score of a detection (default 0.3)")
    parser.add_argument("--max-objects", type=int, default=20, help="most detections on one page (default 20)")
    return command.parse(parser, argv, inputs="images")


def work(args: argparse.Namespace) -> None:
    """Write the pages."""
    if args.beside and not args.figures:
        raise ValueError("--beside draws a figure: add --figures")
    for path in (weights_of(args), *args.beside):
        if is_exported(path):
            raise ValueError(f"{path} has no attention to show: give the checkpoint that it was exported from")
    sources = sources_of(args.images)
    predictor = predictor_of(args)
    others = {path: Predictor.from_checkpoint(path, device=args.device) for path in args.beside}
    annotations = Annotations(args.annotations, predictor.class_names) if args.annotations else None
    args.output.mkdir(parents=True, exist_ok=True)
    names = picture_names([source.name for source in sources], taken=os.listdir(args.output))
    for source, name in zip(sources, names, strict=True):
        explanation = explain(
            predictor, source, threshold=args.threshold, max_objects=args.max_objects, annotations=annotations
        )
        path = (args.output / name).with_suffix(".html")
        with atomic_write(path) as file:
            file.write(page(explanation).encode())
        if args.figures:
            folder = path.with_suffix("")
            folder.mkdir()
            beside = {path: explain(other, source, threshold=0.0, max_objects=100) for path, other in others.items()}
            save_figures(folder, explanation, source=weights_of(args), beside=beside)
        print(f"{source.name}: {len(explanation.detections)} detections, {path}")
    if annotations and args.figures:
        folder = args.output / picture_names(["all images.png"], taken=os.listdir(args.output))[0]
        folder = folder.with_suffix("")
        folder.mkdir()
        save_study(folder, study_layers(predictor, sources, annotations), source=weights_of(args))
        print(f"figures over all images: {folder}")


def main(argv: list[str] | None = None) -> int:
    """Write the pages. Returns the exit status."""
    return command.run(work, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
