"""Average precision of a trained model in fp32 and bf16."""

import argparse

from detectron2.config import instantiate
from detectron2.evaluation import inference_on_dataset

from dab_detr import optimize_for_inference
from dab_detr.checkpoint.checkpointer import DABDETRCheckpointer
from dab_detr.config import load


def accuracy(args: argparse.Namespace) -> dict:
    """AP of the model, and of its copy for inference in fp32 and bf16, on the config's validation set."""
    cfg = load(args.config_file, args.opts)
    model = instantiate(cfg.model).to(args.device).eval()
    DABDETRCheckpointer(model, strict=True).load(str(args.weights))
    forms = {"fp32": model, "fp32 optimized": optimize_for_inference(model)}
    model.precision = "bf16"
    forms["bf16 optimized"] = optimize_for_inference(model)
    model.precision = "fp32"
    found = {}
    for name, form in forms.items():
        loader, evaluator = instantiate(cfg.dataloader.test), instantiate(cfg.dataloader.evaluator)
        metrics = inference_on_dataset(form, loader, evaluator)["bbox"]
        found[name] = {key: metrics[key] for key in ("AP", "AP50", "AP75")}
    return {"forms": found}
