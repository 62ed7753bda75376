"""Small dataset dicts and detections as an evaluation has them."""

from detectron2.structures import BoxMode

LABELS = {7: 0, 9: 1}


def record(image_id: int, *objects: tuple[list[int], int, int]) -> dict:
    found = [
        {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": label, "iscrowd": crowd}
        for box, label, crowd in objects
    ]
    return {"image_id": image_id, "file_name": f"{image_id}.png", "height": 50, "width": 50, "annotations": found}


def detection(image_id: int, box: list[int], category: int, score: float) -> dict:
    return {"image_id": image_id, "category_id": category, "bbox": box, "score": score}
