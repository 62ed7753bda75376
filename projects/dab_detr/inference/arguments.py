"""Command-line arguments that every tool with a model shares: its checkpoint and its config."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from .predictor import Predictor


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--checkpoint` and `--allow` to a parser of `command.config_parser`; `predictor_of` also reads `device`."""
    parser.add_argument(
        "--checkpoint", required=True, help="a checkpoint of train_net.py, or with a config any weights"
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        help="a class of your own that the checkpoint's config may build; repeatable",
    )


def predictor_of(args: argparse.Namespace, *, autocast: torch.dtype | None = None) -> Predictor:
    """The Predictor that parsed arguments ask for. Raises ValueError as its constructors do."""
    from ..config import load  # a command line is read before all this is imported
    from .predictor import Predictor

    if args.config_file:
        config = load(args.config_file, args.opts)
        return Predictor.from_config(config, args.checkpoint, device=args.device, autocast=autocast)
    return Predictor.from_checkpoint(args.checkpoint, device=args.device, autocast=autocast, allow=args.allow)
