"""COCO's metrics by Detectron2's evaluator, and a report beside the numbers."""

import contextlib
import io
import itertools
import json
import logging
import os
from collections.abc import Sequence

from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from pycocotools.coco import COCO

from .box_eval import BoxEval, numbered
from .confusion import count_confusions

logger = logging.getLogger(__name__)


def coco_evaluator(
    *,
    dataset_name: str,
    output_dir: str,
    max_detections: int = 100,
    area_sides: Sequence[float] = (32, 96),
    score_threshold: float = 0.3,
    weights: str = "",
) -> COCOEvaluator:
    """Detectron2's evaluator of boxes by the official COCO API, which leaves a report in `output_dir`.

    For a dataset that was not registered by an annotation file, Detectron2 writes one to `output_dir` and reads it
    again later, even if the dataset has changed since. Here every evaluator writes it again.

    dataset_name: registered name of the dataset.
    output_dir: folder for detections and report.
    max_detections: how many detections of an image count, the best first.
    area_sides: roots of the areas, in pixels, at which small objects end and large ones begin (APs, APm, APl).
    score_threshold: the least score of the detections in the confusion matrix.
    weights: a name for the evaluated weights, which the log puts before each table; "" for those of the model itself.

    Raises ValueError for limits and areas that nothing can be evaluated with.
    """
    if max_detections < 1:
        raise ValueError(f"dataloader.evaluator.max_detections must be 1 or more, got {max_detections}")
    if len(area_sides) != 2 or not 0 < area_sides[0] < area_sides[1]:
        raise ValueError(f"dataloader.evaluator.area_sides must be two rising sides in pixels, got {list(area_sides)}")
    metadata = MetadataCatalog.get(dataset_name)
    converted = not hasattr(metadata, "json_file")
    if converted:
        remove_everywhere(os.path.join(output_dir, f"{dataset_name}_coco_format.json"))
    evaluator = BoxEvaluator(
        dataset_name,
        output_dir=output_dir,
        max_detections=max_detections,
        area_sides=area_sides,
        score_threshold=score_threshold,
        weights=weights,
    )
    if converted:
        del metadata.json_file  # otherwise the next evaluator in this process takes it for the dataset's own
    return evaluator


def remove_everywhere(path: str) -> None:
    """Remove a file, if it exists, before any process continues."""
    if comm.is_main_process() and PathManager.isfile(path):
        PathManager.rm(path)
    comm.synchronize()


class BoxEvaluator(COCOEvaluator):
    """Detectron2's evaluator for boxes, with other limits and a report; `evaluate` returns the same metrics."""

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: str,
        max_detections: int,
        area_sides: Sequence[float],
        score_threshold: float,
        weights: str = "",
    ):
        super().__init__(dataset_name, tasks=("bbox",), output_dir=output_dir, use_fast_impl=False)
        self._max_detections, self._area_sides = max_detections, area_sides
        self._score_threshold = score_threshold
        if weights:
            self._logger = Named(self._logger, {"weights": weights})

    def _eval_predictions(self, predictions: list[dict], img_ids: Sequence[int] | None = None) -> None:
        """Evaluate the boxes, as Detectron2 calls it, and fill `_results`."""
        detections = list(itertools.chain(*(prediction["instances"] for prediction in predictions)))
        numbers = self._metadata.get("thing_dataset_id_to_contiguous_id")
        ids = {number: i for i, number in numbers.items()} if numbers else None
        for detection in detections if ids else ():
            detection["category_id"] = ids[detection["category_id"]]
        with PathManager.open(os.path.join(self._output_dir, "coco_instances_results.json"), "w") as file:
            json.dump(detections, file)
        if not self._do_evaluation:
            self._logger.info("The dataset has no annotations: the detections are written but not evaluated.")
            return
        evaluation = self._evaluate_boxes(self._coco_api, detections, img_ids) if detections else None
        names = self._metadata.get("thing_classes")
        self._results["bbox"] = self._derive_coco_results(evaluation, "bbox", class_names=names)
        if evaluation is not None:
            from .report import write_report  # matplotlib is slow to import

            confusions = count_confusions(evaluation.cocoGt, evaluation.cocoDt, self._score_threshold)
            write_report(self._output_dir, evaluation, confusions, self._score_threshold)

    def _evaluate_boxes(self, truth: COCO, detections: list[dict], img_ids: Sequence[int] | None) -> BoxEval:
        truth, detections, number_of = numbered(truth, detections)
        limits = {"max_detections": self._max_detections, "area_sides": self._area_sides}
        with contextlib.redirect_stdout(io.StringIO()) as printed:  # pycocotools prints its progress and a table
            evaluation = BoxEval(truth, truth.loadRes(detections), **limits)
            if img_ids is not None:
                evaluation.params.imgIds = [number_of[i] for i in img_ids]
            evaluation.run()
        logger.info("pycocotools:\n%s", printed.getvalue())
        return evaluation


class Named(logging.LoggerAdapter):
    """Begin every message with the weights that it is about."""

    def process(self, msg, kwargs):
        return f"{self.extra['weights']}: {msg}", kwargs
