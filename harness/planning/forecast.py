"""What the missing runs of a study take on this machine: time, disk and memory.

Finished runs on this kind of device tell the time; without any, a few steps are trained as a run trains them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from typing import Any

import numpy as np
import torch

from harness.analysis.numbers import several
from harness.compute import FLOPS_A_STEP
from harness.data import KNOWN_SHAPES
from harness.data.arrays import Data, split_of
from harness.device import prepare, resolve_device, synchronize, threads_for
from harness.errors import RunError
from harness.launch.team import PROCESS_BYTES, START_SECONDS, choose_team, training_bytes
from harness.optimizers import set_rate
from harness.outline import Outline
from harness.plan import Plan, Variant, resolve_variant
from harness.planning.states import Preview, VariantState, finished_records
from harness.seeding import generators_restored, global_seed
from harness.store.records import RunRecord
from harness.training.assembly import assemble, train_batches
from harness.training.provenance import hardware

MEASURED_SECONDS = 1.0  # of the steps that are timed
MOST_SECONDS = 5.0  # for the networks of a study; later ones follow from their operations
RATE = 1e-3
TEST_IMAGE = 1 / 3  # time of evaluating an image, in that of training on one
REPORT_BYTES = 1_200_000  # figures and tables of a variant, and its part of the report (n = 2 studies)
RUN_BYTES = 30_000  # of a run beside its weights and predictions
TRAIN_SHARE = 5  # train images for each test image, where neither are here


@dataclass(frozen=True)
class Forecast:
    """What a study's missing runs take.

    Attributes:
        runs: how many are missing.
        seconds: until they have finished; None where that is not known.
        source: how the time is known, or why it is not.
        runs_at_once: as the launcher would choose; None on a cluster.
        disk_bytes: of the results that are added.
        memory_bytes: of all runs at once, at most; None where no network is known.
    """

    runs: int
    seconds: float | None
    source: str
    runs_at_once: int | None
    disk_bytes: int
    memory_bytes: int | None


def make_forecast(preview: Preview, states: Sequence[VariantState]) -> Forecast:
    """Return the forecast of a study's missing runs; nothing is downloaded or written."""
    left = {state.name: _runs_left(preview, state) for state in states}
    runs = sum(left.values())
    at_once, threads = _team(preview, states, runs)
    done = RunTimes({}, "every run has finished")
    known_times = run_times(preview, states, threads) if runs else done
    times = known_times.seconds
    seconds = None
    if times and at_once:
        ends = [times[state.name] for state in states for _ in range(left[state.name])]
        seconds = sum(
            _sweep_share(preview, state) * times[state.name] for state in states if left[state.name]
        )
        slower = min(known_times.at_once or _runs_per_device(preview, at_once), at_once)
        seconds += ceil(len(ends) / at_once) * statistics.fmean(ends) * max(1.0, slower)
        seconds += START_SECONDS * (at_once > 1)
    known = [state for state in states if state.outline is not None]
    disk = sum(left[state.name] * _bytes_of_run(preview, state) for state in known)
    bytes_of_run = [PROCESS_BYTES + _training_bytes(state) for state in known]
    return Forecast(
        runs,
        seconds if runs else 0.0,
        known_times.source,
        at_once,
        int(disk + REPORT_BYTES * len(known)) if runs else 0,
        int(max(bytes_of_run) * (at_once or 1)) if bytes_of_run and runs else None,
    )


def _runs_per_device(preview: Preview, at_once: int) -> float:
    """Return how many runs share a GPU; on a CPU each has cores of its own."""
    device = resolve_device(preview.device)
    if not device.startswith("cuda"):
        return 1.0
    return at_once / (1 if ":" in device else torch.cuda.device_count())


def _runs_left(preview: Preview, state: VariantState) -> int:
    """Return how many runs of a variant would be trained; a diverged one is not repeated."""
    count = 0
    for seed, status in state.seeds:
        record = None
        if status == "failed":
            try:
                record = preview.folder.run(state.name, seed).record()
            except RunError:  # damaged: it is done again
                record = None
        count += status != "finished" and not (record is not None and record.diverged)
    return count


