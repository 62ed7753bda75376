"""The nodes of a training that every config starts from, all but the model. Each call gives a new one."""

from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader
from detectron2.data.transforms import ResizeShortestEdge
from fvcore.common.param_scheduler import MultiStepParamScheduler
from omegaconf import DictConfig

from .data.augmentation import detr_augmentations
from .data.coco import dataset_dicts, dataset_name
from .data.loader import TrainLoader
from .data.mapper import NamingMapper
from .engine.optimizer import ClippedAdamW, parameter_groups
from .evaluation.coco import coco_evaluator

EPOCH = 7392  # COCO's 118,287 images in full batches of 16


def settings(values: dict) -> DictConfig:
    """A node that calls nothing. As in every config, its values may be anything that a config later sets."""
    return DictConfig(values, flags={"allow_objects": True})


def train_node() -> DictConfig:
    """Settings of the training itself."""
    return settings(
        {
            "output_dir": "output",
            "init_checkpoint": "detectron2://ImageNetPretrained/torchvision/R-50.pkl",
            "recipe": None,  # auto: rules set, by the data and the machine, what no override sets (docs/own_data.md)
            "overfit": 0,  # this many pictures to train and evaluate on, to see whether the model can learn at all
            "init_partially": False,  # True: tensors that do not fit in init_checkpoint start from scratch
            "max_iter": 50 * EPOCH,
            "epochs": None,  # instead of max_iter; evaluations and checkpoints are then one an epoch of the data in use
            "warmup_iters": 0,  # in which the learning rate rises from warmup_factor times itself
            "warmup_factor": 0.001,
            "eval_period": EPOCH,
            "validation_loss": False,  # True: evaluations find validation/total_loss and its parts too
            "ema": {"enabled": False, "decay": 0.9998},  # a moving average of the weights, evaluated as ema/bbox/AP
            "best": {"metric": "bbox/AP", "mode": "max"},  # whose best value makes model_best.pth; null for none
            "early_stopping": {
                "patience": 0,
                "metric": "bbox/AP",
                "mode": "max",
                "min_delta": 0.0,
            },  # in evaluations; 0: never
            "log_period": 20,
            "writers": [],  # "wandb", "mlflow": beside metrics.json and TensorBoard
            "preview": {
                "num_images": 8,
                "score_threshold": 0.3,
            },  # pictures of dataset.val: ground truth and predictions
            "report": True,  # report.html at the end
            "checkpointer": {"period": EPOCH, "max_to_keep": 3},
            "device": "cuda",
            "seed": 42,
            "accumulate": 1,  # micro-batches that each process cuts its share of the batch into
            "amp": {"enabled": False},  # fp16, on a GPU; for bf16 see model.precision
            "compile": False,  # backbone, neck, encoder and decoder, by torch.compile
            "optimized_evaluation": True,  # by a copy of the model that is faster and rounds differently
            "ddp": {"broadcast_buffers": False, "find_unused_parameters": False, "fp16_compression": False},
        }
    )


def optimizer_node() -> DictConfig:
    """AdamW with a slower backbone and the whole gradient clipped. The training sets `params.model`."""
    return L(ClippedAdamW)(
        params=L(parameter_groups)(lr="${..lr}", lr_factors={"backbone": 0.1}),
        lr=1e-4,
        betas=[0.9, 0.999],
        weight_decay=1e-4,
        max_norm=0.1,
    )


def schedule_node(*, drop: int, epochs: int) -> DictConfig:
    """A drop of the learning rate to a tenth after `drop` of `epochs` epochs, independent of train.max_iter."""
    return L(MultiStepParamScheduler)(values=[1.0, 0.1], milestones=[drop], num_updates=epochs)


def dataset_node() -> DictConfig:
    """COCO 2017. `annotations` (a JSON file) and `images` (a folder) win over `name`, which Detectron2 has to know.

    Without any of the three for `val` there is no evaluation. `root` is one folder for both splits instead.
    """
    names = {"train": "coco_2017_train", "val": "coco_2017_val"}
    splits = {x: {"name": name, "annotations": None, "images": None} for x, name in names.items()}
    return settings(
        {
            "root": None,  # a folder with pictures and labels: YOLO, Pascal VOC, COCO, LabelMe or CreateML
            "val_fraction": 0.2,  # the part of its training pictures that becomes val, if it has no val
            "split_seed": 0,  # which pictures these are
            **splits,
        }
    )


def split_options(split: str) -> dict[str, str]:
    """The arguments of `dataset_name` and `dataset_dicts` that name `dataset.train` or `dataset.val`."""
    return {
        "annotations": f"${{dataset.{split}.annotations}}",
        "images": f"${{dataset.{split}.images}}",
        "default": f"${{dataset.{split}.name}}",
    }


def dataloader_node() -> DictConfig:
    """Loaders of `dataset.train` and `dataset.val` with DETR's augmentation, and COCO's evaluator."""
    node = settings({"num_workers": 4})
    node.train = L(TrainLoader)(
        dataset=L(dataset_dicts)(**split_options("train")),
        mapper=L(NamingMapper)(
            is_train=True,
            augmentations=L(detr_augmentations)(
                short_side=list(range(480, 801, 32)),
                max_side=1333,
                crop_short_side=[400, 500, 600],
                crop_side=[384, 600],
                color=0.0,
            ),
            image_format="${model.input_format}",
        ),
        total_batch_size=16,
        seed="${train.seed}",
        aspect_ratio_grouping=False,
        num_workers="${..num_workers}",
    )
    node.test = L(build_detection_test_loader)(
        dataset=L(dataset_dicts)(**split_options("val")),
        mapper=L(NamingMapper)(
            is_train=False,
            augmentations=[L(ResizeShortestEdge)(short_edge_length=800, max_size=1333)],
            image_format="${model.input_format}",
        ),
        num_workers="${..num_workers}",
    )
    node.evaluator = L(coco_evaluator)(
        dataset_name=L(dataset_name)(**split_options("val")),
        output_dir="${train.output_dir}/inference",
        max_detections=100,
        area_sides=[32, 96],
        score_threshold=0.3,
        weights="",  # the engine names them, where they are not those of the model
    )
    return node
