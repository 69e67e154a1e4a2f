"""A variant's range test on disk: done once, stored with its sweep, and used by every run of the variant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from harness.data.arrays import Data
from harness.errors import HarnessError, RunError
from harness.plan import Variant
from harness.schedule import Rates
from harness.store.atomic import atomic_write, sha256_file
from harness.store.folders import StudyFolder
from harness.store.records import RangeTestRecord
from harness.store.run_files import RANGE_TEST, csv_text
from harness.store.sealed import digest, read_sealed, write_sealed
from harness.study_file.schedules import RangeTest
from harness.training.failures import failure
from harness.training.progress import Say
from harness.training.range_test.choice import choose
from harness.training.range_test.sweep import Sweep, sweep_variant


def ensure_range_test(
    variant: Variant,
    folder: StudyFolder,
    load_data: Callable[[], Data],
    *,
    threads: int,
    say: Say,
    wait: bool = True,
) -> Rates | None:
    """Return the rates of a variant's range test; run it first if it is missing or outdated.

    Damaged files, and those of another configuration, are moved aside and kept.

    Returns:
        None where the study asks for no range test.

    Raises:
        HeldError: another process works on it, and ``wait`` is false.
        RunError: the sweep failed, or gives other rates than the variant's runs were trained with.
    """
    settings = variant.recipe.range_test_settings
    if settings is None:
        return None
    name = f"{variant.study}/{variant.name}"
    with folder.range_test_lock(variant.name, wait=wait, say=say):
        stored = stored_rates(variant, folder)
        if stored is not None:
            return stored
        set_stale_aside(variant, folder, say)
        say(f"{name}  range test: {settings.iterations} steps, {settings.start_lr:g} to {settings.end_lr:g}")
        try:
            sweep = sweep_variant(variant, load_data(), settings, threads=threads, say=say)
        except HarnessError:
            raise
        except Exception as error:  # torch may raise anything, such as out of memory
            raise RunError(f"range test: {failure(error, variant)['message']}") from error
        rates, doubts = choose(sweep, settings)
        if variant.recipe.schedule.finds:
            check_agreement(variant, folder, rates)
        table = _table(sweep)
        atomic_write(folder.range_test_csv(variant.name), table)
        record = RangeTestRecord(
            **settings.model_dump(mode="json"),
            lr_min=rates.lr_min,
            lr_max=rates.lr_max,
            used=variant.recipe.schedule.finds,
            warnings=doubts,
            steps=len(sweep.lr),
            threads=threads,
            diverged=sweep.diverged,
            digest=_digest(variant, settings),
            csv_sha256=hashlib.sha256(table.encode()).hexdigest(),
        )
        write_sealed(folder.range_test_json(variant.name), record.to_json())
        say(f"{name}  by {settings.criterion}: lr_max {rates.lr_max:.4g}, lr_min {rates.lr_min:.4g}")
        for doubt in doubts:
            say(f"{name}  warning: {doubt}")
        return rates


def stored_rates(variant: Variant, folder: StudyFolder) -> Rates | None:
    """Return the rates on disk; None where there are none, of another configuration, or damaged."""
    settings = variant.recipe.range_test_settings
    try:
        content = read_sealed(folder.range_test_json(variant.name))
        if settings is None or content is None:
            return None
        record = RangeTestRecord.from_json(content)
        intact = sha256_file(folder.range_test_csv(variant.name)) == record.csv_sha256
    except (RunError, OSError):
        return None
    return (
        Rates(record.lr_min, record.lr_max)
        if intact and record.digest == _digest(variant, settings)
        else None
    )


def set_stale_aside(variant: Variant, folder: StudyFolder, say: Say) -> None:
    """Move files aside that :func:`stored_rates` refuses; call it under the range test's lock."""
    record_file = folder.range_test_json(variant.name)
    if record_file.exists():
        kept = folder.set_aside(
            f"{variant.name}-range-test", folder.range_test_csv(variant.name), record_file
        )
        say(
            f"{variant.study}/{variant.name}  range test: damaged or of another configuration: "
            f"moved to {kept}, and done again"
        )


def check_agreement(variant: Variant, folder: StudyFolder, rates: Rates) -> None:
    """Check that a repeated range test gives the rates of the variant's runs on disk.

    Raises:
        RunError: a run was trained with another rate; the message names it.
    """
    for run in folder.runs_of(variant.name):
        try:
            record = run.record()
        except RunError:  # a damaged run is done again
            continue
        used = record and record.metrics.get("lr_max")
        if used and record and record.digest == variant.digest and used != rates.lr_max:
            raise RunError(
                f"{folder.range_test_json(variant.name)}: now lr_max is {rates.lr_max!r}, but {run.name} was "
                f"trained with {used!r}; set OMP_NUM_THREADS as it was then, or choose another --out"
            )


def _digest(variant: Variant, settings: RangeTest) -> str:
    """Return the digest of what decides a sweep: a run's identity without its schedule."""
    identity = {**variant.identity, "range_test": settings.model_dump(mode="json")}
    identity["recipe"] = {
        key: part for key, part in identity["recipe"].items() if key not in ("schedule", "vary")
    }
    return digest(identity)


def _table(sweep: Sweep) -> str:
    columns = (sweep.lr, sweep.loss, sweep.smoothed_loss, sweep.accuracy, sweep.smoothed_accuracy)
    steps = zip(*columns, strict=True)
    return csv_text(RANGE_TEST, ([step, *map(float, values)] for step, values in enumerate(steps, 1)))
