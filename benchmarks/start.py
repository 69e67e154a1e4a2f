"""Time until the first step, and the memory that a run takes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from benchmarks.memory import peak_bytes

REPEATS = 5


def seconds(command: Sequence[str]) -> float:
    """Return the median seconds of a Python command, from the start of its process to its end."""
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], capture_output=True, check=True)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def importing() -> float:
    """Return the median seconds of ``import harness``, Python's own start taken off."""
    return seconds(["-c", "import harness"]) - seconds(["-c", "pass"])


def listing() -> float:
    """Return the median seconds of ``--list``."""
    return seconds(["-m", "harness.study", "--list"])


def first_epoch(data: str | None) -> float:
    """Return the median seconds from the command to the end of an epoch of ten cached CIFAR-10 images.

    The first step is over before that.

    Args:
        data: the folder that holds ``cifar10/``; None: the usual one.
    """
    few = ("data.train_limit=10", "data.test_limit=10", "data.batch_size=2")  # a triangle needs three steps
    settings = (*few, "schedule.epochs=1", "schedule.peak_epoch=0.5")
    taken = []
    for _ in range(REPEATS + 1):
        with tempfile.TemporaryDirectory() as out:
            started = time.perf_counter()
            with subprocess.Popen(_study(out, data, settings), stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr is not None
                for line in process.stderr:
                    if "epoch 1 of 1" in line:
                        taken.append(time.perf_counter() - started)
            if process.returncode:
                raise RuntimeError("the study failed")
    return statistics.median(taken[1:])  # the first one may have filled the cache


def memory(data: str | None) -> float:
    """Return the most bytes that a CIFAR-10 run of one epoch holds, its evaluation and report included."""
    settings = ("schedule.epochs=1", "schedule.peak_epoch=0.5")
    with tempfile.TemporaryDirectory() as out:
        process = subprocess.Popen(
            _study(out, data, settings), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError("the study failed")
    return peak_bytes(usage)


def _study(out: str, data: str | None, settings: Sequence[str]) -> list[str]:
    command = [sys.executable, "-m", "harness.study", "annealed", "--seeds", "0", "--out", out]
    command += [part for setting in settings for part in ("--set", setting)]
    return command + (["--data", data] if data else [])
