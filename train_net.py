"""Train or evaluate a model by a config: `python train_net.py --config-file configs/dab_detr_r50_50ep.py --help`."""

import argparse

from detectron2.engine import default_argument_parser, launch

from dab_detr.engine import lazy
from dab_detr.engine.device import check_processes


def main(args: argparse.Namespace) -> dict:
    return lazy.main(args)


def invoke_main() -> None:
    args = default_argument_parser().parse_args()
    check_processes(args.num_gpus, args.num_machines)
    launch(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))


if __name__ == "__main__":
    invoke_main()
