"""Several seeds at once on one GPU: what a seed costs with 1, 2, 3 and 4 workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.command import Outcome, run, study_file
from benchmarks.gpu.shared import LATE, Options, Row, failed, time_for

# The ends of the range first: time may not be enough for all.
WORKERS, QUICK_WORKERS = (1, 4, 2, 3), (1, 2)
EPOCHS, QUICK_EPOCHS = 8, 3
WHOLE = 24  # epochs of a seed
LEFT_FOR_A_RUN = 14  # seconds; with fewer left no number of workers is begun


def rows(options: Options) -> Iterator[Row]:
    """Run as many seeds as workers; time the epochs that end while all of them train."""
    epochs = QUICK_EPOCHS if options.quick else EPOCHS
    study = study_file(options, "onecycle", epochs)
    alone, settings = None, ("compile=false", *options.settings)
    for workers in QUICK_WORKERS if options.quick else WORKERS:
        what = f"--launcher process --workers {workers}"
        if not time_for(LEFT_FOR_A_RUN, options):
            yield Row(what, LATE)
            continue
        out = Path(options.folder) / f"workers-{workers}"
        arguments = ["--seeds", f"0-{workers - 1}", "--launcher", "process", "--workers", str(workers)]
        try:
            outcome = run(options, study, out, arguments, settings, runs=workers)
        except RuntimeError as error:
            yield failed(what, error)
            continue
        seeds = f"{workers} seed{'s' * (workers > 1)} of {epochs} epochs"
        wall = f"{seeds} took {outcome.finished:.1f} s with its start; {', '.join(settings)}"
        seconds, count = epoch_seconds(outcome)
        if seconds is None:
            yield Row(what, "too short to tell", "0", wall, {"wall": outcome.finished})
            continue
        alone = alone or (seconds if workers == 1 else None)
        notes = f"{seconds:.3f} s an epoch; {wall}"
        notes += f"; {alone / seconds:.2f} x one worker" if alone else ""
        values = {"seconds": WHOLE * seconds, "wall": outcome.finished}
        yield Row(what, f"{WHOLE * seconds:.2f} s a seed of {WHOLE}", f"{count} epochs", notes, values)


def epoch_seconds(outcome: Outcome) -> tuple[float | None, int]:
    """Seconds an epoch over all workers, while every run is between its first and its last epoch's line.

    Returns:
        The seconds, None where there was no such time; the number of epochs that ended in it.
    """
    ends: dict[str, list[float]] = {}
    for seconds, name, _ in outcome.epochs():
        ends.setdefault(name, []).append(seconds)
    if not ends:
        return None, 0
    begin, end = max(min(each) for each in ends.values()), min(max(each) for each in ends.values())
    count = sum(begin < seconds <= end for each in ends.values() for seconds in each)
    return ((end - begin) / count, count) if count and end > begin else (None, 0)
