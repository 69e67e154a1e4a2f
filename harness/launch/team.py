"""Choose the number of runs at once and the threads of each, by timing the study's own network.

There are two reasons. Small networks keep few threads busy, so that several runs at once are faster than one
run with all cores. And on a busy machine threads wait for each other: beside one other program, two threads
took up to thirty times as long as one (see docs/performance.md).
"""

from __future__ import annotations

import os
import statistics
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, prod

import psutil
import torch

from harness.compute import TimedStep
from harness.device import threads_for, threads_set, usable_cores
from harness.errors import RunError
from harness.outline import Outline
from harness.plan import Plan, Variant
from harness.store.folders import StudyFolder
from harness.store.sealed import read_sealed

START_SECONDS = 4.0  # to start a worker
TEAM_MARGIN = 1.1  # speed-up that another team than one run with all cores must have
BUSY_SECONDS = 0.3  # over which the load of the machine is measured
ROUNDS = 3  # timed steps of each number of threads
PROCESS_BYTES = 0.8e9  # memory of a worker before it trains
GPU_PROCESS_BYTES = 1.5e9  # the same on a GPU: context, kernels, a chunk of augmented images
MEMORY_SHARE = 0.8  # share of the free memory that the runs may take
GPU_RUNS = 2  # runs at once on a GPU, if there are twice as many: one prepares while the other computes


@dataclass(frozen=True)
class Team:
    """The workers that execute a plan's runs.

    Attributes:
        workers: runs at once.
        threads: of each.
        reason: what decided, for people; empty where there was nothing to choose.
    """

    workers: int
    threads: int
    reason: str = ""

    @property
    def launcher(self) -> str:
        """Return ``serial`` for one run at a time, else ``process``."""
        return "serial" if self.workers == 1 else "process"


def choose_team(plan: Plan, workers: int | None = None) -> Team:
    """Choose runs at once and threads for the remaining work of a plan.

    Args:
        workers: runs at once, where the user has set it; they share the cores.

    Raises:
        StudyError: ``OMP_NUM_THREADS`` is more than any machine has.
    """
    left = _left(plan)
    device = plan.variants[0].device
    kept = _threads_kept(plan.folder)
    if workers is not None and workers > 1:
        return Team(workers, threads_for(workers))
    if workers == 1 or len(left) == 0 or torch.device(device).type == "mps":
        return Team(1, kept or threads_for(1))
    if device.startswith("cuda"):
        workers, reason = _on_gpu(left)
        return Team(workers, kept or threads_for(workers), reason)
    return _on_cpu(plan, left, kept)


def _left(plan: Plan) -> list[Variant]:
    """Return the variant of each run that will be executed."""
    left = []
    for variant, folder in plan.runs():
        with suppress(RunError):  # damaged: it is repeated
            record = folder.record()
            if record is not None and (record.status == "finished" or record.diverged):
                continue
        left.append(variant)
    return left


def _threads_kept(folder: StudyFolder) -> int | None:
    """Return ``OMP_NUM_THREADS``, else the threads of the study's runs on disk; None without either.

    With another number of threads the last digits differ, and maybe the rates.
    """
    if (threads := threads_set()) is not None:
        return threads
    tests = sorted(folder.range_test_json("any").parent.glob("*.json"))
    for path in [*(run.record_file for run in folder.runs()), *tests]:
        with suppress(RunError, AttributeError):  # damaged, or written by another program
            record = read_sealed(path) or {}
            threads = record.get("threads") or (record.get("provenance") or {}).get("threads")
            if isinstance(threads, int) and 1 <= threads <= usable_cores():
                return threads
    return None


