"""Training by a config: what is checked first, the hooks and their order, and configs with less in them than ours."""

from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.engine import hooks
from omegaconf import OmegaConf

import train_net
from coco_files import content, write
from dab_detr.checkpoint import checkpointer
from dab_detr.engine import training
from dab_detr.engine.best import BestCheckpoint
from dab_detr.engine.checkpoints import PeriodicCheckpointer
from dab_detr.engine.description import DescribeResults
from dab_detr.engine.early_stopping import EarlyStopping
from dab_detr.engine.ema import UpdateAverage, weight_average
from dab_detr.engine.evaluation import Evaluation, evaluate
from dab_detr.engine.progress import ShowProgress
from dab_detr.engine.stopping import Stopping
from dab_detr.engine.training import Training, preview_hook, run
from dab_detr.visualization.curves import CurvesHook
from dab_detr.visualization.preview import PreviewHook
from tiny import LAZY, YAML, arguments, configured, lazy_opts, yaml_opts


@pytest.fixture
def cfg(tmp_path):
    return configured("--config-file", LAZY, *lazy_opts(tmp_path))


def test_configure_takes_the_number_of_classes_from_the_data(cfg):
    assert cfg.model.num_classes == cfg.model.decoder.class_heads.num_classes == 3
    assert LazyConfig.load(f"{cfg.train.output_dir}/config.yaml").model.num_classes == 3


