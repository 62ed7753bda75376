"""Detection with a trained model: on images, folders, URLs, videos and cameras."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .coco_json import CocoFile
    from .detections import Detections
    from .images import UnreadableImage
    from .predictor import Predictor
    from .video import Video, VideoWriter

__all__ = ["CocoFile", "Detections", "Predictor", "UnreadableImage", "Video", "VideoWriter"]
__getattr__ = lazy_names(
    __name__,
    {
        "CocoFile": ".coco_json",
        "Detections": ".detections",
        "Predictor": ".predictor",
        "UnreadableImage": ".images",
        "Video": ".video",
        "VideoWriter": ".video",
    },
)
