"""Detection with a trained model: on images, folders, URLs, videos and cameras."""

from .coco_json import CocoFile
from .detections import Detections
from .images import UnreadableImage
from .predictor import Predictor
from .video import Video, VideoWriter

__all__ = ["CocoFile", "Detections", "Predictor", "UnreadableImage", "Video", "VideoWriter"]
