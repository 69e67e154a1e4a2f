"""A range test on disk: done once, stored with its sweeps, and used by all of its runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

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
from harness.training.range_test.choice import Choice, choose_together
from harness.training.range_test.sweep import Sweep, sweep_variant


def ensure_range_test(
    variant: Variant,
    folder: StudyFolder,
    load_data: Callable[[], Data],
    *,
    seed: int | None = None,
    threads: int,
    say: Say,
    wait: bool = True,
) -> Rates | None:
    """Return the rates of a range test; run it first if it is missing or outdated.

    Damaged files, and those of another configuration, are moved aside and kept. All sweeps are written
    together at the end: a range test that was killed starts again.

    Args:
        seed: of the run that finds its own rates, whose lock the caller holds; None for the variant's range
            test, whose lock is taken here.

    Returns:
        None where the study asks for no range test.

    Raises:
        HeldError: another process works on it, and ``wait`` is false.
        RunError: a sweep failed, or gives other rates than the variant's runs were trained with.
    """
    settings = range_test_of(variant, seed)
    if settings is None:
        return None
    with _lock(variant, folder, seed, wait=wait, say=say):
        record = _stored(variant, folder, seed)
        if record is None:
            set_stale_aside(variant, folder, say, seed)
            record = _carry_out(variant, folder, load_data, settings, seed=seed, threads=threads, say=say)
        elif record.repeats < settings.sweeps:
            say(
                f"{_name(variant, seed)}  keeping the lr_max on disk, from {record.repeats} sweep; "
                "use another --out to find it again"
            )
        return Rates(record.lr_min, record.lr_max)


def range_test_of(variant: Variant, seed: int | None) -> RangeTest | None:
    """Return the settings of a variant's range test, or of the one of its run with this seed."""
    settings = variant.recipe.range_test_settings
    if settings is None or seed is None:
        return settings
    return settings.model_copy(update={"seed": variant.recipe.run_seeds(seed).range_test})


def _name(variant: Variant, seed: int | None) -> str:
    name = f"{variant.study}/{variant.name}"
    return name if seed is None else f"{name}/seed-{seed}"


def _lock(
    variant: Variant, folder: StudyFolder, seed: int | None, *, wait: bool, say: Say
) -> AbstractContextManager[None]:
    return folder.range_test_lock(variant.name, wait=wait, say=say) if seed is None else nullcontext()


def _carry_out(
    variant: Variant,
    folder: StudyFolder,
    load_data: Callable[[], Data],
    settings: RangeTest,
    *,
    seed: int | None,
    threads: int,
    say: Say,
) -> RangeTestRecord:
    """Sweep, choose, and write both files."""
    name, sweeps = _name(variant, seed), []
    for repeat in range(1, settings.sweeps + 1):
        which = f" sweep {repeat} of {settings.sweeps}:" if settings.sweeps > 1 else ""
        steps = f"{settings.iterations} steps, {settings.start_lr:g} to {settings.end_lr:g}"
        say(f"{name}  range test:{which} {steps}")
        sweeps.append(_sweep(variant, load_data(), settings, repeat, threads=threads, say=say))
    choice = choose_together(sweeps, settings)
    if variant.recipe.schedule.finds and seed is None:
        sweeps, choice = _agreeing(variant, folder, settings, sweeps, choice, say)
    table = _table(sweeps)
    atomic_write(folder.range_test_csv(variant.name, seed), table)
    record = RangeTestRecord(
        **{**settings.model_dump(mode="json"), "repeats": len(sweeps)},
        lr_min=choice.rates.lr_min,
        lr_max=choice.rates.lr_max,
        choices=list(choice.each),
        lr_max_low=min(choice.each),
        lr_max_high=max(choice.each),
        used=variant.recipe.schedule.finds,
        warnings=list(choice.doubts),
        steps=min(len(sweep.lr) for sweep in sweeps),
        threads=threads,
        diverged=any(sweep.diverged for sweep in sweeps),
        digest=_digest(variant, settings),
        csv_sha256=hashlib.sha256(table.encode()).hexdigest(),
    )
    write_sealed(folder.range_test_json(variant.name, seed), record.to_json())
    _say_choice(name, record, say)
    return record


def _sweep(
    variant: Variant, data: Data, settings: RangeTest, repeat: int, *, threads: int, say: Say
) -> Sweep:
    try:
        return sweep_variant(variant, data, settings, repeat=repeat, threads=threads, say=say)
    except HarnessError:
        raise
    except Exception as error:  # torch may raise anything, such as out of memory
        raise RunError(f"range test: {failure(error, variant)['message']}") from error


