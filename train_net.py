"""Train or evaluate a model by a LazyConfig (.py) or a yacs config (.yaml).

python train_net.py --config-file configs/dab_detr_r50_50ep.py train.max_iter=1000
python train_net.py --config-file configs/dab_detr_r50_50ep.yaml SOLVER.MAX_ITER 1000
"""

import argparse
import sys
from pathlib import Path

from detectron2.engine import default_argument_parser, launch

from dab_detr.checkpoint.checkpointer import CheckpointError
from dab_detr.config import is_lazy
from dab_detr.engine import lazy, trainer
from dab_detr.engine.device import check_processes


def main(args: argparse.Namespace) -> dict:
    """Train, or with --eval-only evaluate: the work of one process."""
    way = lazy if is_lazy(args.config_file) else trainer
    try:
        cfg = way.configure(args)
    except ValueError as error:
        sys.exit(f"error: {error}")
    try:
        return way.run(cfg, args)
    except CheckpointError as error:
        sys.exit(f"error: {error}")


def invoke_main() -> None:
    parser = default_argument_parser(epilog=__doc__)
    args = parser.parse_args()
    if not Path(args.config_file).is_file():
        parser.error(f"--config-file must be a .py or .yaml file, got {args.config_file!r}")
    try:
        check_processes(args.num_gpus, args.num_machines)
    except ValueError as error:
        parser.error(str(error))
    launch(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))


if __name__ == "__main__":
    invoke_main()
