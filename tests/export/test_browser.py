"""The page of docs/deploy.md, in a browser with onnxruntime-web.

The package is on npm alone, so the tests run where DAB_DETR_ONNXRUNTIME_WEB names its folder `dist`.
"""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from browser import CHROMIUM
from dab_detr.export.metadata import INPUTS, KEY, OUTPUTS, Metadata
from dab_detr.inference import Predictor
from serving import serving

PAGE = Path(__file__).parents[2] / "docs" / "deploy" / "detect.html"
PACKAGE = os.environ.get("DAB_DETR_ONNXRUNTIME_WEB")
FILES = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def shown(folder: Path, query: str) -> tuple[str, list[dict]]:
    """The status line and the detections that the page shows."""
    with serving(folder) as address:
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=60000")
        profile = f"--user-data-dir={folder / 'profile'}"
        command = [CHROMIUM, *options, profile, "--dump-dom", f"{address}/detect.html?{query}"]
        text = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    status, found = (
        html.unescape(re.search(rf'id="{x}"[^>]*>(.*?)<', text, re.DOTALL)[1]) for x in ("status", "found")
    )
    return status, [json.loads(line) for line in found.splitlines()]


if PACKAGE:

    def test_a_browser_detects_what_the_predictor_detects(deployed, tmp_path):
        for name in FILES:
            shutil.copy(Path(PACKAGE) / name, tmp_path)
        for source in (PAGE, deployed.folder / "model.onnx", deployed.folder / "picture.png"):
            shutil.copy(source, tmp_path)
        status, found = shown(tmp_path, "picture=picture.png&threshold=0")
        expected = Predictor.from_checkpoint(tmp_path / "model.onnx")(tmp_path / "picture.png", threshold=0.0).objects()
        assert status.startswith(f"{len(expected)} objects") and len(found) == len(expected) > 0
        for ours, theirs in zip(found[:5], expected[:5], strict=True):
            assert ours["score"] == pytest.approx(theirs["score"], abs=0.01)
        (tmp_path / "model.onnx").write_bytes(b"another file")
        assert shown(tmp_path, "")[0] == "Error: model.onnx was not exported by dab_detr"


def test_the_page_takes_what_the_exported_file_says():
    """Its names for inputs, outputs and metadata are those of the export."""
    text = PAGE.read_text()
    assert all(f"{name}: new ort.Tensor" in text for name in INPUTS)
    assert all(f"out.{name}.data" in text for name in OUTPUTS)
    assert f"\\x0a\\x{len(KEY):02x}{KEY}\\x12" in text
    assert set(re.findall(r"about\.(\w+)", text)) <= set(Metadata.__dataclass_fields__)