def _team(preview: Preview, states: Sequence[VariantState], runs: int) -> tuple[int | None, int]:
    """Return the runs at once and the threads of each, as the launcher would choose them."""
    if preview.launcher == "ray":
        return None, threads_for(1)
    if preview.devices > 1:
        return 1, threads_for(preview.devices)
    planned = tuple(state.variant for state in states if state.variant is not None)
    workers = 1 if preview.launcher == "serial" else preview.workers
    if not planned or not runs:
        return workers or 1, threads_for(workers or 1)
    seeds = tuple(seed for seed, _ in states[0].seeds)
    team = choose_team(Plan(preview.study, preview.folder, planned, seeds), workers)
    return min(team.workers, runs), team.threads


def _sweep_share(preview: Preview, state: VariantState) -> float:
    """Return the steps of a variant's range test that is still to do, in runs."""
    settings = state.recipe.range_test_settings
    if settings is None or settings.per != "variant" or state.outline is None or state.has_range_test:
        return 0.0
    return settings.iterations * settings.sweeps / _steps(state, state.outline)


def _steps(state: VariantState, outline: Outline) -> float:
    return state.recipe.schedule.epochs * outline.steps_per_epoch + state.recipe.own_sweep_steps


def _bytes_of_run(preview: Preview, state: VariantState) -> float:
    """Return the size of a run's folder: its weights, and the logits of the images it is evaluated on."""
    outline, variant = state.outline, state.variant
    assert outline is not None
    classes = KNOWN_SHAPES[state.recipe.data.source].classes if variant is None else len(variant.classes)
    return 4 * outline.parameters + _evaluated(preview, state.name) * (4 * classes + 8) + RUN_BYTES


def _training_bytes(state: VariantState) -> float:
    outline, batch = state.outline, state.recipe.data.batch_size
    assert outline is not None
    images = outline.steps_per_epoch * batch if state.variant is None else state.variant.train_images
    return training_bytes(outline, batch, images)


def _evaluated(preview: Preview, name: str) -> float:
    """Return how many images a variant is evaluated on, roughly where its data is not here."""
    recipe = preview.study.recipes[name]
    try:
        return len(preview.load_data(recipe).evaluation)
    except Exception:  # absent: the plan says so
        shape = KNOWN_SHAPES.get(recipe.data.source)
        whole = 0.0 if shape is None else shape.train_images / TRAIN_SHARE
        return recipe.data.holdout or recipe.data.test_limit or whole


# ---- time -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunTimes:
    """How long a run takes on this machine.

    Attributes:
        seconds: of each variant's run, its own range test included, divided by the runs under way at
            once. Empty where they are not known.
        source: where they are from, or why there are none.
        at_once: mean number of runs at once in those that were measured; None of timed steps.
    """

    seconds: dict[str, float]
    source: str
    at_once: float | None = None


def run_times(preview: Preview, states: Sequence[VariantState], threads: int | None = None) -> RunTimes:
    """Return how long each variant's run takes here, from finished runs or from a few timed steps.

    Args:
        threads: of a run that is timed; None for all cores.
    """
    device = resolve_device(preview.device)
    here = _machine(hardware(device))
    known, at_once = {}, []
    for state in states:
        seconds = []
        for record in finished_records(preview, state):
            if (took := _seconds_of(record, device, here)) is not None:
                seconds.append(took * _with_sweeps(state))
                at_once.append(_at_once(record))
        if seconds:
            known[state.name] = statistics.fmean(seconds)
    if known:
        source = f"mean of {several(len(at_once), 'finished run')}"
        return RunTimes(_by_operations(states, known), source, statistics.fmean(at_once))
    if any(state.outline is None for state in states):
        return RunTimes({}, "a step cannot be timed without the data")
    try:
        known = _timed(preview, states, threads or threads_for(1))
    except Exception:  # a user's own network may fail here: the rehearsal reports the error
        return RunTimes({}, "a step of the network could not be timed")
    synthetic = any(state.variant is None for state in states)
    source = "a few timed steps" + " on random images (no data here)" * synthetic
    return RunTimes(_by_operations(states, known), source)


