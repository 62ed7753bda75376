"""Where a prediction writes: names for any list of images, and files that are never taken for free."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dab_detr.inference.output import (
    Pictures,
    check_inputs_are_safe,
    check_nothing_is_replaced,
    picture_names,
    stem_of,
)

WORDS = st.text("aAbé_12 .%?", min_size=1, max_size=4)
PATHS = st.lists(
    st.builds("{}/{}{}.png".format, st.sampled_from(["x", "y", "http://h"]), WORDS, st.sampled_from(["", "_1", "_2"]))
)


@given(PATHS)
def test_every_image_has_a_name_of_its_own_in_any_file_system(paths):
    names = picture_names(paths)
    assert len({name.casefold() for name in names}) == len(names) == len(paths)
    assert all(name == Path(name).name and name.endswith(".png") for name in names)


@given(PATHS)
def test_an_image_whose_name_is_its_own_keeps_it(paths):
    stems = [stem_of(path).casefold() for path in paths]
    for path, stem, name in zip(paths, stems, picture_names(paths), strict=True):
        assert stems.count(stem) > 1 or name == f"{stem_of(path)}.png"


@given(PATHS, st.data())
def test_a_run_that_goes_on_gives_the_names_that_it_would_have_given(paths, data):
    names = picture_names(paths)
    done = data.draw(st.integers(0, len(paths)))
    assert picture_names(paths[done:], taken=names[:done]) == names[done:]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cam1/photo.png", "cam1/photo_2.png", "cam2/photo.png"], ["photo", "photo_2", "photo_1"]),
        (["cam1/photo.png", "cam1/photo_1.png", "cam2/photo.png"], ["photo", "photo_1", "photo_2"]),
        (["a.png", "a.jpg", "A.png"], ["a", "a_1", "A_2"]),
        (["http://h/a.png?size=1/2", "http://h/b%2Fc.png", "http://h/", "http://h/d/#x"], ["a", "c", "h", "d"]),
    ],
)
def test_names(names, expected):
    assert picture_names(names) == [f"{name}.png" for name in expected]


def test_many_equal_names_are_numbered_in_no_time():
    assert len(set(picture_names([f"{i}/a.png" for i in range(20000)]))) == 20000


@pytest.mark.parametrize("letter", ["a", "ü", "語"])
def test_long_names_fit_into_a_file_system(letter, tmp_path):
    (name,) = picture_names([f"http://h/{letter * 300}.png"])
    pictures = Pictures(tmp_path, [f"http://h/{letter * 300}.png"])
    assert pictures.save(f"http://h/{letter * 300}.png", np.zeros((2, 2, 3), np.uint8)) == name
    assert len(os.fsencode(name)) < 240


def test_pictures_are_whole(tmp_path, monkeypatch):
    pictures = Pictures(tmp_path, ["a.png"])
    save = Image.Image.save

    def half(image, file, form):
        save(image, file, form)
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(KeyboardInterrupt):
        pictures.save("a.png", np.zeros((2, 2, 3), np.uint8))
    assert not list(tmp_path.iterdir())


LINKS = {
    "the same": lambda source, target: source,
    "a symbolic link": lambda source, target: target.symlink_to(source),
    "a hard link": lambda source, target: target.hardlink_to(source),
    "through a linked folder": lambda source, target: target.parent.joinpath("in").symlink_to(source.parent),
}


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("turned", [False, True])
def test_an_input_under_another_name_is_seen(kind, turned, tmp_path):
    source, target = tmp_path / "in/a.png", tmp_path / "out/a.png"
    for path in (source, target):
        path.parent.mkdir()
    source.write_text("a picture")
    LINKS[kind](source, target)
    other = {"the same": source, "through a linked folder": target.parent / "in/a.png"}.get(kind, target)
    written, read = (source, other) if turned else (other, source)
    with pytest.raises(ValueError, match="would overwrite the input"):
        check_inputs_are_safe([tmp_path / "new.png", written], [tmp_path / "none.png", read])


def test_what_exists_is_not_replaced(tmp_path):
    check_nothing_is_replaced([tmp_path / "a.png"])
    (tmp_path / "a.png").symlink_to("nothing")
    (tmp_path / "b.png").touch()
    with pytest.raises(ValueError, match=r"a\.png and 1 more files exist already: .*--resume.*--overwrite"):
        check_nothing_is_replaced([tmp_path / f"{name}.png" for name in "abc"])
