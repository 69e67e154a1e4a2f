"""A variant's range test on disk: run once, stored with its sweep, reused by every run of the variant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch

from harness.data.arrays import Data
from harness.data.batches import Batches
from harness.device import computed_by, prepare
from harness.errors import HarnessError, RunError
from harness.optimizers import create_optimizer
from harness.plan import Variant
from harness.schedule import Rates
from harness.seeding import global_seed
from harness.store.atomic import atomic_write, sha256_file
from harness.store.folders import StudyFolder
from harness.store.run_files import RANGE_TEST, csv_text
from harness.store.sealed import digest, read_sealed, write_sealed
from harness.study_file.schedules import RangeTest
from harness.training.engines import create_loss, create_trainer
from harness.training.failures import failure
from harness.training.lr_range import Sweep, choose, sweep
from harness.training.progress import Say, attach_bar


def ensure_range_test(
    variant: Variant,
    folder: StudyFolder,
    load_data: Callable[[], Data],
    *,
    threads: int,
    say: Say,
    wait: bool = True,
) -> Rates | None:
    """The stored result of a variant's range test, after running it where it is missing or out of date.

    Damaged files, and those of another configuration, are moved aside and kept.

    Returns:
        None where the study asks for none.

    Raises:
        HeldError: another process is at work on it, and we do not wait.
        RunError: the sweep failed, or finds other rates than those its runs were trained with.
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
            result = run_range_test(variant, load_data(), settings, threads=threads, say=say)
        except HarnessError:
            raise
        except Exception as error:  # whatever torch meets, such as the end of the memory
            raise RunError(f"range test: {failure(error, variant)['message']}") from error
        rates, doubts = choose(result, settings)
        if variant.recipe.schedule.finds:
            check_agreement(variant, folder, rates)
        _write(variant, folder, settings, result, rates, doubts, threads)
        say(f"{name}  by {settings.criterion}: lr_max {rates.lr_max:.4g}, lr_min {rates.lr_min:.4g}")
        for doubt in doubts:
            say(f"{name}  warning: {doubt}")
        return rates


def set_stale_aside(variant: Variant, folder: StudyFolder, say: Say) -> None:
    """Move files away that :func:`stored_rates` does not take; call it under the range test's lock."""
    record_file = folder.range_test_json(variant.name)
    if record_file.exists():
        kept = folder.set_aside(
            f"{variant.name}-range-test", folder.range_test_csv(variant.name), record_file
        )
        say(
            f"{variant.study}/{variant.name}  range test: damaged or of another configuration: "
            f"moved to {kept}, and done again"
        )


def stored_rates(variant: Variant, folder: StudyFolder) -> Rates | None:
    """What an earlier start found for this very configuration, if its files are intact."""
    settings = variant.recipe.range_test_settings
    csv_file = folder.range_test_csv(variant.name)
    try:
        record = read_sealed(folder.range_test_json(variant.name))
        if settings is None or record is None or record["digest"] != _digest(variant, settings):
            return None
        if sha256_file(csv_file) != record["csv_sha256"]:
            return None
        return Rates(float(record["lr_min"]), float(record["lr_max"]))
    except (RunError, OSError, LookupError, TypeError, ValueError):
        return None


def run_range_test(variant: Variant, data: Data, settings: RangeTest, *, threads: int, say: Say) -> Sweep:
    """Sweep a fresh network over the rates, with a seed of its own and augmented train batches."""
    recipe, device = variant.recipe, variant.device
    prepare(device, threads)
    with global_seed(settings.seed, "range_test/initialisation"):
        model = variant.new_network()
    optimizer = create_optimizer(recipe.optimizer, model)
    loss = create_loss(recipe.loss, model)
    trainer = create_trainer(
        computed_by(model, variant.compute.compiled),
        optimizer,
        loss,
        device=device,
        precision=variant.precision,
        memory_format=getattr(torch, variant.compute.memory_format),
    )
    attach_bar(trainer, f"{variant.study}/{variant.name} range test", say)
    batches = Batches(
        data.train,
        variant.train_transforms,
        recipe.data.batch_size,
        seed=settings.seed,
        purpose="range_test",
        shuffle=True,
        drop_last=recipe.data.drop_last,
        device=device,
    )
    with global_seed(settings.seed, "range_test/dropout"):
        return sweep(trainer, model, optimizer, batches, settings)


def _digest(variant: Variant, settings: RangeTest) -> str:
    """What decides a sweep: everything of a run but its schedule."""
    identity = {**variant.identity, "range_test": settings.model_dump(mode="json")}
    identity["recipe"] = {key: part for key, part in identity["recipe"].items() if key != "schedule"}
    return digest(identity)


def check_agreement(variant: Variant, folder: StudyFolder, rates: Rates) -> None:
    """A range test that had to be repeated must not give one variant's runs two different rates.

    Raises:
        RunError: naming a run that was trained with another rate.
    """
    for run in folder.runs():
        try:
            record = run.record() if run.variant == variant.name else None
        except RunError:  # a damaged run is done again
            continue
        used = record and record.metrics.get("lr_max")
        if used and record and record.digest == variant.digest and used != rates.lr_max:
            raise RunError(
                f"{folder.range_test_json(variant.name)}: now lr_max is {rates.lr_max!r}, but {run.name} was "
                f"trained with {used!r}; set OMP_NUM_THREADS as it was then, or choose another --out"
            )


def _write(
    variant: Variant,
    folder: StudyFolder,
    settings: RangeTest,
    result: Sweep,
    rates: Rates,
    doubts: list[str],
    threads: int,
) -> None:
    columns = (
        range(1, len(result.lr) + 1), result.lr, result.loss, result.smoothed_loss, result.accuracy,
        result.smoothed_accuracy,
    )  # fmt: skip
    rows = ([iteration, *map(float, values)] for iteration, *values in zip(*columns, strict=True))
    content = csv_text(RANGE_TEST, rows)
    atomic_write(folder.range_test_csv(variant.name), content)
    record = {
        **settings.model_dump(mode="json"),
        "lr_min": rates.lr_min,
        "lr_max": rates.lr_max,
        "used": variant.recipe.schedule.finds,
        "warnings": doubts,
        "steps": len(result.lr),
        "threads": threads,
        "diverged": result.diverged,
        "digest": _digest(variant, settings),
        "csv_sha256": hashlib.sha256(content.encode()).hexdigest(),
    }
    write_sealed(folder.range_test_json(variant.name), record)
