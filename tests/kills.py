"""A training that is killed again and again must end like one that is not: `python tests/kills.py --kills 20`.

It is small, but has all that could differ: augmentation, dropout, denoising, grouped images of two shapes, data
workers, warm-up, an average of the weights that decides on the best checkpoint, and early stopping.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path

import torch
from detectron2.engine import HookBase
from PIL import Image

import train_net
from dab_detr.checkpoint.checkpointer import DABDETRCheckpointer
from dab_detr.checkpoint.description import KEY
from dab_detr.data.shapes import generate_shapes
from dab_detr.engine.training import Training
from tiny import LAZY, arguments, model_opts

ITERATIONS, PERIOD = 30, 4
SETTINGS = [
    "dataloader.num_workers=1",
    "dataloader.train.total_batch_size=2",
    "dataloader.train.aspect_ratio_grouping=True",
    "model.encoder.dropout=0.1",
    "model.denoising.groups=2",
    "train.init_checkpoint=''",
    "train.device=cpu",
    f"train.max_iter={ITERATIONS}",
    f"train.checkpointer.period={PERIOD}",
    "train.checkpointer.max_to_keep=2",
    f"train.eval_period={2 * PERIOD}",
    "train.log_period=1",
    "train.preview.num_images=0",
    "train.warmup_iters=5",
    "train.validation_loss=True",
    "train.ema.enabled=True",
    "train.best.metric=ema/validation/total_loss",
    "train.best.mode=min",
    "train.early_stopping.patience=9",
]


def dataset(folder: Path) -> Path:
    """Generated shapes, of which every second picture is cut to half its height and every third to half its width."""
    root = generate_shapes(folder, num_train=12, num_val=4, image_size=64, sides=(10, 30))
    for split in ("train", "val"):
        path = root / f"annotations/{split}.json"
        content = json.loads(path.read_text())
        sizes = {}
        for i, record in enumerate(content["images"]):
            size = sizes[record["id"]] = (64 if i % 3 else 32, 64 if i % 2 else 32)
            record["width"], record["height"] = size
            file = root / split / record["file_name"]
            with Image.open(file) as image:
                cut = image.crop((0, 0, *size))
            cut.save(file)
        content["annotations"] = [x for x in content["annotations"] if inside(x["bbox"], *sizes[x["image_id"]])]
        path.write_text(json.dumps(content))
    return root


def inside(box: list[float], width: int, height: int) -> bool:
    return box[0] + box[2] <= width and box[1] + box[3] <= height


class Recorder(HookBase):
    """Writes the loss of every step, to the bit."""

    def __init__(self, folder: Path):
        self.file = folder / "losses"

    def after_step(self) -> None:
        with self.file.open("a") as file:
            file.write(f"{self.trainer.iter} {self.trainer.storage.history('total_loss').latest().hex()}\n")


def train(data: Path, folder: Path, resume: bool) -> None:
    opts = [*model_opts(), *SETTINGS, f"train.output_dir={folder}"]
    for split in ("train", "val"):
        opts += [
            f"dataset.{split}.annotations={data}/annotations/{split}.json",
            f"dataset.{split}.images={data}/{split}",
        ]
    hooks = Training.hooks
    Training.hooks = lambda self: [Recorder(folder), *hooks(self)]
    train_net.train(arguments("--config-file", LAZY, *(["--resume"] if resume else []), *opts))


def start(data: Path, folder: Path, resume: bool, sabotage=lambda: None) -> int:
    """A training in a process of its own, its output in a file. Returns the process."""
    folder.mkdir(parents=True, exist_ok=True)
    process = os.fork()
    if process:
        return process
    log = os.open(folder / "output.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        sabotage()
        train(data, folder, resume)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def losses(folder: Path) -> list[tuple[int, str]]:
    file = folder / "losses"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(int(line.split()[0]), line.split()[1]) for line in lines if len(line.split()) == 2]


def output(folder: Path) -> str:
    """The end of it."""
    return (folder / "output.txt").read_text()[-3000:]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_writing(dice: random.Random) -> None:
    """Dies in the midst of a checkpoint, before it gets its name, or before it becomes the last."""
    step, countdown = dice.choice(["content", "name", "last"]), dice.randint(1, 3)
    print("dies while writing:", step, countdown, flush=True)

    def counted(original, kill):
        def wrapped(*args, **kwargs):
            nonlocal countdown
            countdown -= 1
            return kill(*args) if countdown == 0 else original(*args, **kwargs)

        return wrapped

    def half(content, file):
        file.write(os.urandom(dice.randint(0, 100_000)))
        file.flush()
        die()

    if step == "content":
        torch.save = counted(torch.save, half)
    elif step == "name":
        os.fsync = counted(os.fsync, lambda *_: die())
    else:
        DABDETRCheckpointer.tag_last_checkpoint = counted(DABDETRCheckpointer.tag_last_checkpoint, lambda *_: die())


def kill_somewhere(process: int, folder: Path, dice: random.Random) -> int:
    """Kills it at some time after some steps, unless it ends before. Returns its status."""
    steps = len(losses(folder)) + dice.randint(0, 2 * PERIOD)
    while len(losses(folder)) < steps:
        if (ended := os.waitpid(process, os.WNOHANG))[0]:
            return ended[1]
        time.sleep(0.01)
    time.sleep(dice.random() / 2)
    os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]


def check_readable(folder: Path) -> None:
    for path in folder.glob("*.pth"):
        assert "model" in torch.load(path), path
    last = folder / "last_checkpoint"
    assert not last.exists() or (folder / last.read_text()).is_file()


def same(a, b, path: str = "") -> None:
    """Raises AssertionError where two checkpoints differ in a bit."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), (path, a.keys() ^ b.keys())
        for key in a:
            same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{path}.{i}")
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, (path, a, b)


