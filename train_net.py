"""Train or evaluate a model by a LazyConfig (.py) or a yacs config (.yaml).

python train_net.py --config-file configs/dab_detr_r50_50ep.py train.max_iter=1000
python train_net.py --config-file configs/dab_detr_r50_50ep.yaml SOLVER.MAX_ITER 1000

Several processes are started by --num-gpus, or by torchrun (docs/several_machines.md).
"""

import argparse
import re
import sys
from pathlib import Path

from detectron2.engine import default_argument_parser

from dab_detr.engine import lazy, trainer
from dab_detr.engine.launch import prepare, run_everywhere


def main(args: argparse.Namespace) -> dict:
    """Train, or with --eval-only evaluate: the work of one process."""
    way = lazy if is_lazy(Path(args.config_file)) else trainer
    try:
        cfg = way.configure(args)
    except ValueError as error:
        sys.exit(f"error: {error}")
    return way.run(cfg, args)


def is_lazy(config_file: Path) -> bool:
    """Whether it is a LazyConfig, which training saves as yaml too."""
    return config_file.suffix == ".py" or bool(re.search("^dataloader:", config_file.read_text(), re.MULTILINE))


def invoke_main() -> None:
    parser = default_argument_parser(epilog=__doc__)
    args = parser.parse_args()
    if not Path(args.config_file).is_file():
        parser.error(f"--config-file must be a .py or .yaml file, got {args.config_file!r}")
    try:
        prepare(args)
    except ValueError as error:
        parser.error(str(error))
    run_everywhere(main, args)


if __name__ == "__main__":
    invoke_main()
