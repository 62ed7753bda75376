"""Convert weights between this project, the original code, detrex and transformers.

python tools/convert_checkpoint.py checkpoint.pth dab_detr_r50.pth --to dab_detr --num-classes 80
python tools/convert_checkpoint.py output/mine/model_final.pth my_model --to transformers

What IN is, is seen by its keys: a checkpoint of ours, of the original DAB-DETR, DN-DETR or DAB-Deformable-DETR, of
detrex, or a folder or file of transformers.
"""

import argparse
import sys
from pathlib import Path

from detectron2.config import LazyConfig
from detectron2.utils.file_io import PathManager
from omegaconf import DictConfig, OmegaConf

from dab_detr.checkpoint.conversion import FORMATS, num_classes_of, with_classes, write
from dab_detr.checkpoint.description import Description, description_of
from dab_detr.checkpoint.formats import to_ours
from dab_detr.checkpoint.reading import read, weights_file
from dab_detr.overrides import apply_overrides


def parser() -> argparse.ArgumentParser:
    """The arguments; overrides may stand anywhere among them (`parse_intermixed_args`)."""
    described = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    described.add_argument("input", metavar="IN", help="a file, a folder of transformers, or a URL")
    described.add_argument("output", metavar="OUT", type=Path, help="a file; for transformers a folder")
    described.add_argument("--to", required=True, choices=FORMATS)
    described.add_argument("--config-file", help="the LazyConfig of the model, where IN carries none")
    described.add_argument("--num-classes", type=int, choices=(80, 91), help="COCO's, if the model is to have others")
    described.add_argument("--class-names", nargs="+", help="of the model's outputs, for transformers")
    described.add_argument(
        "--torchvision-names", action="store_true", help="of the backbone, as detrex' models with DC5 have them"
    )
    described.add_argument("opts", nargs="*", metavar="key=value", help="overrides of the config")
    return described


def main(args: argparse.Namespace) -> None:
    """Convert, and tell what was done. Raises ValueError for what cannot be converted, OSError for a file that is
    not there."""
    if args.output.exists():
        raise ValueError(f"{args.output} exists already; nothing was written")
    path = weights_file(PathManager.get_local_path(args.input))
    content = read(path)
    state, found, unknown = to_ours(content["model"])
    print(f"{args.input}: {len(content['model'])} tensors of {found.name if found else 'this project'}")
    for key in unknown:
        print(f"  left over, for no rule knows it: {key}")
    about = description_of(content, path)
    names = args.class_names or (about.class_names if about else content.get("class_names"))
    if args.num_classes and args.num_classes != num_classes_of(state):
        print(f"  {num_classes_of(state)} classes become {args.num_classes}, by the category ids of COCO")
        state, names = with_classes(state, args.num_classes), args.class_names
    if names and len(names) != num_classes_of(state):
        raise ValueError(f"--class-names gives {len(names)} names, the model has {num_classes_of(state)} outputs")
    written = write(
        state,
        args.output,
        to=args.to,
        model=model_node(args, about),
        class_names=names,
        torchvision_names=args.torchvision_names,
    )
    print(f"{args.output}: {written} tensors as {args.to} has them")


def model_node(args: argparse.Namespace, about: Description | None) -> DictConfig | None:
    """The model's node, of the config that is given, else of that in the checkpoint, of which nothing is built."""
    if args.config_file:
        cfg = LazyConfig.load(args.config_file)
        apply_overrides(cfg, args.opts)
        return cfg.model
    stored = about.config.get("model") if about and about.config else None
    return OmegaConf.create(stored) if stored else None


if __name__ == "__main__":
    try:
        main(parser().parse_intermixed_args())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
