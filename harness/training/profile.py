"""``--profile``: the time of a run by Ignite's handlers and by torch's operators, and its speed."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler, HandlersTimeProfiler
from ignite.handlers.param_scheduler import PiecewiseLinear
from ignite.metrics import Metric
from torch import profiler

from harness.device import DTYPES, synchronize
from harness.plan import Variant
from harness.store.atomic import atomic_write
from harness.store.run_files import csv_text
from harness.training.averaging import EmaAveraging, SwaAveraging
from harness.training.checkpoint import EpochCheckpoint
from harness.training.engines import Beta1
from harness.training.handlers import Evaluation, StopOnNonFiniteLoss

# Steps that torch's profiler skips, warms up on, and records; recorded steps are slower.
PASS, WARM_UP, RECORD = 1, 1, 3
# Class of a handler, or name in Ignite's profiler -> the part of a run's time that it belongs to.
PARTS = {
    "Dataflow": "batches",
    "Processing": "training steps",
    Metric.__name__: "metrics",
    PiecewiseLinear.__name__: "learning rate",
    Beta1.__name__: "learning rate",
    Evaluation.__name__: "evaluation",
    EMAHandler.__name__: "average of the weights",
    EmaAveraging.__name__: "average of the weights",
    SwaAveraging.__name__: "average of the weights",
    StopOnNonFiniteLoss.__name__: "watch for non-finite loss",
    EpochCheckpoint.__name__: "checkpoint",
}


class Profile:
    """Records a trainer's times from its start to its end, for :meth:`write`.

    Steps are timed on the host. A GPU still works after a step has returned: its times are in
    ``operators.csv`` and in the trace.
    """

    def __init__(self, trainer: Engine, device: str) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # silences the recorder's own messages
        self.device = device
        self.handlers = HandlersTimeProfiler()
        self.handlers.attach(trainer)
        kinds = [profiler.ProfilerActivity.CPU]
        if device.startswith("cuda"):
            kinds.append(profiler.ProfilerActivity.CUDA)
        self.operators: list[dict[str, Any]] = []
        self.trace = b""
        self.recorder = profiler.profile(
            activities=kinds,
            schedule=profiler.schedule(wait=PASS, warmup=WARM_UP, active=RECORD, repeat=1),
            on_trace_ready=self._keep,
        )
        trainer.add_event_handler(Events.STARTED, lambda: self.recorder.start())
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: self.recorder.step())
        trainer.add_event_handler(Events.COMPLETED, lambda: self.recorder.stop())

    def _keep(self, recorded: profiler.profile) -> None:
        on_device = self.device.startswith("cuda")
        for row in recorded.key_averages():
            seconds = (row.self_device_time_total if on_device else row.self_cpu_time_total) / 1e6
            if seconds > 0 and not row.key.startswith("ProfilerStep"):
                self.operators.append({"operator": row.key, "calls": row.count, "seconds": seconds})
        self.operators.sort(key=lambda row: -row["seconds"])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json.gz"
            recorded.export_chrome_trace(str(path))
            self.trace = path.read_bytes()

    def write(self, folder: Path, variant: Variant, images_per_second: list[float]) -> str:
        """Write ``profile.json``, ``time.csv``, ``operators.csv`` and ``trace.json.gz`` into a folder.

        Args:
            images_per_second: of each epoch.

        Returns:
            The speed, in a line for people.
        """
        rate = statistics.median(images_per_second)
        flops = rate * variant.outline.flops_per_image
        matrix = matrix_rate(variant.device, variant.precision)
        summary = {
            "images_per_second": rate,
            "flops_per_second": flops,
            "matrix_flops_per_second": matrix,
            "share_of_matrix_rate": flops / matrix,
            "device": variant.device,
            "precision": variant.precision,
            "threads": torch.get_num_threads(),
        }
        atomic_write(folder / "profile.json", json.dumps(summary, indent=2) + "\n")
        atomic_write(folder / "time.csv", _table(self._times()))
        if self.trace:
            atomic_write(folder / "operators.csv", _table(self.operators))
            atomic_write(folder / "trace.json.gz", self.trace)
        return (
            f"{rate:.0f} images/s, {flops / 1e12:.3g} TFLOP/s, {flops / matrix:.0%} of what large "
            f"{variant.precision} matrix products reach here; {folder}"
        )

    def _times(self) -> list[dict[str, Any]]:
        """Return rows of part, calls, seconds and share of all seconds, the longest first."""
        measured = [
            ("Dataflow", self.handlers.dataflow_times),
            ("Processing", self.handlers.processing_times),
            *(item for handlers in self.handlers.event_handlers_times.values() for item in handlers.items()),
        ]
        parts: dict[str, list[float]] = {}
        for name, times in measured:
            handler = name.partition(".")[0]  # "Class" or "Class.method"
            if times and handler != Profile.__name__:
                parts.setdefault(PARTS.get(handler, "other"), []).extend(times)
        total = sum(map(sum, parts.values()))
        return [
            {"part": part, "calls": len(times), "seconds": sum(times), "share": sum(times) / total}
            for part, times in sorted(parts.items(), key=lambda item: -sum(item[1]))
        ]


def matrix_rate(device: str, precision: str, *, seconds: float = 1.0) -> float:
    """Return the FLOP/s of a large matrix product in this precision: the fastest within ``seconds``."""
    size = 8192 if device.startswith("cuda") else 2048
    generator = torch.Generator().manual_seed(0)
    factor = torch.rand(size, size, generator=generator).to(device, DTYPES[precision])
    best, ends = float("inf"), time.perf_counter() + seconds
    factor @ factor  # the first one warms up
    while time.perf_counter() < ends or best == float("inf"):
        synchronize(device)
        started = time.perf_counter()
        factor @ factor
        synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def _table(rows: list[dict[str, Any]]) -> str:
    return csv_text(list(rows[0]) if rows else [], (list(row.values()) for row in rows))