def check_end(folder: Path, whole: Path) -> None:
    """The same losses in every step, however often it was made, the same checkpoints, and no others."""
    wanted = dict(losses(whole))
    assert list(wanted) == list(range(ITERATIONS))
    differing = [(i, loss, wanted[i]) for i, loss in losses(folder) if loss != wanted[i]]
    assert not differing, differing
    assert {i for i, _ in losses(folder)} == set(wanted)
    names = {path.name for path in whole.glob("*.pth")}
    assert {path.name for path in folder.glob("*.pth")} == names
    assert {"model_best.pth", "model_final.pth", "model_final_ema.pth"} < names
    for name in names:
        found, wanted = (torch.load(x / name) for x in (folder, whole))
        for content in (found, wanted):
            del content[KEY]  # the folder is in it, and the last results that this process has found
        same(found, wanted, name)


def run(kills: int, seed: int, folder: Path) -> None:
    dice = random.Random(seed)
    data, whole = dataset(folder / "data"), folder / "whole"
    assert os.waitpid(start(data, whole, resume=False), 0)[1] == 0, output(whole)
    done = rounds = repeated = 0
    while True:
        rounds += 1
        killed = folder / f"killed_{rounds}"
        status = 1
        while status and done < kills:
            writing = dice.random() < 0.4
            sabotage = partial(die_while_writing, random.Random(f"{seed} {done}")) if writing else lambda: None
            process = start(data, killed, True, sabotage)
            status = os.waitpid(process, 0)[1] if writing else kill_somewhere(process, killed, dice)
            assert status in (0, signal.SIGKILL), output(killed)
            done += status != 0
            check_readable(killed)
            if status:
                print(
                    f"kill {done}{' while writing' if writing else ''}, steps so far: {len(losses(killed))}", flush=True
                )
        if status:
            assert os.waitpid(start(data, killed, True), 0)[1] == 0, output(killed)
        check_end(killed, whole)
        repeated += len(losses(killed)) - ITERATIONS
        if done == kills:
            break
    print(f"{kills} kills in {rounds} trainings, {repeated} steps made again: all ended to the bit like the whole one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run(args.kills, args.seed, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
