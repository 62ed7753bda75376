"""python -m benchmarks.recipe [--sizes 20 50 100 278] [--seeds 0 1 2] [--config-file FILE] DATASET [key=value ...]

Compares train.recipe=auto with the plain config on subsets of a dataset, and prints a table of the AP of model_best.pth
on its whole validation set. Both see the same number of pictures in training, and about as many evaluations. Finished
runs are not repeated. Each run is a whole training.
"""

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import dab_detr
from dab_detr import command
from dab_detr.checkpoint.writing import atomic_write
from dab_detr.config import load
from dab_detr.conversion import dataset_from_folder
from dab_detr.conversion.report import Output
from dab_detr.overrides import assignment

from .__main__ import CONFIG


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    result = command.config_parser(__doc__)
    result.prog = "python -m benchmarks.recipe"
    result.set_defaults(config_file=str(CONFIG))
    result.add_argument("dataset", help="a folder with pictures and labels")
    result.add_argument("--sizes", type=int, nargs="+", default=[20, 50, 100, 278], help="pictures to train on")
    result.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    result.add_argument("--output", type=Path, default=Path("output/recipe"))
    return command.parse(result, argv)


def cut(source: Path, path: Path, size: int, seed: int) -> None:
    """Write the annotations of `size` random images of `source` to `path`."""
    content = json.loads(source.read_text())
    if size > len(content["images"]):
        raise ValueError(f"--sizes {size} is too large: {source} has {len(content['images'])} images")
    content["images"] = random.Random(seed).sample(content["images"], size)
    ids = {x["id"] for x in content["images"]}
    content["annotations"] = [x for x in content["annotations"] if x["image_id"] in ids]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(json.dumps(content).encode())


def compared(args: argparse.Namespace, parts: dict[str, Output], size: int, seed: int) -> dict[str, float]:
    """The best AP with the recipe and with the plain config on one subset. Finished runs are read from their file."""
    folder = args.output / f"{size}_{seed}"
    done = folder / "ap.json"
    if done.is_file():
        return json.loads(done.read_text())
    cut(parts["train"].annotations, folder / "train.json", size, seed)
    files = {
        "dataset.train.annotations": folder / "train.json",
        "dataset.train.images": parts["train"].images,
        "dataset.val.annotations": parts["val"].annotations,
        "dataset.val.images": parts["val"].images,
    }
    common = [*(assignment(key, str(path)) for key, path in files.items()), f"train.seed={seed}", *args.opts]
    auto = folder / "recipe"
    found = {"recipe": best_ap(args.config_file, [*common, "train.recipe=auto", output(auto)])}
    found["plain"] = best_ap(args.config_file, [*common, *same_length(args, auto), output(folder / "plain")])
    done.write_text(json.dumps(found))
    return found


def output(folder: Path) -> str:
    return assignment("train.output_dir", str(folder))


def same_length(args: argparse.Namespace, auto: Path) -> list[str]:
    """Overrides of the plain config for as many pictures and about as many evaluations as a training had."""
    config = load(auto / "config.yaml")
    pictures = config.train.max_iter * config.dataloader.train.total_batch_size
    plain = load(args.config_file, args.opts).dataloader.train.total_batch_size
    iterations = max(1, round(pictures / plain))
    evaluations = math.ceil(config.train.max_iter / config.train.eval_period)
    return [f"train.max_iter={iterations}", f"train.eval_period={math.ceil(iterations / evaluations)}"]


def best_ap(config: str, overrides: Sequence[str]) -> float:
    """The AP of a training's model_best.pth."""
    result = dab_detr.train(config, overrides)
    metric = load(result.output_dir / "config.yaml").train.best.metric
    return max(row[metric] for row in result.evaluations if metric in row)


def table(found: dict[int, list[dict[str, float]]]) -> str:
    """A Markdown table of mean and spread for each number of pictures."""
    lines = ["| pictures | plain | recipe |", "|---|---|---|"]
    for size, runs in found.items():
        cells = [[run[way] for run in runs] for way in ("plain", "recipe")]
        spread = [f" ± {statistics.stdev(x):.1f}" if len(x) > 1 else "" for x in cells]
        means = [f"{statistics.mean(x):.1f}" for x in cells]
        lines.append(f"| {size} | " + " | ".join(m + s for m, s in zip(means, spread, strict=True)) + " |")
    return "\n".join(lines)


def work(args: argparse.Namespace) -> None:
    parts = dataset_from_folder(args.dataset, args.output / "dataset")
    found = {size: [compared(args, parts, size, seed) for seed in args.seeds] for size in args.sizes}
    print(table(found))


def main(argv: list[str] | None = None) -> int:
    """Compare. Returns the exit status."""
    return command.run(work, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
