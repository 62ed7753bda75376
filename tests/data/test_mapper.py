"""A picture that cannot be used is named, in training and in evaluation."""

import pytest
from PIL import Image

from dab_detr.data.mapper import NamingMapper


@pytest.fixture
def entry(tmp_path) -> dict:
    path = tmp_path / "cells.jpg"
    Image.effect_noise((64, 48), 60).convert("RGB").save(path)
    return {"file_name": str(path), "height": 48, "width": 64, "image_id": 1}


@pytest.mark.parametrize("is_train", [True, False])
def test_a_damaged_image_is_named(entry, is_train):
    mapper = NamingMapper(is_train=is_train, augmentations=[], image_format="RGB")
    assert mapper(entry)["image"].shape == (3, 48, 64)
    with open(entry["file_name"], "r+b") as file:
        file.truncate(1000)
    with pytest.raises(ValueError, match=r"cells\.jpg cannot be used \(OSError: .*truncated.*check_dataset"):
        mapper(entry)


def test_any_other_cause_is_named_with_the_image_too(entry):
    mapper = NamingMapper(is_train=False, augmentations=[], image_format="RGB")
    with pytest.raises(ValueError, match=r"cells\.jpg cannot be used \(SizeMismatchError: ") as caught:
        mapper(entry | {"height": 50})
    assert caught.value.__cause__ is not None
