"""Converts datasets of other formats to annotation files in COCO format: nothing is lost, and nothing is invented.

`recognize` finds out what a folder holds and `convert` writes it. Each format has a file that reads it (`yolo`, `voc`,
`labelme`, `createml`, `coco`), and the `ledger` lists everything that did not go straight from the source into the
output. So every picture and every object is either written or named.
"""

from .convert import convert
from .damage import DamagedDataset
from .dataset import dataset_from_folder
from .recognition import recognize
from .report import Report

__all__ = ["DamagedDataset", "Report", "convert", "dataset_from_folder", "recognize"]
