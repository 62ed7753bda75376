"""The training loop: one step is one effective batch, even if micro-batches or processes divide it."""

import math
import time
from contextlib import nullcontext

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import get_total_norm

from ..compat import after_backward
from ..losses.batch import EffectiveBatch
from .nonfinite import NonFiniteSteps
from .optimizer import ClippedAdamW


class TrainingLoop(SimpleTrainer):
    """Detectron2's loop with steps of several micro-batches. It skips steps that are not finite.

    accumulate: micro-batches that each process cuts its share of the batch into.
    precision: type for automatic mixed precision, torch.float16 (with a GradScaler) or torch.bfloat16; None for none.
    output_dir: folder for the reports of steps that were not finite. Without it, these steps are only logged.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader,
        optimizer: torch.optim.Optimizer,
        *,
        accumulate: int = 1,
        precision: torch.dtype | None = None,
        output_dir: str = "",
    ):
        super().__init__(model, data_loader, optimizer)
        self.accumulate, self.precision = accumulate, precision
        self.device = next(model.parameters()).device
        self.grad_scaler = torch.amp.GradScaler(self.device.type, enabled=precision is torch.float16)
        self.nonfinite = NonFiniteSteps(output_dir)
        self.statistics = [x for module in model.modules() if isinstance(module, _BatchNorm) for x in module.buffers()]

    def run_step(self) -> None:
        """Take one optimizer step. Raises FloatingPointError after three steps in a row that are not finite."""
        start = time.perf_counter()
        self.batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        statistics = [x.clone() for x in self.statistics]
        self.optimizer.zero_grad()
        losses = self.backward(micro_batches(self.batch, self.accumulate))
        after_backward(self)
        self.grad_scaler.unscale_(self.optimizer)
        norm = get_total_norm([x.grad for x in self.parameters() if x.grad is not None])
        losses, losses_finite, gradient_finite = self.fetch(losses, norm)
        if losses_finite:
            self._write_metrics({name: sum(x[name] for x in losses) for name in losses[0]}, data_time)
        if losses_finite and gradient_finite:
            self.step(norm)
        else:
            for x, before in zip(self.statistics, statistics, strict=True):
                x.copy_(before)
            self.skip(losses, losses_finite)
        self.grad_scaler.update()

    def parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def backward(self, parts: list[list[dict]]) -> list[dict[str, Tensor]]:
        """Return the losses of every micro-batch. Gradients add up; processes exchange them once, with the last one."""
        batch = None
        if len(parts) > 1:
            counts = [len(x["instances"]) if "instances" in x else 0 for part in parts for x in part]
            batch = EffectiveBatch.gather(counts, self.device)
        detached = []
        for i, part in enumerate(parts):
            silent = isinstance(self.model, DistributedDataParallel) and i < len(parts) - 1
            with self.model.no_sync() if silent else nullcontext():
                with torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision is not None):
                    losses = self.model(part) if batch is None else self.model(part, batch)
                self.grad_scaler.scale(sum(losses.values())).backward()
            detached.append({name: loss.detach() for name, loss in losses.items()})
        return detached

    def fetch(self, losses: list[dict[str, Tensor]], norm: Tensor) -> tuple[list[dict[str, Tensor]], bool, bool]:
        """Return the losses on the CPU, and whether they and the gradient are finite in all processes.

        Apart from the model itself, this is the only place in a step that waits for the device.
        """
        values = torch.stack([torch.stack(list(x.values())) for x in losses])
        finite = torch.stack([values.isfinite().all(), norm.isfinite()]).to(values)
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(finite, torch.distributed.ReduceOp.MIN)
        fetched = torch.cat([values.flatten(), finite]).cpu()
        losses = [dict(zip(losses[0], row, strict=True)) for row in fetched[:-2].view(values.shape)]
        return losses, bool(fetched[-2]), bool(fetched[-1])

    def step(self, norm: Tensor) -> None:
        """Take the step, bypassing GradScaler.step, which would search for infinities again."""
        if isinstance(self.optimizer, ClippedAdamW):
            self.optimizer.step(norm=norm)
        else:
            self.optimizer.step()
        self.nonfinite.in_a_row = 0

    def skip(self, losses: list[dict[str, Tensor]], losses_finite: bool) -> None:
        """Skip the step: count and report it, unless only the fp16 loss scale was too large."""
        if losses_finite and self.grad_scaler.is_enabled() and self.grad_scaler.get_scale() > 1:
            return
        parts = [{name: loss.item() for name, loss in x.items()} for x in losses]
        self.nonfinite.skip(self.iter, self.batch, parts, self.model)

    def state_dict(self) -> dict:
        state = super().state_dict() | {"nonfinite": self.nonfinite.state_dict()}
        return state | {"grad_scaler": self.grad_scaler.state_dict()} if self.grad_scaler.is_enabled() else state

    def load_state_dict(self, state_dict: dict) -> None:
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        super().load_state_dict(state_dict)
        for group, now in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(now, initial_lr=now["lr"])  # the config of the resumed training counts
        self.nonfinite.load_state_dict(state_dict.get("nonfinite", {}))
        if self.grad_scaler.is_enabled() and "grad_scaler" in state_dict:
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


def micro_batches(batch: list[dict], number: int) -> list[list[dict]]:
    """Cut the batch into this number of parts; the last may be smaller."""
    size = math.ceil(len(batch) / number)
    return [batch[i : i + size] for i in range(0, len(batch), size)]


def check_batch_size(total: int, accumulate: int) -> None:
    """Raise ValueError if a batch cannot be cut into equal parts for the processes and their micro-batches."""
    processes = comm.get_world_size()
    if accumulate < 1:
        raise ValueError(f"train.accumulate must be at least 1, got {accumulate}")
    if total < 1 or total % (processes * accumulate):
        raise ValueError(
            f"the batch of {total} images (dataloader.train.total_batch_size, in a yaml config SOLVER.IMS_PER_BATCH) "
            f"cannot be cut into {accumulate} micro-batches (train.accumulate, SOLVER.ACCUMULATE) for each of "
            f"{processes} processes: choose a multiple of {processes * accumulate}"
        )
