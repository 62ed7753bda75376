"""Pictures for tests."""

import numpy as np
from PIL import Image


def save_picture(path, seed=0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(256, size=(4, 5, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((60, 40)).save(path)
