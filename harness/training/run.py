"""One run: a variant and a seed in, a finished run folder out; a killed one goes on from its last epoch."""

from __future__ import annotations

import hashlib
import io
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from harness.data.arrays import Data
from harness.data.batches import Batches
from harness.device import computed_by, loading_workers, prepare, synchronize
from harness.errors import RunError
from harness.models import MODELS
from harness.models.outside import OutsideState, changed, fingerprints
from harness.models.weights import weights_bytes
from harness.optimizers import create_optimizer
from harness.plan import Variant
from harness.schedule import Rates, lr_milestones, momentum_milestones
from harness.seeding import derive_seed, generators_restored, global_seed, seed_generators
from harness.statistics.classification import accuracy_from_logits, count_ties, cross_entropy_from_logits
from harness.store.atomic import atomic_write
from harness.store.folders import RunFolder
from harness.store.records import RunRecord
from harness.store.run_files import HISTORY, LEARNING_RATES, csv_text
from harness.store.sealed import digest
from harness.trackers import Guarded
from harness.training.checkpoint import Writer, attach_checkpoint, load_checkpoint
from harness.training.distributed import broadcast, is_leader, rank_and_world_size, wrap
from harness.training.engines import (
    attach_schedule,
    create_evaluator,
    create_loss,
    create_scaler,
    create_trainer,
)
from harness.training.failures import NonFiniteLoss, earlier_errors, failure, stop_on_non_finite_loss
from harness.training.profile import Profile
from harness.training.progress import Say, attach_bar, epoch_line, silent
from harness.training.provenance import provenance
from harness.training.sharing import count_runs_on

# What makes two processes' parts of one run differ.
ORIGIN = ("harness", "git", "versions", "hardware", "device", "precision", "threads", "batches")


@dataclass
class Log:
    """What a run has measured so far; part of its checkpoint.

    Attributes:
        rows: one dict of ``HISTORY`` an epoch.
        rates: the learning rate of every step.
        runs_at_once: runs on the device at the end of each epoch, where that is known.
        count_runs: how many there are now.
        origin: code, versions, threads and machine of this process.
        earlier_origins: those of the processes that were killed, where they differ from this one's.
        doubts: why the results may mislead; not in a checkpoint, each process finds them itself.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    runs_at_once: list[int] = field(default_factory=list)
    count_runs: Callable[[], int | None] = field(default=lambda: None, repr=False)
    origin: dict[str, Any] = field(default_factory=dict)
    earlier_origins: list[dict[str, Any]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        origins = [*self.earlier_origins, self.origin]
        return {
            "rows": [dict(row) for row in self.rows],
            "rates": list(self.rates),
            "runs_at_once": list(self.runs_at_once),
            "origins": origins,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a checkpoint's."""
        self.rows, self.rates = list(state["rows"]), list(state["rates"])
        self.runs_at_once = list(state.get("runs_at_once", ()))
        self.earlier_origins = [origin for origin in state["origins"] if origin != self.origin]


def evaluation_batch(device: str) -> int:
    """Images at once, whatever the recipe's: few enough for a CPU's memory, enough to keep a GPU busy."""
    return 500 if torch.device(device).type == "cpu" else 2500


def execute(
    variant: Variant,
    folder: RunFolder,
    data: Data,
    rates: Rates,
    *,
    threads: int,
    say: Say,
    profile: bool = False,
    tracker: Guarded | None = None,
) -> RunRecord:
    """Train one run to its end, or record why it failed.

    The caller holds the folder's lock and has made sure that what is in it belongs to this variant.

    Args:
        profile: leave in the run's ``profile/`` where its time went.
        tracker: where the run is shown as well.

    Returns:
        What run.json says; its ``status`` is ``finished`` or ``failed``.
    """
    folder.clean()
    record = variant.record(
        folder.seed,
        "running",
        earlier_errors=earlier_errors(folder),
        metrics={"parameters": variant.outline.parameters, "lr_min": rates.lr_min, "lr_max": rates.lr_max},
        classes=list(variant.classes),
        image_shape=list(variant.outline.image_shape),
        recipe={
            **variant.recipe.model_dump(mode="json"),
            "augment": {"train": variant.train_transforms, "test": variant.test_transforms},
        },
    )
    log = Log(doubts=[variant.doubt] if variant.doubt else [])
    try:
        prepare(variant.device, threads)
        record = replace(record, provenance=provenance(variant, data, threads))
        log.origin = {key: record.provenance[key] for key in ORIGIN}
        folder.write(record)
        with count_runs_on(variant.device) as log.count_runs:
            logits, labels, model = _train(variant, folder, data, rates, log, say, profile, tracker)
        _write_artefacts(variant, folder, log, logits, labels, model)
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        record = replace(
            record,
            status="finished",
            metrics=record.metrics | _metrics(log, logits, labels),
            provenance={**record.provenance, "earlier": log.earlier_origins, "finished": finished},
            timings=_timings(log),
            doubts=log.doubts,
        )
        folder.finish(record)
    except Exception as error:
        history = _history(log)
        with suppress(RunError):  # where the disk is full: what cannot be written is left out
            atomic_write(folder.path / "history.csv", history)
        if isinstance(error, NonFiniteLoss):  # a result: it stays, so there is nothing to resume
            folder.drop_checkpoint()
        record = replace(
            record,
            status="failed",
            error=failure(error, variant),
            metrics=record.metrics | {"epochs": len(log.rows)},
            provenance={**record.provenance, "earlier": log.earlier_origins},
            timings=_timings(log),
            doubts=[],
            files={"history.csv": hashlib.sha256(history.encode()).hexdigest()},
        )
        folder.write(record)
    if tracker is not None:
        tracker.end(folder, record.to_json(), say)
    return record


