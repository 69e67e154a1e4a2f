"""When a study's runs were made, and what they cost."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache

from harness.errors import HarnessError
from harness.report.results import Results, Run
from harness.store.sealed import canonical

Rows = list[tuple[str, str]]


def times(results: Results) -> Rows:
    """From the start of the first run to the end of the last one, of those that recorded both."""
    stamps = [run.provenance for run in results.runs]
    starts = sorted(str(made["started"]) for made in stamps if made.get("started"))
    ends = sorted(str(made["finished"]) for made in stamps if made.get("finished"))
    if not starts or not ends:
        return []
    rows = [("first run started", _moment(starts[0])), ("last run finished", _moment(ends[-1]))]
    try:
        passed = datetime.fromisoformat(ends[-1]) - datetime.fromisoformat(starts[0])
    except (ValueError, TypeError):
        return rows
    return [*rows, ("from that start to that end", _duration(passed.total_seconds()))]


def cost(results: Results) -> Rows:
    """Hours of all runs, those of processors or accelerators, and the arithmetic of their training."""
    runs = [run for run in results.runs if run.number("seconds", "timings") is not None]
    if not runs:
        return []
    finished = sum(run.status == "finished" for run in runs)
    failed = f" and {len(runs) - finished} failed" if len(runs) > finished else ""
    count = f"{finished} finished{failed} run{'s' if len(runs) > 1 else ''}"
    rows = [(f"training and evaluation, {count}", _duration(3600 * sum(map(_hours, runs))))]
    cpu = [run for run in runs if _device(run) == "cpu"]
    others = [run for run in runs if _device(run) != "cpu"]
    if cpu:
        rows.append(("CPU time (hours x threads)", f"{_number(sum(map(_core_hours, cpu)))} CPU-hours"))
    if others:
        rows.append(("accelerator time", f"{_number(sum(map(_hours, others)))} GPU-hours"))
    work = [flops(run) for run in runs]
    known = [one for one in work if one is not None]
    if len(known) == len(work):
        rows.append(("arithmetic of the training (forward and backward)", _arithmetic(sum(known))))
    return rows


def flops(run: Run) -> int | None:
    """Of a run's training: an image's, forward and backward, times images and epochs; None if unknown."""
    shape = run.record.image_shape if run.record else []
    images, epochs = run.data.get("train_images"), run.number("epochs")
    if not isinstance(images, int) or epochs is None or not shape or not run.recipe.get("model"):
        return None
    each = _flops_per_image(canonical(run.recipe["model"]), tuple(run.classes), tuple(shape))
    return None if each is None else int(each * images * epochs)


@cache
def _flops_per_image(model: str, classes: tuple[str, ...], image_shape: tuple[int, int, int]) -> int | None:
    from harness.models.network import NetworkConfig
    from harness.models.summary import flops_per_image

    network = NetworkConfig.of(json.loads(model), classes, image_shape)
    try:
        return network.measure(lambda model: flops_per_image(model, image_shape))
    except HarnessError:  # a network of someone's package that is not installed here
        return None


def _hours(run: Run) -> float:
    return (run.number("seconds", "timings") or 0.0) / 3600


def _core_hours(run: Run) -> float:
    threads = run.provenance.get("threads")
    return _hours(run) * (threads if isinstance(threads, int) else 1)


def _device(run: Run) -> str:
    return str(run.provenance.get("device") or "cpu")


def _moment(stamp: str) -> str:
    """``2026-11-21 03:02:36 UTC``."""
    return stamp.replace("T", " ").replace("+00:00", " UTC")


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{_number(seconds / size)} {unit}"
    return f"{_number(seconds)} seconds"


def _arithmetic(operations: float) -> str:
    unit, size = ("PFLOP", 1e15) if operations >= 1e14 else ("TFLOP", 1e12)
    return f"{_number(operations / size)} {unit}"


def _number(value: float) -> str:
    """Three digits at least: ``1.65``, ``0.00231``, ``1,204``."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
