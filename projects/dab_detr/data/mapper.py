"""Detectron2's dataset mapper with a stricter reader of images, whose errors name the image."""

import copy

import numpy as np
import torch
from detectron2.data import DatasetMapper, detection_utils
from detectron2.data import transforms as T
from detectron2.structures import Instances

from .pictures import read_image
from .sharing import share


class NamingMapper(DatasetMapper):
    """`DatasetMapper` with its arguments, for boxes.

    Raises ValueError, naming the file, for an image that it cannot use, and OSError in a data worker without enough
    shared memory.
    """

    def __call__(self, dataset_dict: dict) -> dict | None:
        try:
            mapped = self.map(copy.deepcopy(dataset_dict))
        except Exception as error:
            name = dataset_dict.get("file_name", "an image without file_name")
            raise ValueError(
                f"{name} cannot be used ({type(error).__name__}: {error}): mend it, or leave it out of the "
                "annotations; tools/check_dataset.py lists all such images"
            ) from error
        return share(mapped)

    def map(self, record: dict) -> dict:
        """Add the augmented `image`, (C, H, W), to a record, and in training its `instances`."""
        image = read_image(record["file_name"], self.image_format)
        detection_utils.check_image_size(record, image)
        augmented = T.AugInput(image)
        transforms = self.augmentations(augmented)
        record["image"] = torch.as_tensor(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
        objects = record.pop("annotations", None)
        if self.is_train and objects is not None:
            record["instances"] = self.instances(objects, transforms, augmented.image.shape[:2])
        return record

    def instances(self, objects: list[dict], transforms: T.TransformList, size: tuple[int, int]) -> Instances:
        """Return the objects that are not crowd regions and that the augmented image still shows.

        size: height and width of the augmented image.
        """
        unused = {"keypoints"} if self.use_instance_mask else {"keypoints", "segmentation"}
        kept = [{k: v for k, v in x.items() if k not in unused} for x in objects if not x.get("iscrowd", 0)]
        kept = [detection_utils.transform_instance_annotations(x, transforms, size) for x in kept]
        instances = detection_utils.annotations_to_instances(kept, size, mask_format=self.instance_mask_format)
        if self.recompute_boxes:
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        return detection_utils.filter_empty_instances(instances)
