"""The road from a checkpoint to a prediction, under an audit hook: it touches its inputs and outputs, nothing else."""

import json
import os
import subprocess
import sys

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

import described

ROAD = """
import json, os, sys
import cv2, timm, matplotlib.pyplot  # what may be imported on the way, with all that it reads
import dab_detr.inference.job, hydra.core.override_parser.overrides_parser
import contextlib
import io

from tools import predict

report, checkpoints, rest = (json.loads(x) for x in sys.argv[1:])
found = {"network": [], "processes": [], "opened": [], "changed": [], "environment": [], "errors": []}

def hook(event, args):
    if event.startswith("socket.") or event.startswith("urllib."):
        found["network"].append(event)
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn"):
        found["processes"].append(event)
    elif event == "open":
        path, mode, flags = args
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not isinstance(path, int):
            found["changed" if writes else "opened"].append(os.path.abspath(os.fsdecode(path)))
    elif event in ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod"):
        found["changed"] += [os.path.abspath(os.fsdecode(x)) for x in args if isinstance(x, (str, bytes))]

read = os._Environ.__getitem__
os._Environ.__getitem__ = lambda self, key: found["environment"].append(key) or read(self, key)
sys.addaudithook(hook)
for checkpoint in checkpoints:
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        predict.main(["--checkpoint", checkpoint, *rest])
    error = next((line for line in told.getvalue().splitlines() if line.startswith("error: ")), None)
    found["errors"].append(error)
json.dump(found, open(report, "w"))
"""


def walk(checkpoints, folder) -> dict:
    """What predictions with these checkpoints touched, in a process of their own."""
    coarse = np.random.default_rng(0).integers(256, size=(4, 5, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((60, 40)).save(folder / "in.png")
    rest = [folder / "in.png", "--device", "cpu", "--output", folder / "out", "--json", folder / "out/found.json"]
    given = [str(folder / "report.json"), [str(x) for x in checkpoints], [*map(str, rest), "--overwrite"]]
    environment = {**os.environ, "SECRET": "a secret", "HF_TOKEN": "another"}
    subprocess.run([sys.executable, "-c", ROAD, *map(json.dumps, given)], check=True, env=environment)
    return json.loads((folder / "report.json").read_text())


def is_of_python(path: str) -> bool:
    """Whether a file belongs to Python and its libraries, or to the machine, and may be read by any program."""
    places = [sys.prefix, sys.base_prefix, *sys.path, "/proc", "/sys", "/dev", "/usr", "/etc"]
    return any(path.startswith(os.path.realpath(x) + os.sep) or path.startswith(x + os.sep) for x in places if x)


def check(touched: dict, checkpoints, folder) -> None:
    assert not touched["network"] and not touched["processes"]
    inputs = {*map(str, checkpoints), str(folder / "in.png")}
    outside = [x for x in touched["opened"] if x not in inputs and not x.startswith(str(folder / "out"))]
    assert [x for x in outside if not is_of_python(x)] == []
    changed = [x for x in touched["changed"] if not x.startswith(str(folder / "out")) and x != "/dev/null"]
    assert [x for x in changed if x != str(folder / "report.json")] == []
    assert not {"SECRET", "HF_TOKEN", "HOME", "FVCORE_CACHE", "TORCH_HOME", "HF_HOME"} & set(touched["environment"])


def test_nothing_but_inputs_and_outputs_is_touched(tmp_path):
    checkpoints = []
    for name, save in {"lazy": described.save_lazy, "yaml": described.save_yacs}.items():
        (tmp_path / name).mkdir()
        checkpoints.append(save(tmp_path / name))
    touched = walk(checkpoints, tmp_path)
    assert touched["errors"] == [None, None] and (tmp_path / "out/in.png").is_file()
    check(touched, checkpoints, tmp_path)


TIMM = {"_target_": "dab_detr.modeling.backbone.TimmBackbone", "name": "resnet18", "out_features": ["res5"]}
PYRAMID = {"_target_": "detectron2.modeling.FPN", "in_features": ["res5"], "out_channels": 32}
FORGED = [
    ("backbone", TIMM | {"pretrained": True}),
    ("backbone", PYRAMID | {"bottom_up": TIMM | {"pretrained": True}}),
    ("backbone", TIMM | {"pretrained": True, "checkpoint_path": "/etc/hostname"}),
    ("backbone", TIMM | {"name": "hf_hub:someone/model"}),
    ("neck.dim", "\\${oc.env:SECRET}"),
    ("neck.dim", "\\\\\\${oc.env:SECRET}"),
    ("neck", {"_target_": "os.system", "command": "touch executed"}),
]


def test_a_forged_config_reaches_nothing_either(tmp_path):
    whole = described.save_lazy(tmp_path)
    checkpoints = []
    for number, (key, value) in enumerate(FORGED):

        def forge(about, key=key, value=value):
            cfg = OmegaConf.create(about["config"])
            OmegaConf.update(cfg, f"model.{key}", value, merge=False)
            about["config"] = OmegaConf.to_container(cfg)

        checkpoints.append(tmp_path / f"{number}.pth")
        checkpoints[-1].write_bytes(whole.read_bytes())
        described.change(checkpoints[-1], forge)
    touched = walk(checkpoints, tmp_path)
    assert all(x and x.startswith("error: ") for x in touched["errors"]), touched["errors"]
    check(touched, checkpoints, tmp_path)
