"""A browser without a network, for the pages that the tools write."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def browse(path: Path, fragment: str, width: int, folder: Path, *options: str) -> np.ndarray:
    """A screenshot (H, W, 3) of a page by a browser that reaches no network; its console must be silent."""
    shot = folder / f"{abs(hash((path, fragment, width, options)))}.png"
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars"),
        *("--enable-logging=stderr", "--virtual-time-budget=4000", f"--user-data-dir={folder / 'profile'}"),
        *(f"--window-size={width},1000", f"--screenshot={shot}", *options, f"{path.as_uri()}#{fragment}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not messages, messages
    with Image.open(shot) as image:
        return np.asarray(image.convert("RGB")).astype(int)
