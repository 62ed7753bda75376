"""Where images come from, and what is said of those that cannot be read."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data.detection_utils import read_image
from PIL import Image

from dab_detr.inference.images import UnreadableImage, paths_of, sources_of
from serving import serving


def noise(height=20, width=30, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)


@pytest.fixture
def turned(tmp_path) -> Path:
    """A picture that lies on its side, with EXIF data that say so."""
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise()).save(tmp_path / "turned.jpg", exif=exif, quality=100)
    return tmp_path / "turned.jpg"


def only(images) -> np.ndarray:
    (source,) = sources_of(images)
    return source.read()


@pytest.mark.parametrize(
    "given",
    [
        str,
        Path,
        Path.as_uri,
        Image.open,
        lambda path: [path],
        Path.read_bytes,
        lambda path: io.BytesIO(path.read_bytes()),
        lambda path: path.open("rb"),
    ],
)
def test_one_image_is_turned_as_in_training(given, turned):
    image = only(given(turned))
    assert image.shape == (30, 20, 3) and image.dtype == np.uint8
    assert np.array_equal(image, read_image(turned, "RGB"))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "1"])
def test_every_kind_becomes_rgb(mode, tmp_path):
    path = tmp_path / ("a.tiff" if mode in ("CMYK", "I;16") else "a.png")
    Image.new(mode, (30, 20)).save(path)
    assert only(path).shape == only(Image.open(path)).shape == (20, 30, 3)


def test_an_array_is_taken_as_it_is():
    assert only(noise()) is not None
    assert np.array_equal(only([noise(seed=3)]), noise(seed=3))


@pytest.mark.parametrize("image", [noise()[..., 0], noise().astype(np.float32), noise()[None], noise()[:0]])
def test_another_array_is_refused(image):
    with pytest.raises(UnreadableImage, match=r"image 0: an array must be \(H, W, 3\) uint8, RGB; got \("):
        only(image)


def test_a_tensor_has_its_channels_first():
    image = noise()
    assert np.array_equal(only(torch.from_numpy(image).permute(2, 0, 1)), image)


@pytest.mark.parametrize("image", [torch.zeros(20, 30, 3), torch.zeros(3, 20, 30), torch.zeros(1, 3, 4, 4).byte()])
def test_another_tensor_is_refused(image):
    with pytest.raises(UnreadableImage, match=r"image 0: a tensor must be \(3, H, W\) uint8, RGB; got \("):
        only(image)


@pytest.mark.parametrize("image", [None, 5, [None], [noise(), 5]])
def test_what_is_no_image_is_said_at_once(image):
    with pytest.raises(TypeError, match=r"an image is a path, .*; got (NoneType|int)"):
        sources_of(image)


def test_a_url_of_a_file_may_have_spaces_in_it(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "a b.png")
    assert paths_of((tmp_path / "a b.png").as_uri()) == [str(tmp_path / "a b.png")]


def test_a_folder_is_all_images_below_it_in_order(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise()).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    assert [Path(x).name for x in paths_of(str(tmp_path))] == ["a.JPG", "b.png", "c.bmp"]
    assert [x.name for x in sources_of([tmp_path, noise()])][-2:] == [str(tmp_path / "sub/c.bmp"), "image 1"]


def test_folders_behind_links_are_read_and_a_lost_link_is_an_image_that_cannot_be_read(tmp_path):
    (tmp_path / "real").mkdir()
    Image.fromarray(noise()).save(tmp_path / "real" / "a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to("../real")
    (tmp_path / "in" / "lost.png").symlink_to("nowhere.png")
    first, second = sources_of(tmp_path / "in")
    assert first.name == str(tmp_path / "in/link/a.png") and first.read().shape == (20, 30, 3)
    with pytest.raises(UnreadableImage, match=r"cannot read .*lost\.png"):
        second.read()


def test_what_is_not_there_is_said_at_once(tmp_path):
    with pytest.raises(ValueError, match="none.jpg does not exist"):
        sources_of([noise(), str(tmp_path / "none.jpg")])
    with pytest.raises(ValueError, match=f"folder {tmp_path} has no images"):
        sources_of(tmp_path)


def test_an_endless_stream_is_read_as_it_comes():
    def stream():
        while True:
            yield noise()

    assert next(iter(sources_of(stream()))).read().shape == (20, 30, 3)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", "half"])
def test_a_damaged_file_is_named(content, tmp_path):
    Image.fromarray(noise()).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "bad.jpg").write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    (source,) = sources_of(tmp_path / "bad.jpg")
    with pytest.raises(UnreadableImage, match=r"cannot read \S+bad\.jpg: "):
        source.read()


def test_a_video_among_images_is_told_apart(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(UnreadableImage, match="a video goes by"):
        only(tmp_path / "a.mp4")


def test_urls_of_two_servers_are_two_images(tmp_path):
    """PathManager's cache goes by the path of a URL and forgets the host."""
    for seed, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        Image.fromarray(noise(seed=seed)).save(tmp_path / name / "a.png")
    with serving(tmp_path / "one") as one, serving(tmp_path / "two") as two:
        images = [source.read() for source in sources_of([f"{one}/a.png?size=1", f"{two}/a.png?size=1"])]
    assert all(np.array_equal(image, noise(seed=seed)) for seed, image in enumerate(images))


def test_a_url_that_is_not_there_is_named(tmp_path):
    with serving(tmp_path) as address:
        (source,) = sources_of(f"{address}/none.png")
        with pytest.raises(UnreadableImage, match=r"cannot read http://\S+none\.png: HTTP Error 404"):
            source.read()


@pytest.mark.parametrize(
    ("name", "shown"), [("a\nb.png", r"a\\nb\.png"), ("\udcff.png", r"\\udcff\.png"), ("\x1b[2J.png", r"\\x1b")]
)
def test_a_name_that_no_terminal_prints_is_escaped_in_a_message(name, shown, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(UnreadableImage, match=f"cannot read .*{shown}.*: it is empty"):
        next(iter(sources_of(tmp_path))).read()
