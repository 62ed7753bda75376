"""torch.compile: one graph for each part whatever the size of the images, in training and in inference."""

import copy

import torch
from detectron2.config import instantiate
from torch._dynamo.testing import CompileCounter

from dab_detr import optimize_for_inference
from dab_detr.engine.compilation import PARTS, compile_parts
from dab_detr.models import dab_detr
from samples import random_input, train, worst
from tiny import shrink, tell_apart


def test_compiled_in_double_precision_it_is_the_same():
    """By weights with which queries differ: outputs within 1e-12, gradients within 1e-9 of each tensor's norm."""
    torch._dynamo.reset()
    model = tell_apart(instantiate(shrink(dab_detr()))).double()
    compiled = compile_parts(copy.deepcopy(model), backend="aot_eager")
    inputs = [random_input(96, 128, objects=2), random_input(64, 64, objects=3)]
    losses, expected = train(compiled, inputs), train(model, inputs)
    assert all(worst(losses[name], loss) < 1e-12 * loss.abs().clamp(min=1) for name, loss in expected.items())
    for (name, ours), theirs in zip(compiled.named_parameters(), model.parameters(), strict=True):
        if theirs.grad is not None:
            assert (ours.grad - theirs.grad).norm() <= 1e-9 * theirs.grad.norm() + 1e-12, name


def test_one_graph_for_each_part_and_the_same_numbers():
    """Each part is compiled with fullgraph=True, which makes a break an error."""
    torch._dynamo.reset()
    model = tell_apart(instantiate(shrink(dab_detr())))
    compiled, counter = copy.deepcopy(model), CompileCounter()
    compile_parts(compiled, backend=counter)
    assert compiled.state_dict().keys() == model.state_dict().keys()
    for size in ((96, 128), (160, 96)):
        inputs = [random_input(*size, objects=2), random_input(64, 64, objects=3)]
        losses, expected = train(compiled, inputs), train(model, inputs)
        assert all(worst(losses[name], loss) < 1e-5 * loss.abs().clamp(min=1) for name, loss in expected.items())
        for (name, ours), theirs in zip(compiled.named_parameters(), model.parameters(), strict=True):
            assert (ours.grad is None) == (theirs.grad is None), name
            assert ours.grad is None or worst(ours.grad, theirs.grad) <= 1e-4 * theirs.grad.abs().max() + 3e-6, name
    assert counter.frame_count == len(PARTS)
    with torch.no_grad():
        for size in ((96, 128), (160, 96)):
            inputs = [random_input(*size), random_input(64, 64)]
            ours, theirs = compiled.eval()(inputs), model.eval()(inputs)
            assert worst(ours[0]["instances"].scores, theirs[0]["instances"].scores) < 1e-5
    assert counter.frame_count == 2 * len(PARTS)
    assert worst(optimize_for_inference(compiled)(inputs)[0]["instances"].scores, theirs[0]["instances"].scores) < 1e-5
