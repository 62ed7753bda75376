"""Start processes with Detectron2's launcher, or join those that torchrun or Slurm started."""

import argparse
import os
import sys
from collections.abc import Callable

import torch
from detectron2.engine import launch
from torch import distributed
from torch.multiprocessing import ProcessExitedException

from ..compat import LAUNCHES_ON_CPU, create_local_process_group
from .stopping import pass_signals_on

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def prepare(args: argparse.Namespace) -> None:
    """Join the processes that torchrun or Slurm started, or check the number in Detectron2's standard arguments.

    Raises ValueError if these processes are not possible.
    """
    if started_from_outside():
        join_processes(args)
    else:
        check_processes(args.num_gpus, args.num_machines)


def run_everywhere(main: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run `main(args)` in every process. Returns the exit status of the first process that failed, or 0."""
    if started_from_outside():
        status = main(args)
        distributed.destroy_process_group()
        return status
    if args.num_gpus * args.num_machines == 1:
        return main(args)
    pass_signals_on()
    try:
        launch(exit_with, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(main, args))
    except ProcessExitedException as error:
        return error.exit_code
    return 0


def exit_with(main: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> None:
    """Run `main` in a launched process, which ends with its status if that is not 0."""
    if status := main(args):
        sys.exit(status)


def started_from_outside() -> bool:
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def join_processes(args: argparse.Namespace) -> None:
    """Join the other processes by the environment variables that torchrun sets."""
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing:
        raise ValueError(f"RANK and WORLD_SIZE are set in the environment, as by torchrun, but {missing} are not")
    if args.num_gpus > 1 or args.num_machines > 1:
        raise ValueError("torchrun or Slurm starts the processes (RANK is set): leave out --num-gpus, --num-machines")
    local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    gpus = torch.cuda.device_count()
    if 0 < gpus < local_size:
        raise ValueError(f"{local_size} processes are started on this machine, which has {gpus} GPUs")
    if gpus:
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if gpus else "gloo")
    create_local_process_group(local_size)


def check_processes(processes: int, machines: int = 1) -> None:
    """Raise ValueError if Detectron2's launcher cannot start this number of processes on each machine."""
    gpus = torch.cuda.device_count()
    if processes * machines <= 1:
        return
    if gpus == 0 and not LAUNCHES_ON_CPU:
        raise ValueError(
            f"--num-gpus {processes}: there is no GPU, and the installed Detectron2 can start several processes only "
            f"on GPUs (its main branch can on CPUs too); start them by torchrun --nproc-per-node {processes} instead"
        )
    if 0 < gpus < processes:
        raise ValueError(f"--num-gpus {processes}: this machine has {gpus}")
