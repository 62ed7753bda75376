"""Videos and cameras, by OpenCV."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from .images import Source

logger = logging.getLogger(__name__)


def opencv() -> ModuleType:
    """Import OpenCV. Raises ImportError with advice if it is missing."""
    try:
        import cv2
    except ImportError as error:
        raise ImportError("videos and cameras need OpenCV: pip install opencv-python-headless") from error
    return cv2


class Video:
    """The frames of a video, to iterate over once.

    source: a file, a URL that OpenCV can open (http, rtsp), or the number of a camera.

    Raises ValueError if it cannot be opened.
    """

    def __init__(self, source: str | os.PathLike | int):
        cv2 = opencv()
        self.name = f"camera {source}" if isinstance(source, int) else os.fspath(source)
        if isinstance(source, (str, os.PathLike)) and "://" not in self.name and not os.path.isfile(self.name):
            raise ValueError(f"video {self.name} does not exist")
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else self.name)
        if not self._capture.isOpened():
            raise ValueError(f"cannot open {self.name} as a video")
        self.frames_per_second = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self._length = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __len__(self) -> int:
        """The number of frames that the file states; 0 for a camera and for files without it."""
        return self._length

    def __iter__(self) -> Iterator[Source]:
        number = 0
        while True:
            there, frame = self._capture.read()
            if not there:
                break
            yield Source(f"{self.name} {number:06d}", lambda frame=frame: np.ascontiguousarray(frame[:, :, ::-1]))
            number += 1
        self._capture.release()
        if number < len(self):
            logger.warning("%s ends after %d of %d frames: the rest cannot be read.", self.name, number, len(self))


class VideoWriter:
    """Writes an mp4 file of frames (H, W, 3) uint8, RGB, all of one size, in a `with` block.

    The file gets its name when the block ends, even by an error or Ctrl-C; a kill leaves a file that begins with
    `.incomplete`.

    Raises ValueError if OpenCV cannot write.
    """

    def __init__(self, path: str | os.PathLike, frames_per_second: float):
        self.path, self.frames_per_second, self._writer = Path(path), frames_per_second, None
        self.incomplete = self.path.with_name(f".incomplete.{self.path.name}")  # OpenCV looks at the suffix

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer:
            self._writer.release()
            self.incomplete.replace(self.path)

    def write(self, frame: np.ndarray) -> None:
        """Add a frame."""
        cv2 = opencv()
        if self._writer is None:
            code = cv2.VideoWriter_fourcc(*"mp4v")
            writer = cv2.VideoWriter(str(self.incomplete), code, self.frames_per_second, frame.shape[1::-1])
            if not writer.isOpened():
                raise ValueError(f"cannot write a video to {self.path}")
            self._writer = writer
        self._writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
