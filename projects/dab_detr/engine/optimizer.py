"""The optimizer of the DETR family: AdamW with a slower backbone and the whole gradient clipped."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm


def parameter_groups(model: nn.Module, *, lr: float, lr_factors: Mapping[str, float]) -> list[dict]:
    """Trainable parameters by learning rate, for the constructor of an optimizer. Each is in one group.

    lr_factors: the factor of the learning rate for the parameters of each named module, e.g. {"backbone": 0.1}. The
        first name that is part of a parameter's path decides. Weight decay is the same for all, norms included.

    Raises ValueError for a name that is part of no path.
    """
    groups: dict[float, list[Tensor]] = {1.0: []}
    unused = set(lr_factors)
    for path, parameter in model.named_parameters():
        matching = [name for name in lr_factors if f".{name}." in f".{path}."]
        unused -= set(matching)
        if parameter.requires_grad:
            factor = lr_factors[matching[0]] if matching else 1.0
            groups.setdefault(factor, []).append(parameter)
    if unused:
        raise ValueError(
            f"optimizer.params.lr_factors names {sorted(unused)}, but the model has no such part: "
            f"its parts are {[name for name, _ in model.named_children()]}"
        )
    return [{"params": parameters, "lr": lr * factor} for factor, parameters in groups.items() if parameters]


class ClippedAdamW(torch.optim.AdamW):
    """AdamW that first scales the gradient of all parameters together to a norm of at most `max_norm`.

    Clipping is part of the step so that it happens in every training loop, after a GradScaler has unscaled the
    gradients. (Detectron2's own SOLVER.CLIP_GRADIENTS clips each parameter by itself.)
    """

    def __init__(self, params, *, max_norm: float, **kwargs):
        if max_norm <= 0:
            raise ValueError(f"optimizer.max_norm must be positive, got {max_norm}; use torch.optim.AdamW to not clip")
        if kwargs.get("fused"):
            raise ValueError("optimizer.fused cannot be clipped: a GradScaler unscales inside of a fused step")
        super().__init__(params, **kwargs)
        self.max_norm = max_norm

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None, *, norm: Tensor | None = None) -> Tensor | None:
        """Clip and step.

        norm: the norm of the whole gradient, if the caller has it and knows that it is finite.

        Raises FloatingPointError, without changing the weights, if the gradient is not finite.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        if norm is None:
            norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
            if not norm.isfinite():
                raise FloatingPointError("The gradient became infinite or NaN; the weights are those before this step.")
        clip_grads_with_norm_(parameters, self.max_norm, norm)
        super().step()
        return loss
