"""Convert weights between this project, the original code, detrex and transformers.

python tools/convert_checkpoint.py checkpoint.pth dab_detr_r50.pth --to dab_detr --num-classes 80
python tools/convert_checkpoint.py output/mine/model_final.pth my_model --to transformers
python tools/convert_checkpoint.py output/co_dino/model_final.pth co_dino.pth --to dab_detr --deploy

The tool recognizes IN by its keys: a checkpoint of ours, of the original DAB-DETR, DN-DETR, DAB-Deformable-DETR or
DINO, of detrex, of Co-DETR (the authors' code or mmdetection), or a folder or file of transformers.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dab_detr import command
from dab_detr.checkpoint.allow_list import check_references
from dab_detr.checkpoint.conversion import FORMATS, for_inference, num_classes_of, with_classes, write
from dab_detr.checkpoint.description import KEY, Description, description_of
from dab_detr.checkpoint.formats import to_ours
from dab_detr.checkpoint.reading import read, weights_file
from dab_detr.checkpoint.sources import local_weights
from dab_detr.config import load


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command.config_parser(__doc__, "the config of the model, if IN does not contain it")
    parser.add_argument(
        "input", metavar="IN", help="a file, a folder of transformers, a URL, zoo://name or hf://owner/repository"
    )
    parser.add_argument("output", metavar="OUT", type=Path, help="a file; for transformers a folder")
    parser.add_argument("--to", required=True, choices=FORMATS)
    parser.add_argument("--num-classes", type=int, choices=(80, 91), help="convert COCO's classes to this number")
    parser.add_argument("--class-names", nargs="+", help="names of the model's outputs, for transformers")
    parser.add_argument("--deploy", action="store_true", help="leave out auxiliary heads, which only training needs")
    parser.add_argument(
        "--torchvision-names",
        action="store_true",
        help="give the backbone torchvision's names, as in detrex' models with DC5",
    )
    return command.parse(parser, argv)


def convert(args: argparse.Namespace) -> None:
    """Convert and print a summary. Raises ValueError or OSError for weights that cannot be converted."""
    if args.output.exists():
        raise ValueError(f"{args.output} exists already; nothing was written")
    path = weights_file(local_weights(args.input))
    content = read(path)
    state, found, unknown = to_ours(content["model"])
    print(f"{args.input}: {len(content['model'])} tensors of {found.name if found else 'this project'}")
    for key in unknown:
        print(f"  left out, because no rule covers it: {key}")
    about = description_of(content, path)
    names = args.class_names or (about.class_names if about else content.get("class_names"))
    if args.num_classes and args.num_classes != num_classes_of(state):
        print(f"  {num_classes_of(state)} classes become {args.num_classes}, by the category ids of COCO")
        state, names, content = with_classes(state, args.num_classes), args.class_names, {}
    if names and len(names) != num_classes_of(state):
        raise ValueError(f"--class-names gives {len(names)} names, but the model has {num_classes_of(state)} outputs")
    if args.deploy:
        whole, state = len(state), for_inference(state)
        print(f"  {whole - len(state)} tensors of auxiliary heads are left out: only training needs them")
    model, augmentations = nodes(args, about)
    written = write(
        state,
        args.output,
        to=args.to,
        model=model,
        augmentations=augmentations,
        class_names=names,
        torchvision_names=args.torchvision_names,
        further={KEY: described(about, names, args.deploy)} if about and KEY in content else None,
    )
    print(f"{args.output}: {written} tensors in the format of {args.to}")


def described(about: Description, names: Sequence[str] | None, deploy: bool) -> dict:
    """The description of the converted checkpoint. deploy: whether to remove auxiliary heads from its config."""
    config = about.config
    if deploy and config and isinstance(config.get("model"), Mapping) and "collaboration" in config["model"]:
        config = {**config, "model": {**config["model"], "collaboration": None}}
    return replace(about, class_names=names, config=config).to_dict()


def nodes(args: argparse.Namespace, about: Description | None) -> tuple[DictConfig | None, list]:
    """The nodes of the model and of its augmentations at test time.

    They come from the given config, otherwise from the one in the checkpoint. Nothing in the checkpoint's config is
    built, and no interpolation is resolved. Without a config, the model is None.
    """
    if args.config_file:
        cfg = load(args.config_file, args.opts)
    else:
        cfg = about.config if about and about.config else {}
        check_references(cfg, "config")
        cfg = OmegaConf.create(cfg)
    return cfg.get("model"), OmegaConf.select(cfg, "dataloader.test.mapper.augmentations", default=[])


def main(argv: list[str] | None = None) -> int:
    """Convert. Returns the exit status."""
    return command.run(convert, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
