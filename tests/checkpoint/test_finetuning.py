"""Training on other classes from the weights of COCO, and files that stop it before it starts."""

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from detectron2.config import LazyConfig, instantiate

import train_net
from dab_detr.checkpoint import formats
from dab_detr.overrides import apply_overrides
from tiny import LAZY, YAML, arguments, lazy_opts, tell_apart, yaml_opts

HEAD = ("decoder.class_heads.0.weight", "decoder.class_heads.0.bias")
WAYS = {"lazy": (LAZY, lazy_opts), "yaml": (YAML, yaml_opts)}
WEIGHTS = {"lazy": "train.init_checkpoint={}", "yaml": "MODEL.WEIGHTS {}"}
STILL = {"lazy": ["optimizer.lr=0", "train.max_iter=1"], "yaml": ["SOLVER.BASE_LR", "0.0", "SOLVER.MAX_ITER", "1"]}


def model(folder: Path, num_classes: int, *overrides):
    """The model that `lazy_opts` describes."""
    cfg = LazyConfig.load(str(LAZY))
    apply_overrides(cfg, [*lazy_opts(folder), *overrides])
    cfg.model.num_classes = num_classes
    return instantiate(cfg.model).eval()


@pytest.fixture
def coco(tmp_path):
    """A model with COCO's 91 outputs, as a file of the original code."""
    source = model(tmp_path, 91)
    with torch.no_grad():
        tell_apart(source)
    converted, _ = formats.table_to("original", source.state_dict()).to_theirs(source.state_dict())
    torch.save({"model": converted, "epoch": 49}, tmp_path / "coco.pth")
    return source


@pytest.mark.parametrize("way", WAYS)
def test_one_command_keeps_all_but_the_classes(way, coco, tmp_path):
    config, opts = WAYS[way]
    weights = WEIGHTS[way].format(tmp_path / "coco.pth").split()
    train_net.train(arguments("--config-file", config, *opts(tmp_path), *weights, *STILL[way]))

    log = (tmp_path / "output/log.txt").read_text()
    told, started = log.index("What happened to the weights"), log.index("Starting training")
    assert told < started
    assert (
        f"{len(coco.state_dict()) - 2} tensors kept as they are\n2 tensors start from scratch: no class is shared"
        in log
    )
    assert "decoder.class_heads.*.weight: 0 of 91, the model has 3; without: class 0, class 1, class 2" in log

    tuned = model(tmp_path, 3)
    state = torch.load(tmp_path / "output/model_final.pth")["model"]
    tuned.load_state_dict(state)
    assert all(torch.equal(state[name], x) for name, x in coco.state_dict().items() if name not in HEAD)
    assert state[HEAD[1]].sigmoid().sub(0.01).abs().max() < 1e-6

    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    padding = torch.zeros(2, 64, 96, dtype=torch.bool)
    padding[1, :, 70:] = True
    states = []
    for x in (coco, tuned):
        x.decoder.norm.register_forward_hook(lambda module, args, output: states.append(output))
    with torch.no_grad():
        source, fine = (x.detect(x.backbone(images), padding) for x in (coco, tuned))
    assert torch.equal(states[0], states[1]) and torch.equal(source.boxes, fine.boxes)


def test_partly_if_asked_for(coco, tmp_path):
    changes = ("model.queries.num_queries=12", "model.decoder.layers.num_layers=3", "train.init_partially=True")
    weights = f"train.init_checkpoint={tmp_path / 'coco.pth'}"
    train_net.train(arguments("--config-file", LAZY, *lazy_opts(tmp_path), weights, *STILL["lazy"], *changes))
    state = torch.load(tmp_path / "output/model_final.pth")["model"]
    assert torch.equal(state["queries.centre"][:10], coco.queries.centre) and len(state["queries.centre"]) == 12
    log = (tmp_path / "output/log.txt").read_text()
    assert "queries.centre: 10 of 10, the model has 12" in log and "decoder.layers.*.self_attention.query.weight" in log


class Malicious:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def malicious(path: Path):
    torch.save({"model": {"a": Malicious(path.with_name("executed"))}}, path)


def malicious_arrays(path: Path):
    path.write_bytes(pickle.dumps({"model": Malicious(path.with_name("executed")), "__author__": "x"}))


def truncated(path: Path):
    torch.save({"model": {"a": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:2000])


def page(path: Path):
    path.write_text("<!doctype html><title>Sign in</title>")


def another_model(path: Path):
    safetensors.torch.save_file({"bert.embeddings.weight": torch.zeros(3)}, path)


def other_queries(path: Path):
    state = model(path.parent, 91, "model.queries.num_queries=11").state_dict()
    torch.save(formats.table_to("original", state).to_theirs(state)[0], path)


def nothing(path: Path):
    """Leaves it out."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (malicious, r"refused, and nothing in it was run: .* asks for _?io\.open"),
        (malicious_arrays, r"refused, and nothing in it was run: .* asks for _?io\.open"),
        (truncated, "truncated or damaged"),
        (page, "a web page"),
        (another_model, r"nothing in the checkpoint fits the model: the checkpoint has \['bert\.embeddings\.weight'\]"),
        (other_queries, r"10 of 11, the model has 10(.|\n)*model\.queries\.num_queries(.|\n)*init_partially"),
        (nothing, "there is no such file"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_bad_file_stops_before_training(way, make, message, tmp_path):
    path = tmp_path / "weights.pth"
    make(path)
    config, opts = WAYS[way]
    weights = WEIGHTS[way].format(path).split()
    with pytest.raises(ValueError, match=rf"(.|\n)*weights\.pth(.|\n)*{message}"):
        train_net.train(arguments("--config-file", config, *opts(tmp_path), *weights))
    assert not (tmp_path / "executed").exists()
    assert "Starting training" not in (tmp_path / "output/log.txt").read_text()