def _on_cpu(plan: Plan, left: list[Variant], kept: int | None) -> Team:
    """Choose the fastest team, by the time of a step, the free cores and the free memory."""
    cores, variant = usable_cores(), left[0]
    usual = Team(1, kept or cores)
    counts = [kept] if kept else sorted({max(1, cores >> halved) for halved in range(8)}, reverse=True)
    if cores == 1 or (kept and len(left) == 1):
        return usual
    try:
        timer = StepTimer(variant)
        alone = timer.seconds([usual.threads])[usual.threads]
        if alone * _steps(plan, left, 1) <= 2 * START_SECONDS:
            return usual
        times = timer.seconds(counts)
    except Exception:  # a user's network may fail here: the first training step reports it
        return usual
    free = _free_cores()
    bytes_of_run = PROCESS_BYTES + training_bytes(
        variant.outline, variant.recipe.data.batch_size, variant.train_images
    )
    room = max(1, int(MEMORY_SHARE * psutil.virtual_memory().available / bytes_of_run))

    def seconds(team: Team) -> float:
        crowd = max(1.0, team.workers * team.threads / free) if team.workers > 1 else 1.0
        begin = START_SECONDS if team.workers > 1 else 0.0
        return begin + crowd * times[team.threads] * _steps(plan, left, team.workers)

    teams = [Team(1, threads) for threads in counts]
    teams += [Team(max(1, min(len(left), cores // threads, room)), threads) for threads in counts]
    best = min(teams, key=seconds)
    if seconds(best) * TEAM_MARGIN > seconds(usual):
        return usual
    milliseconds = ", ".join(
        f"{1000 * times[count]:.0f} ms with {count} thread{'s' * (count > 1)}" for count in counts
    )
    reason = f"a step takes {milliseconds}; {free:.1f} of {cores} cores are free"
    return Team(best.workers, best.threads, reason)


def _free_cores() -> float:
    """Return how many of this process's cores are not used by other programs; at least one."""
    busy: list[float] = psutil.cpu_percent(BUSY_SECONDS, percpu=True)
    if hasattr(os, "sched_getaffinity"):
        busy = [busy[core] for core in os.sched_getaffinity(0) if core < len(busy)]
    return max(1.0, sum(100 - share for share in busy) / 100)


def _steps(plan: Plan, left: list[Variant], workers: int) -> float:
    """Return the steps of one worker, range tests included, if the workers share the runs."""
    runs = [
        variant.recipe.schedule.epochs * variant.steps_per_epoch + variant.recipe.own_sweep_steps
        for variant in left
    ]
    sweeps = [
        settings.iterations * settings.sweeps
        for variant in {variant.name: variant for variant in left}.values()
        if (settings := variant.recipe.range_test_settings) is not None
        and settings.per == "variant"
        and not plan.folder.range_test_json(variant.name).exists()
    ]
    return sum(ceil(len(work) / workers) * statistics.fmean(work) for work in (runs, sweeps) if work)


class StepTimer:
    """Times a variant's steps with different numbers of threads."""

    def __init__(self, variant: Variant) -> None:
        self.step = TimedStep(
            variant.network, variant.recipe.data.batch_size, variant.outline.flops_per_image
        )
        self.way = variant.compute.precision, variant.compute.memory_format
        self.scale = variant.recipe.data.batch_size / len(self.step.images)
        self.step(*self.way)  # a warm-up

    def seconds(self, counts: list[int]) -> dict[int, float]:
        """Return the mean seconds of a step of a whole batch, by number of threads."""
        before = torch.get_num_threads()
        times: dict[int, list[float]] = {count: [] for count in counts}
        try:
            for _ in range(ROUNDS):
                for count in counts:
                    torch.set_num_threads(count)
                    times[count].append(self.step(*self.way) * self.scale)
        finally:
            torch.set_num_threads(before)
        return {count: statistics.fmean(taken) for count, taken in times.items()}


def _on_gpu(left: list[Variant]) -> tuple[int, str]:
    """Choose runs at once on all GPUs, or on the named one, within their memory."""
    device = left[0].device
    gpus = 1 if ":" in device else torch.cuda.device_count()
    first = left[0]
    bytes_of_run = training_bytes(first.outline, first.recipe.data.batch_size, first.train_images)
    memory = min(torch.cuda.mem_get_info(at)[0] for at in ([device] if gpus == 1 else range(gpus)))
    room = int(MEMORY_SHARE * memory / (GPU_PROCESS_BYTES + bytes_of_run))
    runs_per_gpu = max(1, min(GPU_RUNS, room, len(left) // (2 * gpus)))
    workers = min(len(left), gpus * runs_per_gpu)
    return workers, f"{gpus} GPU{'s' * (gpus > 1)} with {memory / 1e9:.0f} GB free" if workers > 1 else ""


def training_bytes(outline: Outline, batch_size: int, images: int) -> float:
    """Return the memory that training adds to a process: layers' outputs, weights and their state, images."""
    outputs = sum(prod(row.output_shape) for row in outline.layers) * batch_size
    return 4 * outputs + 16 * outline.parameters + images * prod(outline.image_shape)
