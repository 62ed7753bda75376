"""Data of all recipes: COCO 2017, or any dataset in COCO format by `dataset.{train,val}.{annotations,images}`."""

from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader
from detectron2.data.transforms import ResizeShortestEdge
from omegaconf import OmegaConf

from dab_detr.data.augmentation import detr_augmentations
from dab_detr.data.coco import dataset_dicts, dataset_name
from dab_detr.data.loader import TrainLoader
from dab_detr.data.mapper import NamingMapper
from dab_detr.evaluation.coco import coco_evaluator

# annotations (a JSON file) and images (a folder) win over name, a dataset that Detectron2 knows already
dataset = dict(
    train=dict(name="coco_2017_train", annotations=None, images=None),
    val=dict(name="coco_2017_val", annotations=None, images=None),
)

dataloader = OmegaConf.create()
dataloader.num_workers = 4

dataloader.train = L(TrainLoader)(
    dataset=L(dataset_dicts)(
        annotations="${dataset.train.annotations}",
        images="${dataset.train.images}",
        default="${dataset.train.name}",
    ),
    mapper=L(NamingMapper)(
        is_train=True,
        augmentations=L(detr_augmentations)(
            short_side=list(range(480, 801, 32)),
            max_side=1333,
            crop_short_side=[400, 500, 600],
            crop_side=[384, 600],
        ),
        image_format="${model.input_format}",
    ),
    total_batch_size=16,
    seed="${train.seed}",
    aspect_ratio_grouping=False,
    num_workers="${..num_workers}",
)

dataloader.test = L(build_detection_test_loader)(
    dataset=L(dataset_dicts)(
        annotations="${dataset.val.annotations}",
        images="${dataset.val.images}",
        default="${dataset.val.name}",
    ),
    mapper=L(NamingMapper)(
        is_train=False,
        augmentations=[L(ResizeShortestEdge)(short_edge_length=800, max_size=1333)],
        image_format="${model.input_format}",
    ),
    num_workers="${..num_workers}",
)

dataloader.evaluator = L(coco_evaluator)(
    dataset_name=L(dataset_name)(
        annotations="${dataset.val.annotations}",
        images="${dataset.val.images}",
        default="${dataset.val.name}",
    ),
    output_dir="${train.output_dir}/inference",
    max_detections=100,
    area_sides=[32, 96],
    score_threshold=0.3,
)
