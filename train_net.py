"""Train or evaluate a model by a LazyConfig (.py) or a yacs config (.yaml).

python train_net.py --config-file configs/dab_detr_r50_50ep.py train.max_iter=1000
python train_net.py --config-file configs/dab_detr_r50_50ep.yaml SOLVER.MAX_ITER 1000

Several processes are started by --num-gpus, or by torchrun (docs/several_machines.md).
"""

import argparse
import sys
from difflib import get_close_matches
from pathlib import Path

from detectron2.engine import default_argument_parser

from dab_detr.checkpoint.checkpointer import CheckpointError
from dab_detr.config import is_lazy
from dab_detr.engine import lazy, trainer
from dab_detr.engine.launch import prepare, run_everywhere


def main(args: argparse.Namespace) -> dict:
    """Train, or with --eval-only evaluate: the work of one process."""
    way = lazy if is_lazy(args.config_file) else trainer
    try:
        cfg = way.configure(args)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    try:
        return way.run(cfg, args)
    except CheckpointError as error:
        sys.exit(f"error: {error}")


def invoke_main() -> None:
    parser = default_argument_parser(epilog=__doc__)
    args = parser.parse_args()
    path = Path(args.config_file)
    if not path.is_file():
        close = get_close_matches(path.name, [x.name for x in path.parent.glob("*")], n=3)
        hint = f"; there is {' and '.join(close)}" if args.config_file and close else ""
        parser.error(f"--config-file must be a .py or .yaml file, {args.config_file!r} is none{hint}")
    try:
        prepare(args)
    except ValueError as error:
        parser.error(str(error))
    run_everywhere(main, args)


if __name__ == "__main__":
    invoke_main()
