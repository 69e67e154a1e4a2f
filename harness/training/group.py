"""One run on several devices: processes that each train on their part of every batch, joined by Ignite.

The first process leads: it alone plans, speaks and writes. The others follow: they wait for a run to take
part in. Every batch is the same as on one device, and each process has its part of it; gradients are
averaged, weighted by the sizes of the parts. Batch norm sees a process's part alone, except on GPUs, where
its statistics are synchronised.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import ignite.distributed as idist
import torch
import torch.distributed
from torch import Tensor, nn

from harness.config import Recipe
from harness.console import die_with_parent, torchrun_place
from harness.data.arrays import Data
from harness.device import synchronise_statistics
from harness.errors import RunError, StudyError
from harness.plan import Variant
from harness.schedule import Rates
from harness.store import RunFolder

PATIENCE = timedelta(days=7)  # followers wait as long as a range test or a report takes


@dataclass(frozen=True)
class Order:
    """A run to take part in; None ends the waiting."""

    variant: Variant
    folder: RunFolder
    rates: Rates
    threads: int


@dataclass
class _State:
    """Why the processes no longer agree on where they are; empty while they do."""

    broken: str = ""
    followers: list[Any] = field(default_factory=list)


_state = _State()


def part() -> tuple[int, int]:
    """This process's number and how many there are: (0, 1) without a group."""
    return idist.get_rank(), idist.get_world_size()


def leads() -> bool:
    """Whether this process is the one that speaks and writes."""
    return idist.get_rank() == 0


def _join(device: str) -> None:
    """Become one of the processes that the environment names."""
    idist.initialize("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)


@contextmanager
def lead(devices: int, device: str, load_data: Callable[[Recipe], Data]) -> Iterator[None]:
    """Start the followers of this machine, or join those that torchrun has started; end them afterwards."""
    if devices == 1:
        yield
        return
    if torchrun_place() is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        for rank in range(1, devices):
            follower = context.Process(
                target=_start_follower, args=(_place(rank, devices, port), device, load_data), daemon=True
            )
            follower.start()
            _state.followers.append(follower)
        os.environ.update(_place(0, devices, port))
    try:
        _join(device)
        yield
        if not _state.broken:
            _broadcast(None)
    finally:
        for follower in _state.followers:
            follower.join(5 if not _state.broken else 0)
            follower.terminate()
        with suppress(Exception):  # the others may be gone
            idist.finalize()


def call(order: Order) -> None:
    """Have the followers take part in a run.

    Raises:
        RunError: an earlier failure has left them in the midst of another.
    """
    if idist.get_world_size() > 1:
        if _state.broken:
            raise RunError(f"the group of devices was lost with {_state.broken}; the same command goes on")
        _broadcast(order)


def lose(name: str) -> None:
    """After a failure that the others do not share: they wait for this process in the midst of the run."""
    if idist.get_world_size() > 1:
        _state.broken = _state.broken or name


def follow(device: str, load_data: Callable[[Recipe], Data]) -> None:
    """Take part in runs until the leader has none left."""
    from harness.training.run import take_part

    _join(device)
    while (order := _broadcast(None)) is not None:
        take_part(order.variant, order.folder, load_data(order.variant.recipe), order.rates, order.threads)
    idist.finalize()


def spread(model: nn.Module, device: str, *, unused: bool = False) -> nn.Module:
    """The network whose gradients are averaged over the group; itself without one.

    Args:
        unused: a step may leave some of its parameters out.
    """
    if idist.get_world_size() == 1:
        return model
    logging.getLogger("ignite.distributed.auto.auto_model").disabled = True  # it sets its own level
    # Ignite's conversion takes every batch norm, also one that normalises parts of a device's images.
    whole = all(getattr(module, "synchronised", True) for module in model.modules())
    sync_bn = whole and synchronise_statistics(device)
    spread_out: nn.Module = idist.auto_model(model, sync_bn=sync_bn, find_unused_parameters=unused)
    return spread_out


def told(content: Any) -> Any:
    """The first process's content, in every process."""
    word = [content]
    if idist.get_world_size() > 1:
        torch.distributed.broadcast_object_list(word, src=0)
    return word[0]


def share(images: int, device: str) -> float | Tensor:
    """Return what a process's mean loss counts for, so that the group's mean is the whole batch's.

    On the device, so that a GPU's host does not wait for it.
    """
    size = idist.get_world_size()
    if size == 1:
        return 1.0
    total = torch.full((), float(images), device=device)
    torch.distributed.all_reduce(total)
    return images * size / total


def gather(batches: list[tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    """Every process's parts of the batches, in the order of the batches."""
    size = idist.get_world_size()
    if size == 1:
        return batches
    everyones: list[Any] = [None] * size
    mine = [tuple(part.cpu() for part in batch) for batch in batches]
    torch.distributed.all_gather_object(everyones, mine)
    return [its[at] for at in range(len(batches)) for its in everyones]


def check(device: str, devices: int) -> None:
    """Whether so many devices are here.

    Raises:
        StudyError: they are not.
    """
    if device.startswith("cuda"):
        here = torch.cuda.device_count()
        if ":" in device or devices > here:
            raise StudyError(f"--devices {devices}: {here} GPUs are here; use --device cuda without a number")
    elif device != "cpu":
        raise StudyError(f"--devices {devices}: for CPUs and CUDA; {device} is one device")


def _place(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun would put into the environment."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _start_follower(place: dict[str, str], device: str, load_data: Callable[[Recipe], Data]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader decides
    threading.Thread(target=die_with_parent, daemon=True).start()
    os.environ.update(place)
    follow(device, load_data)


def _broadcast(order: Order | None) -> Order | None:
    """The leader's word, in every process."""
    word: Order | None = told(order)
    return word
