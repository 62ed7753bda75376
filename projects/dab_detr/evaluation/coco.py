"""COCO's metrics, by Detectron2's evaluator."""

import os

from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager


def coco_evaluator(*, dataset_name: str, output_dir: str) -> COCOEvaluator:
    """Detectron2's evaluator of boxes by the official COCO API: the best 100 detections of an image count.

    For a dataset that was not registered by an annotation file Detectron2 writes one to `output_dir`, and reads that
    of an earlier run if there is any, whatever has become of the dataset since. Here it is always written anew.
    """
    stale = os.path.join(output_dir, f"{dataset_name}_coco_format.json")
    if not hasattr(MetadataCatalog.get(dataset_name), "json_file"):
        if comm.is_main_process() and PathManager.isfile(stale):
            PathManager.rm(stale)
        comm.synchronize()
    return COCOEvaluator(dataset_name, tasks=("bbox",), output_dir=output_dir, use_fast_impl=False)
