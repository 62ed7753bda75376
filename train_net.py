"""Train or evaluate a model: on a folder of pictures with labels, or from a LazyConfig (.py) or a yacs config (.yaml).

python train_net.py my/folder
python train_net.py --config-file configs/dab_detr_r50_50ep.py train.max_iter=1000
python train_net.py --config-file configs/dab_detr_r50_50ep.yaml SOLVER.MAX_ITER 1000 train.ema.enabled=True

To start several processes, use --num-gpus or torchrun (docs/several_machines.md).
"""

import argparse
import sys
from pathlib import Path

import dab_detr
from dab_detr import command
from dab_detr.engine.launch import prepare, run_everywhere
from dab_detr.overrides import assignment

CONFIG = Path(__file__).with_name("configs") / "dab_detr_r50_50ep.py"  # for a folder without --config-file


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line: Detectron2's training options, and a folder, which also turns on the recipe."""
    from detectron2.engine import default_argument_parser  # here, because `command` silences the warnings of imports

    parser = command.config_parser(__doc__)
    parser.add_argument(
        "folder",
        nargs="*",
        metavar="FOLDER",
        help="pictures with labels in any known format; short for dataset.root=FOLDER train.recipe=auto",
    )
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in the output folder")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="train in a folder that holds a training, after moving its files to a folder inside it",
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate without training")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on this machine, one for each GPU")
    parser.add_argument("--num-machines", type=int, default=1)
    parser.add_argument("--machine-rank", type=int, default=0, help="number of this machine, from 0")
    parser.add_argument(
        "--dist-url", default=default_argument_parser().get_default("dist_url"), help="address where the processes meet"
    )
    args = command.parse(parser, argv, inputs="folder", default_config=str(CONFIG))
    if not args.config_file:
        parser.error("give a folder with pictures and labels, or --config-file")
    missing = [x for x in args.folder if not Path(x).exists()]
    if missing or len(args.folder) > 1:
        parser.error(
            f"give one folder that exists, then overrides such as train.max_iter=100; got {' '.join(args.folder)}"
        )
    if args.folder:
        args.opts = [assignment("dataset.root", args.folder[0]), "train.recipe=auto", *args.opts]
    return args


def train(args: argparse.Namespace) -> dict:
    """Train, or with --eval-only evaluate, in one process. Returns the metrics by task."""
    options = {"resume": args.resume, "overwrite": args.overwrite, "eval_only": args.eval_only}
    return dab_detr.train(args.config_file, args.opts, **options).metrics


def process(args: argparse.Namespace) -> int:
    """Train, and print an error as one line. Returns the exit status of this process."""

    def work(args: argparse.Namespace) -> int:
        try:
            train(args)
        except dab_detr.TrainingError as error:
            print(f"error: {error}", file=sys.stderr)
            return command.FINDINGS
        return 0

    return command.run(work, args)


def start(args: argparse.Namespace) -> int:
    """Start or join all processes. Returns the exit status."""
    prepare(args)
    return run_everywhere(process, args)


def main(argv: list[str] | None = None) -> int:
    """Train, or with --eval-only evaluate. Returns the exit status."""
    return command.run(start, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
