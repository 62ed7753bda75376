"""Detection with a trained model: on images, folders, URLs, videos and cameras."""

from .detections import Detections
from .images import UnreadableImage
from .predictor import Predictor
from .video import Video

__all__ = ["Detections", "Predictor", "UnreadableImage", "Video"]
