"""A whole seed through the command, as a user runs it: onecycle's 24 epochs, and what ghost batches add."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.gpu.command import accepts, compare, history, run, run_folder, study_file
from benchmarks.gpu.shared import LATE, Options, Row, attempt, needs_cuda, time_for
from harness.store.records import RunRecord

GOAL, PASS = 8.0, 12.0  # seconds of training and evaluation, once a process is warm
EPOCHS, QUICK_EPOCHS = 24, 2
ALONE = ("--seeds", "0", "--launcher", "serial")
GHOST_EPOCHS, QUICK_GHOST_EPOCHS = 4, 2
MOST_MORE = 0.15  # that ghost batches may cost
LEFT_FOR_A_RUN = 12  # seconds; with fewer left no run is begun


def rows(options: Options) -> Iterator[Row]:
    """Time eager seeds and the ghost batches, then compiled seeds, then the report."""
    epochs = QUICK_EPOCHS if options.quick else EPOCHS
    study = study_file(options, "onecycle", epochs)
    yield _seed(options, study, "compile=false", "first")
    yield _ghosts(options, "compile=false")
    yield _seed(options, study, "compile=false", "again")
    yield from _compared(options, "compile=false")
    if options.cuda or not options.quick:  # a CPU compiles for minutes
        # nothing is cached for it: the commands have a cache of their own
        yield _seed(options, study, "compile=true", "first")
        yield _seed(options, study, "compile=true", "again")
        yield from _compared(options, "compile=true")
    else:
        yield needs_cuda(f"onecycle, {epochs} epochs, compile=true")
    if accepts(study, 'compile="auto"'):
        yield _seed(options, study, 'compile="auto"', "first")
    yield _report(options, study)
    if options.cuda:
        yield _ghosts(options, "compile=true")  # last: it compiles the longest


def _out(options: Options, setting: str, name: str) -> Path:
    return Path(options.folder) / f"seed-{setting.replace('=', '-').replace(chr(34), '')}-{name}"


def _in_time(what: str, options: Options, measure: Callable[[], Row]) -> Row:
    """Measure where enough time is left for another run."""
    return attempt(what, measure) if time_for(LEFT_FOR_A_RUN, options) else Row(what, LATE)


def _seed(options: Options, study: Path, setting: str, name: str) -> Row:
    """Run seed 0 in a process of its own, and stop it before its report."""
    what = f"{study.stem.replace('-', ', ')} epochs, {setting}, {name}"
    out = _out(options, setting, name)

    def measure() -> Row:
        outcome = run(options, study, out, ALONE, [setting])
        return _seed_row(what, run_folder(out), outcome.finished, options)

    return _in_time(what, options, measure)


def _compared(options: Options, setting: str) -> Iterator[Row]:
    """Compare the two runs of a setting, where both are there."""
    outs = [_out(options, setting, name) for name in ("first", "again")]
    runs = [file.parent for out in outs for file in out.glob("*/runs/base/seed-0/model.safetensors")]
    if len(runs) == 2:
        first, again = runs
        yield compare(f"{setting}: first and again", first, again)


def _report(options: Options, study: Path) -> Row:
    """Time the command where only the report is left to do."""
    what = "the command when its run is done: start and report"

    def measure() -> Row:
        out = _out(options, "compile=false", "first")
        outcome = run(options, study, out, ALONE, ["compile=false"], runs=0, report=True)
        return Row(what, f"{outcome.ended:.1f} s", "1", values={"s": outcome.ended})

    return _in_time(what, options, measure)


def _seed_row(what: str, folder: Path, finished: float, options: Options) -> Row:
    record = RunRecord.from_json(json.loads((folder / "run.json").read_text("utf-8")))
    timings, epochs = record.timings, history(folder)
    # The first epoch compiles, or loads what was compiled: once a process, not once a seed.
    warm = len(epochs) * statistics.median(
        float(row["train_seconds"]) + float(row["eval_seconds"]) for row in epochs
    )
    rate, accuracy = timings["images_per_second"], record.metrics["accuracy"]
    notes = f"train {timings['train_seconds']:.2f} s, evaluation {timings['eval_seconds']:.2f} s; "
    notes += f"{rate:,.0f} images/s (median epoch); wall {finished:.1f} s to the end of the run"
    notes += f"; test accuracy {accuracy:.2%}"
    if not options.quick:
        reached = "reached" if warm <= GOAL else "passed" if warm <= PASS else "missed"
        notes += f"; warm: goal {GOAL:.0f} s, pass {PASS:.0f} s: {reached}"
    values = {**timings, "warm": warm, "wall": finished, "test_accuracy": accuracy}
    return Row(what, f"{warm:.2f} s warm, {timings['seconds']:.2f} s in all", "1", notes, values)


def _ghosts(options: Options, setting: str) -> Row:
    """Compare annealed's first epochs with ghost batches and without, in one process."""
    epochs = QUICK_GHOST_EPOCHS if options.quick else GHOST_EPOCHS
    what = f"annealed, {epochs} epochs, {setting}: ghost batches of 32 against whole batches"
    out = _out(options, setting, "ghosts")

    def epoch_seconds(variant: str) -> float:
        return statistics.median(float(row["train_seconds"]) for row in history(run_folder(out, variant))[1:])

    def measure() -> Row:
        arguments = [*ALONE, "--variants", "base,davidnet"]
        run(options, study_file(options, "annealed", epochs), out, arguments, [setting], runs=2)
        ghosts, whole = epoch_seconds("base"), epoch_seconds("davidnet")
        more = ghosts / whole - 1
        notes = f"an epoch of training {ghosts:.3f} s against {whole:.3f} s"
        if not options.quick:
            notes += f"; goal at most {MOST_MORE:+.0%}: {'reached' if more <= MOST_MORE else 'missed'}"
        values = {"more": more, "base": ghosts, "davidnet": whole}
        return Row(what, f"{more:+.0%}", f"{epochs - 1} epochs each", notes, values)

    return _in_time(what, options, measure)