def take_part(variant: Variant, folder: RunFolder, data: Data, rates: Rates, threads: int) -> None:
    """What a process that follows does of a run: it trains on its part of every batch, and keeps nothing."""
    prepare(variant.device, threads)
    with suppress(NonFiniteLoss):  # all processes meet it at once
        _train(variant, folder, data, rates, Log(), silent, False, None)


def _train(
    variant: Variant,
    folder: RunFolder,
    data: Data,
    rates: Rates,
    log: Log,
    say: Say,
    profile: bool,
    tracker: Guarded | None,
) -> tuple[NDArray[np.float32], NDArray[np.int64], torch.nn.Module]:
    """The training itself; returns the last epoch's test logits and labels, and the model."""
    recipe, seed, device = variant.recipe, folder.seed, variant.device
    epochs = recipe.schedule.epochs
    with global_seed(seed, "initialisation"):
        model = variant.new_network()
    memory_format = getattr(torch, variant.compute.memory_format)
    users, outside = recipe.model.name not in MODELS, OutsideState(model)
    unkept = fingerprints(model) if users else {}
    optimizer = create_optimizer(recipe.optimizer, model)
    scaler = create_scaler(device, variant.precision)
    engine_options = {"device": device, "precision": variant.precision, "memory_format": memory_format}
    wrapped = wrap(model, device, unused=users)
    network = computed_by(wrapped, variant.compute.compiled)
    part = rank_and_world_size()
    trainer = create_trainer(
        network, optimizer, create_loss(recipe.loss, model), scaler=scaler, **engine_options
    )
    evaluator = create_evaluator(network, **engine_options)
    # Coarser logits tie, and a tie counts for the lower class: the numbers of the run are float32's.
    last_evaluator = create_evaluator(wrapped, **{**engine_options, "precision": "float32"})
    train_batches = Batches(
        data.train,
        variant.train_transforms,
        recipe.data.batch_size,
        seed=seed,
        shuffle=True,
        drop_last=recipe.data.drop_last,
        device=device,
        workers=loading_workers(device),
        part=part,
    )
    test_batches = Batches(
        data.evaluation,
        variant.test_transforms,
        evaluation_batch(device),
        seed=seed,
        shuffle=False,
        device=device,
        part=part,
    )
    schedules = attach_schedule(
        trainer,
        optimizer,
        lr_milestones(recipe.schedule, rates, variant.steps_per_epoch),
        momentum_milestones(recipe.schedule, variant.steps_per_epoch),
    )
    stop_on_non_finite_loss(trainer, device)
    attach_bar(trainer, folder.name, say)
    clock = {"started": 0.0}

    def share_outside() -> None:
        if users and part[1] > 1:  # as of buffers, the first device's count
            outside.load_state_dict(broadcast(outside.state_dict()))

    @trainer.on(Events.EPOCH_STARTED)
    def begin_epoch(engine: Engine) -> None:
        share_outside()
        train_batches.set_epoch(engine.state.epoch)
        engine.set_data(train_batches)
        # Dropout knows only torch's global generators; generators_restored() ends that below.
        seed_generators(derive_seed(seed, "dropout", engine.state.epoch, part[0]))
        clock["started"] = time.perf_counter()

    @trainer.on(Events.ITERATION_STARTED)
    def note_rate(engine: Engine) -> None:
        log.rates.append(float(optimizer.param_groups[0]["lr"]))

    @trainer.on(Events.EPOCH_COMPLETED)
    def end_epoch(engine: Engine) -> None:
        synchronize(device)
        trained = time.perf_counter()
        at_end = engine.state.epoch == epochs
        share_outside()
        logits, labels = _evaluate(last_evaluator if at_end else evaluator, test_batches)
        synchronize(device)
        evaluated = time.perf_counter()
        row: dict[str, Any] = {
            "variant": variant.name,
            "seed": seed,
            "epoch": engine.state.epoch,
            "lr": log.rates[(engine.state.epoch - 1) * variant.steps_per_epoch],
            "train_loss": float(engine.state.metrics["loss"]),
            "train_accuracy": float(engine.state.metrics["accuracy"]),
            "test_loss": cross_entropy_from_logits(logits, labels),
            "test_accuracy": accuracy_from_logits(logits, labels),
            "train_seconds": trained - clock["started"],
            "eval_seconds": evaluated - trained,
            "images_per_second": variant.images_an_epoch / (trained - clock["started"]),
        }
        if not math.isfinite(row["test_loss"]):
            raise NonFiniteLoss(engine.state.iteration, engine.state.epoch, evaluated=True)
        log.rows.append(row)
        if (now := log.count_runs()) is not None:
            log.runs_at_once.append(now)
        engine.state.metrics |= row
        if is_leader():
            history = _history(log)
            writer.write(lambda: atomic_write(folder.path / "history.csv", history))
        say(epoch_line(folder.name, epochs, row))

    state: dict[str, Any] = {
        "trainer": trainer,
        "model": model,
        "optimizer": optimizer,
        "scaler": scaler,
        "log": log,
        **schedules,
    }
    if users:
        state["outside"] = outside
    # The rates too: where a range test had to be repeated, they may not be what the checkpoint was made with.
    owner = digest({"variant": variant.digest, "lr_min": rates.lr_min, "lr_max": rates.lr_max})
    writer = Writer(beside=device != "cpu")
    if is_leader() and variant.resumes:
        attach_checkpoint(
            trainer, state, folder.checkpoint_file, owner, writer, whole=lambda: not changed(model, unkept)
        )
    try:
        if load_checkpoint(folder.checkpoint_file, state, owner):
            say(f"{folder.name}  goes on after epoch {len(log.rows)} of {epochs}")
    except RunError as error:
        say(f"{str(error).partition(';')[0]}: the run begins anew")
        idist.barrier()  # all have read it
        folder.drop_checkpoint()
        log.load_state_dict({"rows": [], "rates": [], "origins": []})
        return _train(variant, folder, data, rates, log, say, profile, tracker)
    idist.barrier()  # nobody writes the next checkpoint before all have read this one
    if tracker is not None:
        tracker.follow(variant, folder, trainer, optimizer, say)
    done = len(log.rows)
    watch = Profile(trainer, device) if profile and done < epochs else None
    with writer, generators_restored():
        if done < epochs:
            trainer.run(train_batches, max_epochs=epochs, epoch_length=variant.steps_per_epoch)
        else:  # killed between the last epoch and the end of the run
            last_evaluator.run(test_batches)
    if users and variant.resumes and (names := changed(model, unkept)):
        doubt = (
            f"its network's {names} changed; model.safetensors holds numbers and tensors alone, so the "
            "network may give other results once it is loaded"
        )
        log.doubts.append(doubt)
        say(f"{folder.name}  warning: {doubt}")
    if watch is not None:
        rates_seen = [row["images_per_second"] for row in log.rows[done:]]
        say(f"{folder.name}  profile: {watch.write(folder.path / 'profile', variant, rates_seen)}")
    return *_predictions(last_evaluator), model


