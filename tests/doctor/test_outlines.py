"""Masks: run lengths as pycocotools writes them, and numbers that no mask has."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from dab_detr.doctor.outlines import is_mask, uncompressed


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 60), st.sampled_from([0, 0.02, 0.5, 1]))
def test_masks_of_pycocotools_are_read(seed, height, width, share):
    pixels = np.random.default_rng(seed).random((height, width)) < share
    packed = mask_api.encode(np.asfortranarray(pixels, dtype=np.uint8))
    counts = uncompressed(packed["counts"].decode())
    flat = pixels.ravel(order="F")
    assert np.array_equal(np.repeat(np.arange(len(counts)) % 2 == 1, counts), flat)
    for form in (packed["counts"].decode(), counts.tolist()):
        assert is_mask({"counts": form, "size": [height, width]})
        assert not is_mask({"counts": form, "size": [height, width + 1]})
        assert not is_mask({"counts": form, "size": [-height, -width]})
    assert not is_mask({"counts": [-1, height * width + 1], "size": [height, width]})


numbers = st.integers() | st.floats() | st.text(max_size=3) | st.none() | st.booleans()


@given(counts=st.lists(numbers) | st.text() | numbers, size=st.lists(numbers, max_size=3) | numbers)
def test_masks_that_pass_can_be_decoded(counts, size):
    mask = {"counts": counts, "size": size}
    if is_mask(mask) and size[0] * size[1] < 10_000:
        packed = mask_api.frPyObjects(mask, *size) if isinstance(counts, list) else mask
        assert mask_api.decode(packed).shape == tuple(size)
