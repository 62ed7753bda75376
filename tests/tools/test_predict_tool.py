"""tools/predict.py, as it is called from the shell."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import described
from dab_detr.inference import job
from dab_detr.inference.video import VideoWriter
from pictures import save_picture
from serving import serving
from tools import predict


def test_pictures_and_json_of_a_folder_and_a_file(call, tmp_path, capsys):
    for seed, name in enumerate(("in/1.png", "in/sub/1.png", "other.png")):
        save_picture(tmp_path / name, seed)
    call("in", "other.png", "--output", "out", "--json", "out/found.json", "--threshold", "0", "--batch-size", "2")
    assert sorted(x.name for x in (tmp_path / "out").iterdir()) == ["1.png", "1_1.png", "found.json", "other.png"]
    assert np.asarray(Image.open(tmp_path / "out/1_1.png")).shape == (320, 480, 3)
    found = json.loads((tmp_path / "out/found.json").read_text())
    assert [x["file_name"] for x in found["images"]] == ["in/1.png", "in/sub/1.png", "other.png"]
    assert [x["name"] for x in found["categories"]] == described.NAMES
    assert len(found["annotations"]) == 3 * 30
    assert "3 images" in capsys.readouterr().out


def test_a_run_that_finds_nothing_says_what_would_be_found(call, tmp_path, capsys):
    save_picture(tmp_path / "1.png")
    call("1.png", "--output", "out", "--threshold", "1")
    told = capsys.readouterr().out
    assert re.search(
        r"No score reached 1; the highest was 0\.\d+\. The model knows .*\. --threshold 0\.\d+ draws", told
    )
    threshold = re.search(r"--threshold (\S+)", told)[1]
    call("1.png", "--output", "again", "--threshold", threshold)
    assert "1 images with 0 objects" not in capsys.readouterr().out


def test_everything_at_urls(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    save_picture(tmp_path / "1.png")
    with serving(tmp_path) as pictures, serving(checkpoint.parent) as models:
        args = [f"{pictures}/1.png", "--checkpoint", f"{models}/model.pth", "--json", str(tmp_path / "found.json")]
        job.run(predict.parse([*args, "--device", "cpu", "--threshold", "0"]))
    found = json.loads((tmp_path / "found.json").read_text())
    assert [x["file_name"] for x in found["images"]] == [f"{pictures}/1.png"]
    assert len(found["annotations"]) == 30


def test_parts_of_the_users_own_are_allowed_by_name(tmp_path):
    save_picture(tmp_path / "1.png")
    path = described.save_own_prior(tmp_path)
    args = [f"{tmp_path}/1.png", "--checkpoint", str(path), "--json", str(tmp_path / "found.json"), "--device", "cpu"]
    with pytest.raises(ValueError, match=f"predict.py --allow {described.OWN_PRIOR}"):
        job.run(predict.parse(args))
    assert job.run(predict.parse([*args, "--allow", described.OWN_PRIOR])) == 1


def test_a_video(call, tmp_path):
    with VideoWriter(tmp_path / "film.mp4", 10) as writer:
        for shade in range(5):
            writer.write(np.full((48, 64, 3), 40 * shade, np.uint8))
    call("--video", "film.mp4", "--output", "out", "--json", "found.json", "--threshold", "0")
    capture = cv2.VideoCapture(str(tmp_path / "out/film.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert capture.get(cv2.CAP_PROP_FPS) == 10
    assert len(json.loads((tmp_path / "found.json").read_text())["images"]) == 5


def test_ctrl_c_ends_a_camera(checkpoint, tmp_path, monkeypatch):
    frames = iter([(True, np.full((48, 64, 3), 90, np.uint8))] * 3)

    class Camera:
        def read(self):
            for frame in frames:
                return frame
            raise KeyboardInterrupt

        def isOpened(self):
            return True

        def get(self, _):
            return 0.0

    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: Camera() if number == 0 else capture(number))
    args = ["--checkpoint", str(checkpoint), "--video", "0", "--output", str(tmp_path), "--device", "cpu"]
    assert job.run(predict.parse([*args, "--json", str(tmp_path / "found.json")])) == 3
    assert capture(str(tmp_path / "camera 0.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert len(json.loads((tmp_path / "found.json").read_text())["images"]) == 3


def test_what_was_found_before_an_error_is_kept(call, tmp_path):
    save_picture(tmp_path / "in/1.png")
    (tmp_path / "in/2.png").write_text("no image")
    save_picture(tmp_path / "in/3.png")
    with pytest.raises(SystemExit, match=r"cannot read in/2\.png"):
        call("in", "--json", "found.json", "--threshold", "0")
    assert [x["file_name"] for x in json.loads((tmp_path / "found.json").read_text())["images"]] == ["in/1.png"]


def test_unreadable_images_are_left_out_if_asked(call, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("dab_detr"), "propagate", True)  # whatever tests in this process set up
    monkeypatch.setattr("detectron2.utils.logger.setup_logger", lambda name: None)
    save_picture(tmp_path / "in/1.png")
    (tmp_path / "in/2.png").write_text("no image")
    call("in", "--json", "found.json", "--skip-unreadable")
    assert len(json.loads((tmp_path / "found.json").read_text())["images"]) == 1
    assert "in/2.png" in caplog.text


def test_weights_with_a_config(call, checkpoint, tmp_path):
    save_picture(tmp_path / "1.png")
    state = torch.load(checkpoint)["model"]
    torch.save(state, tmp_path / "bare.pth")
    with pytest.raises(SystemExit, match="has no description.*--config-file"):
        call("1.png", "--json", "found.json", "--checkpoint", "bare.pth")
    opts = [*described.lazy_opts(tmp_path), "model.num_classes=3"]
    call("1.png", "--json", "found.json", "--checkpoint", "bare.pth", "--config-file", str(described.LAZY),
         "--threshold", "0", *opts)  # fmt: skip
    found = json.loads((tmp_path / "found.json").read_text())
    assert [x["name"] for x in found["categories"]] == described.NAMES
    assert len(found["annotations"]) == 30


def test_without_a_place_for_the_results_pictures_go_to_a_folder_of_the_output(call, tmp_path):
    save_picture(tmp_path / "1.png")
    call("1.png")
    assert (tmp_path / "output/predictions/1.png").is_file()


def test_a_released_model_by_its_name(tiny_release, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_picture(tmp_path / "1.png")
    arguments = ["1.png", "--model", "tiny", "--json", "found.json", "--threshold", "0", "--device", "cpu"]
    assert predict.main(arguments) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["info"]["checkpoint"] == "tiny" and len(found["categories"]) == 80
    assert found["categories"][-1] == {"id": 90, "name": "toothbrush"}


URL = "https://none.invalid/a.png"  # no test fetches it
WRONG = {
    "nothing to look at": ([], "give either images, before the overrides of the config, or --video"),
    "both": (["a.png", "--video", "b.mp4"], "give either images, before the overrides of the config, or --video"),
    "no batch": (["a.png", "--json", "x.json", "--batch-size", "0"], "--batch-size must be 1 or more"),
    "a missing image": (["a.png", "--json", "x.json"], "a.png does not exist"),
    "a missing video": (["--video", "b.mp4", "--json", "x.json"], "video b.mp4 does not exist"),
    "a missing checkpoint": ([URL, "--json", "x.json", "--checkpoint", "none.pth"], ".*none.pth does not exist"),
    "a missing config": ([URL, "--json", "x.json", "--config-file", "none.py"], ".*none.py"),
    "a missing config in yaml": ([URL, "--json", "x.json", "--config-file", "none.yaml"], ".*none.yaml"),
    "a folder of nothing": ([".", "--json", "x.json"], "folder . has no images"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said(wrong, call, tmp_path):
    args, message = WRONG[wrong]
    with pytest.raises(SystemExit, match=message):
        call(*args)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("threshold", ["50", "-1"])
def test_thresholds_are_scores(threshold, call):
    with pytest.raises(SystemExit, match=f"--threshold must be from 0 to 1, got {threshold}"):
        call("1.png", "--output", "out", "--threshold", threshold)


def odd_folder(folder) -> None:
    """Two pictures that can be looked at, 1 x 1 and ordinary, among whatever lies in folders."""
    save_picture(folder / "good.png")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    for name in ("._good.png", ".hidden/a.png", ".DS_Store", "notes.txt", "scan.pdf"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    Image.new("RGB", (3000, 1)).save(folder / "line.png")
    Image.fromarray(np.zeros((20, 30), np.float32)).save(folder / "float.tif")
    (folder / "page.jpg").write_bytes(b"%PDF-1.4")
    whole = (folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])


def test_whatever_lies_in_a_folder_is_done_or_named(call, tmp_path, caplog, capsys):
    (tmp_path / "in").mkdir()
    odd_folder(tmp_path / "in")
    call("in", "--json", "found.json", "--output", "out", "--skip-unreadable")
    images = json.loads((tmp_path / "found.json").read_text())["images"]
    assert [x["file_name"] for x in images] == ["in/dot.png", "in/good.png"]
    left_out = {x.message.split("in/")[1].split()[0].rstrip(":") for x in caplog.records if "Left out: " in x.message}
    assert left_out == {"line.png", "float.tif", "page.jpg", "cut.png"}
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == last[: last.index(";")] + "; 4 images could not be read; pictures in out; detections in found.json"


@pytest.mark.parametrize("name", ["line.png", "float.tif", "page.jpg", "cut.png"])
def test_one_that_cannot_be_done_stops_and_is_named(name, call, tmp_path):
    odd_folder(tmp_path)
    with pytest.raises(SystemExit, match=f"error: cannot (read|resize) {name}"):
        call(name, "--json", "found.json")


def test_a_huge_picture_is_allowed_on_request(call, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    save_picture(tmp_path / "1.png")
    with pytest.raises(SystemExit, match="cannot read 1.png: .*2400 pixels.*--max-pixels"):
        call("1.png", "--json", "found.json")
    with pytest.raises(SystemExit, match="cannot read 1.png: .*2400 pixels.*--max-pixels"):
        call("1.png", "--json", "found2.json", "--max-pixels", "2399")
    call("1.png", "--json", "found3.json", "--max-pixels", "2400")


def test_two_processes_write_what_one_writes(call, checkpoint, tmp_path, monkeypatch):
    """This process is the first, and another one the second."""
    for seed in range(5):
        save_picture(tmp_path / f"in/{seed % 3}/{seed}.png", seed)
    args = ["in", "in/0/3.png", "in/1", "--output", "{}", "--json", "{}/found.json", "--threshold", "0"]
    call(*(x.format("one") for x in args))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    second = os.environ | environment | {"RANK": "1", "LOCAL_RANK": "1"}
    given = ["--checkpoint", str(checkpoint), "--device", "cpu", *(x.format("two") for x in args)]
    process = subprocess.Popen(
        [sys.executable, predict.__file__, *given], stderr=subprocess.PIPE, text=True, env=second
    )
    for name, value in (environment | {"RANK": "0", "LOCAL_RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    call(*(x.format("two") for x in args))
    assert process.wait(60) == 0, process.stderr.read()
    assert files(tmp_path / "two") == files(tmp_path / "one")


NUMBER = 12
SLOWLY = """
import sys, time
from dab_detr.inference import Predictor
from tools import predict
run = Predictor.run
Predictor.run = lambda *images: time.sleep(0.05) or run(*images)
sys.exit(predict.main())
"""


def files(folder) -> dict:
    return {str(x.relative_to(folder)): x.read_bytes() for x in folder.rglob("*") if x.is_file()}


@pytest.mark.parametrize(
    ("name", "number"),
    [("found.json", signal.SIGINT), ("found.jsonl", signal.SIGTERM), ("found.json", signal.SIGKILL)],
)
def test_what_was_found_before_a_signal_is_kept_and_gone_on_with(name, number, call, checkpoint, tmp_path):
    for seed in range(NUMBER):
        save_picture(tmp_path / f"in/{seed:02d}.png", seed)
    args = ["in", "--output", "out", "--json", f"out/{name}", "--threshold", "0"]
    given = ["--checkpoint", str(checkpoint), "--device", "cpu", *args]
    root = str(Path(predict.__file__).parents[1])  # the process starts in another folder
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-c", SLOWLY, *given]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("out/*.png"))) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(number)
    output = process.communicate(timeout=30)[1]
    assert process.returncode == (-number if number == signal.SIGKILL else 130), output
    if number != signal.SIGKILL:
        assert f"stopped by {number.name if number == signal.SIGTERM else 'Ctrl-C'}" in output
    for picture in tmp_path.glob("out/*.png"):
        with Image.open(picture) as image:
            image.load()
    kept = next(x for x in (tmp_path / f"out/{name}", tmp_path / f"out/{name}.jsonl") if x.is_file()).read_text()
    assert 3 <= kept.count("file_name") < NUMBER
    call(*args, "--resume")
    resumed = files(tmp_path / "out")
    call(*args, "--overwrite")
    assert files(tmp_path / "out") == resumed