def test_a_config_may_set_the_number_of_classes(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(f"from .{LAZY.stem} import model, dataset, dataloader, train\nmodel.num_classes = 5\n")
    (tmp_path / LAZY.name).symlink_to(LAZY)
    (tmp_path / "common").symlink_to(LAZY.parent / "common")
    with pytest.raises(ValueError, match=r"model\.num_classes is 5, but"):
        configured("--config-file", path, *lazy_opts(tmp_path))


def test_what_fails_leaves_the_config_of_the_earlier_training(cfg, tmp_path):
    saved = (tmp_path / "output/config.yaml").read_bytes()
    opts = ["--config-file", LAZY, *lazy_opts(tmp_path), "train.seed=7"]
    with pytest.raises(ValueError, match="model.num_classes is 5"):
        configured(*opts, "model.num_classes=5")
    configured("--eval-only", *opts)
    assert (tmp_path / "output/config.yaml").read_bytes() == saved
    configured(*opts)
    assert (tmp_path / "output/config.yaml").read_bytes() != saved


def test_evaluating_random_weights_is_said(cfg, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(checkpointer.logger, "warning", said.append)
    args = arguments("--config-file", LAZY, "--eval-only", *lazy_opts(tmp_path), "train.init_checkpoint=")
    train_net.train(args)
    assert [text for text in said if "this evaluates random weights" in text]


def test_the_user_may_say_what_the_data_says(tmp_path):
    assert configured("--config-file", LAZY, *lazy_opts(tmp_path), "model.num_classes=3").model.num_classes == 3


def test_evaluation_alone_needs_no_training_data(tmp_path):
    write(tmp_path, "val", content())
    opts = [x for x in lazy_opts(tmp_path) if not x.startswith("dataset.train")]
    assert configured("--config-file", LAZY, "--eval-only", *opts).model.num_classes == 3
    with pytest.raises(ValueError, match="'coco_2017_train' is not here"):
        configured("--config-file", LAZY, *opts)


def test_epochs_are_those_of_the_data(tmp_path):
    """Four images in batches of two; the saved config has it in iterations."""
    opts = [x for x in lazy_opts(tmp_path) if "period" not in x and "max_iter" not in x]
    cfg = configured("--config-file", LAZY, *opts, "train.epochs=3", "train.eval_period=5")
    saved = LazyConfig.load(f"{cfg.train.output_dir}/config.yaml")
    for train in (cfg.train, saved.train):
        assert (train.max_iter, train.eval_period, train.checkpointer.period, train.epochs) == (6, 5, 2, None)


def test_cpu_where_there_is_no_cuda(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert configured("--config-file", LAZY, *lazy_opts(tmp_path), "train.device=cuda").train.device == "cpu"


def hooks_of(cfg) -> list:
    model = instantiate(cfg.model)
    average = weight_average(model, **cfg.train.ema)
    return [x for x in Training(cfg, model=model, average=average).hooks() if x is not None]


def test_order_of_hooks(cfg):
    assert [type(x) for x in hooks_of(cfg)] == [
        hooks.IterationTimer,
        hooks.LRScheduler,
        PeriodicCheckpointer,
        Evaluation,
        BestCheckpoint,
        DescribeResults,
        Stopping,
        PreviewHook,
        hooks.PeriodicWriter,
        CurvesHook,
        ShowProgress,
    ]


def test_order_of_hooks_with_average_and_early_stopping(cfg):
    cfg.train.early_stopping.patience, cfg.train.ema.enabled = 3, True
    kinds = [type(x) for x in hooks_of(cfg)]
    assert kinds.index(UpdateAverage) < kinds.index(PeriodicCheckpointer) < kinds.index(Evaluation)
    assert kinds.index(Evaluation) < kinds.index(BestCheckpoint) < kinds.index(EarlyStopping)
    assert kinds.index(EarlyStopping) < kinds.index(Stopping) < kinds.index(hooks.PeriodicWriter)


def test_hooks_of_other_processes(cfg, monkeypatch):
    monkeypatch.setattr(training.comm, "is_main_process", lambda: False)
    kinds = [type(x) for x in hooks_of(cfg)]
    assert kinds == [hooks.IterationTimer, hooks.LRScheduler, Evaluation, Stopping]


@pytest.mark.parametrize("without", ["dataset", "train.preview", "train.preview.num_images"])
def test_no_preview_where_none_is_asked_for(without, cfg):
    if without == "dataset":
        del cfg["dataset"]
    else:
        OmegaConf.update(cfg, without, 0, merge=False)
    assert preview_hook(cfg, torch.nn.Identity()) is None


def test_evaluation_leaves_every_module_in_its_mode(cfg):
    model = instantiate(cfg.model).train()
    model.neck.eval()
    modes = [x.training for x in model.modules()]
    assert "bbox" in evaluate(cfg, model)
    assert [x.training for x in model.modules()] == modes


def test_a_config_without_evaluator(cfg):
    del cfg.dataloader["evaluator"]
    assert evaluate(cfg, torch.nn.Identity()) == {}


def logged(cfg) -> str:
    return Path(cfg.train.output_dir, "log.txt").read_text()


@pytest.mark.parametrize(
    "path, message",
    [
        (
            "http://localhost:9/x.pth",
            r"cannot download .*, or train a small model without any download \(docs",
        ),
        ("output/nothing.pth", "^output/nothing.pth: there is no such file$"),
    ],
)
def test_weights_that_cannot_be_had_are_named_with_the_way_out(path, message, cfg):
    cfg.train.init_checkpoint = path
    with pytest.raises(checkpointer.CheckpointError, match=message):
        Training(cfg, model=instantiate(cfg.model)).start(False)


def test_training_where_a_training_was_is_refused(cfg):
    run(cfg, arguments("--config-file", LAZY))
    with pytest.raises(ValueError, match="holds a training .*--resume.*--overwrite"):
        run(cfg, arguments("--config-file", LAZY))


def test_results_are_those_of_the_last_evaluation(cfg):
    cfg.train.eval_period = 2
    assert {"AP", "AP50", "AP-class 0"} <= set(run(cfg, arguments("--config-file", LAZY))["bbox"])


def test_mixed_precision_on_cpu_is_single_precision(cfg):
    cfg.train.amp.enabled = True
    run(cfg, arguments("--config-file", LAZY))
    assert "Automatic mixed precision needs CUDA" in logged(cfg)


SAME = [
    "train.max_iter=5",
    "train.eval_period=5",
    "train.ema.enabled=True",
    "train.accumulate=2",
    "train.validation_loss=True",
    "train.early_stopping.patience=3",
    "train.warmup_iters=2",
    "train.warmup_factor=0.001",
]


def test_a_yaml_trains_to_the_bit_as_a_lazy_config(tmp_path):
    """Five steps with the average, accumulation, validation loss, warm-up and early stopping on."""
    found, metrics = [], []
    for name, config, opts in (("lazy", LAZY, lazy_opts), ("yaml", YAML, yaml_opts)):
        folder = tmp_path / name
        folder.mkdir()
        own = "model.encoder.dropout=0.1"
        if name == "yaml":
            own = "MODEL.DAB_DETR.DROPOUT 0.1 SOLVER.MAX_ITER 5 SOLVER.STEPS (4,)"
        own = own.split()
        metrics.append(train_net.train(arguments("--config-file", config, *opts(folder), *own, *SAME)))
        found.append(torch.load(folder / "output/model_final.pth"))
    for part in ("model", "ema"):
        assert found[0][part].keys() == found[1][part].keys()
        assert all(torch.equal(value, found[1][part][key]) for key, value in found[0][part].items())
    assert not torch.equal(
        found[0]["model"]["decoder.class_heads.0.bias"], found[0]["ema"]["module.decoder.class_heads.0.bias"]
    )
    assert metrics[0]["validation"] == metrics[1]["validation"]
    assert metrics[0]["ema"]["validation"] == metrics[1]["ema"]["validation"]
