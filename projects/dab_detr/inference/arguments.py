"""Command-line arguments that every tool with a model shares: its checkpoint and its config."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from .predictor import Predictor


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--checkpoint`, `--model` and `--allow` to a parser of `command.config_parser`.

    `predictor_of` also reads `device`.
    """
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--checkpoint", help="a checkpoint of train_net.py, or with a config any weights")
    weights.add_argument(
        "--model", metavar="NAME", help="a released model: a name (python -m dab_detr.zoo) or hf://owner/repository"
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        help="a class of your own that the checkpoint's config may build; repeatable",
    )


def predictor_of(args: argparse.Namespace, *, autocast: torch.dtype | None = None) -> Predictor:
    """The Predictor that parsed arguments ask for. Raises ValueError as its constructors do."""
    from ..config import load  # imported after the command line is read, so that --help is fast
    from .predictor import Predictor

    if args.model:
        if args.config_file:
            raise ValueError("--model has a config of its own: leave --config-file out, or give --checkpoint")
        return Predictor.from_pretrained(args.model, device=args.device, autocast=autocast)
    if args.config_file:
        config = load(args.config_file, args.opts)
        return Predictor.from_config(config, args.checkpoint, device=args.device, autocast=autocast)
    return Predictor.from_checkpoint(args.checkpoint, device=args.device, autocast=autocast, allow=args.allow)


def weights_of(args: argparse.Namespace) -> str:
    """The checkpoint or the name of the model in parsed arguments."""
    return args.model or args.checkpoint