def _agreeing(
    variant: Variant,
    folder: StudyFolder,
    settings: RangeTest,
    sweeps: list[Sweep],
    choice: Choice,
    say: Say,
) -> tuple[list[Sweep], Choice]:
    """Return the sweeps and their choice that the runs on disk were trained with.

    Runs of version 0.2 were trained with the choice of the first sweep alone. They have the digest of a study
    that does not say how many sweeps, and keep that rate.

    Raises:
        RunError: they were trained with neither choice.
    """
    try:
        check_agreement(variant, folder, choice.rates)
    except RunError:
        first = choose_together(sweeps[:1], settings)
        if "repeats" in settings.deciding(finds=True) or first.rates == choice.rates:
            raise
        check_agreement(variant, folder, first.rates, told=choice.rates)
        say(f"{_name(variant, None)}  keeping the first sweep's lr_max, which its runs on disk have")
        return sweeps[:1], first
    return sweeps, choice


def _say_choice(name: str, record: RangeTestRecord, say: Say) -> None:
    spread = ""
    if record.repeats > 1:
        spread = f" (its {record.repeats} sweeps: {record.lr_max_low:.4g} to {record.lr_max_high:.4g})"
    say(
        f"{name}  LR range test chose lr_max = {record.lr_max:.4g}{spread}, lr_min = {record.lr_min:.4g} "
        f"(criterion: {record.criterion})"
    )
    for doubt in record.warnings:
        say(f"{name}  warning: {doubt}")


def stored_rates(variant: Variant, folder: StudyFolder, seed: int | None = None) -> Rates | None:
    """Return the rates on disk; None if they are missing, of another configuration, or damaged."""
    record = _stored(variant, folder, seed)
    return None if record is None else Rates(record.lr_min, record.lr_max)


def _stored(variant: Variant, folder: StudyFolder, seed: int | None) -> RangeTestRecord | None:
    settings = range_test_of(variant, seed)
    try:
        content = read_sealed(folder.range_test_json(variant.name, seed))
        if settings is None or content is None:
            return None
        record = RangeTestRecord.from_json(content)
        intact = sha256_file(folder.range_test_csv(variant.name, seed)) == record.csv_sha256
    except (RunError, OSError):
        return None
    return record if intact and record.digest == _digest(variant, settings) else None


def set_stale_aside(variant: Variant, folder: StudyFolder, say: Say, seed: int | None = None) -> None:
    """Move files aside that :func:`stored_rates` refuses; call it under the range test's lock."""
    record_file = folder.range_test_json(variant.name, seed)
    if record_file.exists():
        kept = folder.set_aside(
            f"{variant.name}{'' if seed is None else f'-seed-{seed}'}-range-test",
            folder.range_test_csv(variant.name, seed),
            record_file,
        )
        say(
            f"{_name(variant, seed)}  range test: damaged or of another configuration: "
            f"moved to {kept}, and repeated"
        )


def check_agreement(
    variant: Variant, folder: StudyFolder, rates: Rates, *, told: Rates | None = None
) -> None:
    """Check that a repeated range test gives the rates of the variant's runs on disk.

    Args:
        told: the rates that the message names; without it ``rates``.

    Raises:
        RunError: a run was trained with another rate; the message names it.
    """
    for run in folder.runs_of(variant.name):
        try:
            record = run.record()
        except RunError:  # a damaged run is repeated
            continue
        used = record and record.metrics.get("lr_max")
        if used and record and record.digest == variant.digest and used != rates.lr_max:
            raise RunError(
                f"{folder.range_test_json(variant.name)}: now lr_max is {(told or rates).lr_max!r}, but "
                f"{run.name} was trained with {used!r}; set OMP_NUM_THREADS as it was then, or choose "
                "another --out"
            )


def _digest(variant: Variant, settings: RangeTest) -> str:
    """Return the digest of what decides the sweeps: a run's identity without schedule and average."""
    deciding = settings.deciding(finds=variant.recipe.schedule.finds)
    identity = {**variant.identity, "range_test": deciding}
    identity["recipe"] = {
        key: part for key, part in identity["recipe"].items() if key not in ("schedule", "vary", "averaging")
    }
    if variant.recipe.draw:  # the images of another hold-out than that of the identity
        identity["draw"] = variant.recipe.draw
    return digest(identity)


def _table(sweeps: Sequence[Sweep]) -> str:
    return csv_text(
        RANGE_TEST, (row for repeat, sweep in enumerate(sweeps, 1) for row in _rows(sweep, repeat))
    )


def _rows(sweep: Sweep, repeat: int) -> list[list[float]]:
    columns = (sweep.lr, sweep.loss, sweep.smoothed_loss, sweep.accuracy, sweep.smoothed_accuracy)
    steps = zip(*columns, strict=True)
    return [[step, *map(float, values), repeat] for step, values in enumerate(steps, 1)]