def _evaluate(evaluator: Engine, batches: Batches) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    evaluator.run(batches)
    return _predictions(evaluator)


def _predictions(evaluator: Engine) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    logits, labels = evaluator.state.predictions  # type: ignore[attr-defined]
    return logits.numpy(), labels.numpy()


def _write_artefacts(
    variant: Variant,
    folder: RunFolder,
    log: Log,
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    model: torch.nn.Module,
) -> None:
    archive = io.BytesIO()
    np.savez(archive, logits=logits, labels=labels)
    atomic_write(folder.path / "predictions.npz", archive.getvalue())
    atomic_write(folder.weights_file, weights_bytes(model, variant.network))
    atomic_write(folder.path / "history.csv", _history(log))
    steps = [
        (variant.name, step + 1, step // variant.steps_per_epoch + 1, lr) for step, lr in enumerate(log.rates)
    ]
    atomic_write(folder.path / "learning_rates.csv", csv_text(LEARNING_RATES, steps))


def _metrics(log: Log, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Any]:
    """The run's numbers: those of the last epoch; the best one is only mentioned."""
    accuracies = [row["test_accuracy"] for row in log.rows]
    best = max(accuracies)
    return {
        "epochs": len(log.rows),
        "test_accuracy": accuracy_from_logits(logits, labels),
        "test_loss": cross_entropy_from_logits(logits, labels),
        "test_ties": count_ties(logits),
        "train_accuracy": log.rows[-1]["train_accuracy"],
        "best_test_accuracy": best,
        "best_epoch": accuracies.index(best) + 1,
    }


def _timings(log: Log) -> dict[str, Any]:
    """Seconds of training and evaluation, over all the processes that worked on the run.

    ``runs_at_once``: fewest and most runs on the device at an epoch's end, this one included.
    """
    train = math.fsum(row["train_seconds"] for row in log.rows)
    evaluation = math.fsum(row["eval_seconds"] for row in log.rows)
    timings: dict[str, Any] = {
        "seconds": train + evaluation,
        "train_seconds": train,
        "eval_seconds": evaluation,
    }
    if log.runs_at_once and len(log.runs_at_once) == len(log.rows):
        timings["runs_at_once"] = [min(log.runs_at_once), max(log.runs_at_once)]
    if log.rows:
        timings["images_per_second"] = float(np.median([row["images_per_second"] for row in log.rows]))
    return timings


def _history(log: Log) -> str:
    return csv_text(HISTORY, ([row[column] for column in HISTORY] for row in log.rows))
