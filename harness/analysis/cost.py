"""When a study's runs were made, and how much computing they took."""

from __future__ import annotations

from datetime import datetime

from harness.analysis.networks import training_flops
from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.messages import duration

Rows = list[tuple[str, str]]


def times(results: Results) -> Rows:
    """Write the time from the start of the first run to the end of the last, of runs that recorded both."""
    starts = sorted(str(stamp) for run in results.runs if (stamp := run.provenance.get("started")))
    ends = sorted(str(stamp) for run in results.runs if (stamp := run.provenance.get("finished")))
    if not starts or not ends:
        return []
    rows = [("first run started", _moment(starts[0])), ("last run finished", _moment(ends[-1]))]
    try:
        passed = datetime.fromisoformat(ends[-1]) - datetime.fromisoformat(starts[0])
    except (ValueError, TypeError):
        return rows
    return [*rows, ("wall-clock time, first start to last end", duration(passed.total_seconds()))]


def cost(results: Results) -> Rows:
    """Write the hours of all runs, the hours of CPUs or accelerators, and the training's FLOPs."""
    runs = [run for run in results.runs if run.number("seconds", "timings") is not None]
    if not runs:
        return []
    finished = sum(run.status == "finished" for run in runs)
    failed = f" and {len(runs) - finished} failed" if len(runs) > finished else ""
    count = f"{finished} finished{failed} run{'s' if len(runs) > 1 else ''}"
    rows = [(f"total time of training and evaluation, {count}", duration(3600 * sum(map(_hours, runs))))]
    on_cpu = [(run.provenance.get("device") or "cpu") == "cpu" for run in runs]
    if any(on_cpu):
        hours = sum(_hours(run) * _threads(run) for run, cpu in zip(runs, on_cpu, strict=True) if cpu)
        rows.append(("CPU time (hours x threads)", f"{_number(hours)} CPU-hours"))
    if not all(on_cpu):
        hours = sum(_hours(run) for run, cpu in zip(runs, on_cpu, strict=True) if not cpu)
        rows.append(("accelerator time", f"{_number(hours)} GPU-hours"))
    work = [operations for run in runs if (operations := training_flops(run)) is not None]
    if len(work) == len(runs):
        unit, size = ("PFLOP", 1e15) if sum(work) >= 1e14 else ("TFLOP", 1e12)
        arithmetic = f"{_number(sum(work) / size)} {unit}"
        rows.append(("training compute (forward and backward)", arithmetic))
    return rows


def _hours(run: Run) -> float:
    return (run.number("seconds", "timings") or 0.0) / 3600


def _threads(run: Run) -> int:
    threads = run.provenance.get("threads")
    return threads if isinstance(threads, int) else 1


def _moment(stamp: str) -> str:
    """Write ``2026-11-21 03:02:36 UTC``."""
    return stamp.replace("T", " ").replace("+00:00", " UTC")


def _number(value: float) -> str:
    """Write a number with at least three digits: ``1.65``, ``0.00231``, ``1,204``."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