def _by_operations(states: Sequence[VariantState], known: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of all variants: those that are not known from the others, by their operations."""
    work = {state.name: _work(state) for state in states}
    of_known = [known[name] / work[name] for name in known if work[name]]
    rate = statistics.fmean(of_known) if of_known else 0.0
    mean = statistics.fmean(known.values())
    return {name: known.get(name, rate * work[name] if rate and work[name] else mean) for name in work}


def _work(state: VariantState) -> float:
    if state.outline is None:
        return 0.0
    return _steps(state, state.outline) * state.recipe.data.batch_size * state.outline.flops_per_image


def _machine(found: Mapping[str, Any]) -> tuple[object, object]:
    accelerator = found.get("accelerator")
    return (accelerator["name"] if accelerator else found.get("processor")), bool(accelerator)


def _seconds_of(record: RunRecord, device: str, here: tuple[object, object]) -> float | None:
    """Return the seconds of a run that was made on this kind of device, divided by the runs at once."""
    provenance, seconds = record.provenance, record.number("seconds", "timings")
    same = str(provenance.get("device")).split(":")[0] == device.split(":")[0]
    if not same or seconds is None or _machine(provenance.get("hardware") or {}) != here:
        return None
    return seconds / _at_once(record)


def _at_once(record: RunRecord) -> float:
    """Return how many runs were under way at once on a run's device; 1 where that is not known."""
    at_once = record.timings.get("runs_at_once")
    return statistics.fmean(at_once) if isinstance(at_once, list) and at_once else 1.0


def _with_sweeps(state: VariantState) -> float:
    """Return how many times as long a run takes with the range test that it makes for itself."""
    if state.outline is None:
        return 1.0
    return 1 + state.recipe.own_sweep_steps / (state.recipe.schedule.epochs * state.outline.steps_per_epoch)


def _timed(preview: Preview, states: Sequence[VariantState], threads: int) -> dict[str, float]:
    """Return the seconds of a run of each variant that there was time to time; always of the first."""
    times: dict[str, float] = {}
    measured: dict[str, float] = {}
    began = time.monotonic()
    for state in states:
        variant, data = state.variant, None
        if variant is None:
            data = _random_images(state)
            variant = resolve_variant(preview.study, state.name, data, device=preview.device)
        key = str((variant.network.to_json(), state.recipe.data.batch_size, variant.compute))
        if key not in measured:
            if measured and time.monotonic() - began > MOST_SECONDS:
                continue
            measured[key] = image_seconds(variant, data or preview.load_data(state.recipe), threads)
        outline = state.outline
        assert outline is not None
        images = _steps(state, outline) * state.recipe.data.batch_size
        evaluated = state.recipe.schedule.epochs * _evaluated(preview, state.name)
        times[state.name] = measured[key] * (images + TEST_IMAGE * evaluated)
    return times


def image_seconds(variant: Variant, data: Data, threads: int) -> float:
    """Train on some batches as a run does, and return the seconds of an image without those that warm up.

    On a CPU the batches may be smaller than the variant's, so that this takes about a second.
    """
    device, batch = variant.device, variant.recipe.data.batch_size
    prepare(device, threads)
    with generators_restored(), global_seed(0, "forecast"):
        model = variant.new_network(data)
        assembly = assemble(variant, model, averaged=True)
        trainer = assembly.trainer
        set_rate(assembly.optimizer, RATE)

        def seconds(images: int, steps: int) -> float:
            settings = variant.recipe.data.model_copy(update={"batch_size": images})
            smaller = replace(variant, recipe=variant.recipe.model_copy(update={"data": settings}))
            batches = train_batches(smaller, data, 0, purpose="forecast")
            batches.set_epoch(1)
            coming = iter(batches)  # many batches are augmented at once, before the first
            trainer.run([next(coming)], max_epochs=1)  # it warms up
            synchronize(device)
            began, done = time.perf_counter(), 0
            for batch in islice(coming, steps):
                trainer.run([batch], max_epochs=1)
                done += len(batch[1])
            synchronize(device)
            return (time.perf_counter() - began) / max(1, done)

        if torch.device(device).type != "cpu":
            return seconds(min(batch, len(data.train)), 10)
        few = min(batch, len(data.train), max(4, int(FLOPS_A_STEP / variant.outline.flops_per_image)))
        first = seconds(few, 1)
        if few * first > MEASURED_SECONDS / 2:
            return first
        more = min(batch, len(data.train), max(few, int(MEASURED_SECONDS / 2 / first)))
        return seconds(more, 2) if more > few else min(first, seconds(few, 2))


def _random_images(state: VariantState) -> Data:
    """Return images of the shape that a known data set has, enough for two batches."""
    shape, draw = KNOWN_SHAPES[state.recipe.data.source], np.random.default_rng(0)
    side = state.recipe.data.image_size
    height, width = (side, side) if side else shape.image_size
    count = max(256, 2 * state.recipe.data.batch_size)
    images = draw.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % shape.classes
    split = split_of(images, labels, [str(label) for label in range(shape.classes)])
    return Data(split, split, "test")
