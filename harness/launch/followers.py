"""The processes of ``--devices N``: rank 0, the leader, plans, prints and writes; the others only train.

What they exchange inside a run is in :mod:`harness.training.distributed`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ignite.distributed as idist
import torch

from harness.console import die_with_parent, torchrun_rank_and_world_size
from harness.data.arrays import Data
from harness.errors import RunError, StudyError
from harness.plan import Variant
from harness.schedule import Rates
from harness.store.folders import RunFolder
from harness.study_file.config import Recipe
from harness.training.distributed import broadcast
from harness.training.run import take_part

PATIENCE = timedelta(days=7)  # followers wait while the leader runs a range test or writes a report


@dataclass(frozen=True)
class SharedRun:
    """A run that every process trains; the leader broadcasts it, and None when no run is left."""

    variant: Variant
    folder: RunFolder
    rates: Rates
    threads: int


# State of the leader: the processes that it has started, and the runs that failed in the leader alone.
_followers: list[Any] = []
_broken: list[str] = []


def _join(device: str) -> None:
    """Join the process group that the environment names."""
    idist.initialize("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)


@contextmanager
def lead(devices: int, device: str, load_data: Callable[[Recipe], Data]) -> Iterator[None]:
    """Start the followers, or join those that torchrun has started; end them after the block."""
    if devices == 1:
        yield
        return
    if torchrun_rank_and_world_size() is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        for rank in range(1, devices):
            follower = context.Process(
                target=_start_follower,
                args=(_torchrun_environment(rank, devices, port), device, load_data),
                daemon=True,
            )
            follower.start()
            _followers.append(follower)
        os.environ.update(_torchrun_environment(0, devices, port))
    try:
        _join(device)
        yield
        if not _broken:
            broadcast(None)
    finally:
        for follower in _followers:
            follower.join(0 if _broken else 5)
            follower.terminate()
        with suppress(Exception):  # the followers may be gone
            idist.finalize()


def announce(run: SharedRun) -> None:
    """Tell the followers to train a run together with the leader.

    Raises:
        RunError: they still wait in an earlier run, which failed in the leader alone.
    """
    if idist.get_world_size() > 1:
        if _broken:
            raise RunError(
                f"the group of devices was lost with {_broken[0]}; run the same command again to resume"
            )
        broadcast(run)


def mark_broken(name: str) -> None:
    """Record that a run failed in the leader alone, so that the followers still wait in it."""
    if idist.get_world_size() > 1:
        _broken.append(name)


def follow(device: str, load_data: Callable[[Recipe], Data]) -> None:
    """Train the runs that the leader broadcasts, until it has none left."""
    _join(device)
    while (run := broadcast(None)) is not None:
        take_part(run.variant, run.folder, load_data(run.variant.recipe), run.rates, run.threads)
    idist.finalize()


def check(device: str, devices: int) -> None:
    """Check that this machine has so many devices.

    Raises:
        StudyError: it has fewer, or a device that cannot share a run.
    """
    if device.startswith("cuda"):
        here = torch.cuda.device_count()
        if ":" in device or devices > here:
            raise StudyError(
                f"--devices {devices}: {here} GPUs are available; use --device cuda without a number"
            )
    elif device != "cpu":
        raise StudyError(f"--devices {devices}: for CPUs and CUDA; {device} is one device")


def _torchrun_environment(rank: int, size: int, port: int) -> dict[str, str]:
    """Return the environment variables that torchrun would set."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _start_follower(environment: dict[str, str], device: str, load_data: Callable[[Recipe], Data]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader handles Ctrl-C
    threading.Thread(target=die_with_parent, daemon=True).start()
    os.environ.update(environment)
    follow(device, load_data)
