"""Frames in and frames out."""

import builtins

import numpy as np
import pytest

from dab_detr.inference.video import Video, VideoWriter
from serving import serving

SHADES = (40, 120, 200)


def frame(shade: int) -> np.ndarray:
    """Red is lighter than blue, so that their order shows."""
    image = np.full((48, 64, 3), shade, np.uint8)
    image[..., 2] = shade // 4
    return image


@pytest.fixture
def film(tmp_path):
    with VideoWriter(tmp_path / "film.mp4", 12.5) as writer:
        for shade in SHADES:
            writer.write(frame(shade))
    return tmp_path / "film.mp4"


def test_frames_come_back_in_order_and_color(film):
    video = Video(film)
    assert (len(video), video.frames_per_second) == (3, 12.5)
    sources = list(video)
    assert [source.name for source in sources] == [f"{film} {i:06d}" for i in range(3)]
    for source, shade in zip(sources, SHADES, strict=True):
        image = source.read()
        assert image.shape == (48, 64, 3) and image.dtype == np.uint8
        assert np.abs(image.mean((0, 1)) - [shade, shade, shade // 4]).max() < 8


def test_a_video_at_a_url(film, tmp_path):
    with serving(tmp_path) as address:
        video = Video(f"{address}/film.mp4")
        assert len(list(video)) == len(video) == 3


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"cannot open \S+a\.mp4 as a video"):
        Video(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"video \S+b\.mp4 does not exist"):
        Video(tmp_path / "b.mp4")


def test_a_camera_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="cannot open camera 99 as a video"):
        Video(99)


def test_a_video_that_ends_early_is_said(film, caplog):
    video = Video(film)
    video._length = 5
    assert len(list(video)) == 3
    assert "film.mp4 ends after 3 of 5 frames" in caplog.text


def test_a_video_cannot_be_written_everywhere(tmp_path):
    with pytest.raises(ValueError, match="cannot write a video to"), VideoWriter(tmp_path / "none/a.mp4", 10) as writer:
        writer.write(frame(0))


def test_without_opencv_the_way_out_is_said(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "cv2":
            raise ImportError("No module named 'cv2'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install opencv-python-headless"):
        Video(0)
