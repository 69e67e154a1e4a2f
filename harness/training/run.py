"""One run: from a variant and a seed to a finished run folder; a killed run resumes from its checkpoint."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import ignite.distributed as idist
import numpy as np
from ignite.engine import Events
from numpy.typing import NDArray
from torch import nn

from harness.data.arrays import Data
from harness.device import prepare
from harness.errors import RunError
from harness.metrics import METRICS, measure, metric_of
from harness.models.weights import weights_bytes
from harness.plan import Variant
from harness.schedule import Rates
from harness.seeding import RunSeeds, generators_restored, global_seed
from harness.statistics.classification import count_ties, cross_entropy_from_logits
from harness.store.atomic import atomic_write
from harness.store.folders import RunFolder
from harness.store.records import RunRecord
from harness.store.run_files import OLD_METRICS, with_old_names
from harness.store.sealed import digest
from harness.trackers import GuardedTracker
from harness.training.assembly import (
    Assembly,
    assemble,
    evaluation_batches,
    statistics_batches,
    train_batches,
)
from harness.training.checkpoint import CheckpointSaver, EpochCheckpoint, Writer, load_checkpoint
from harness.training.distributed import is_leader
from harness.training.failures import NonFiniteLoss, failure, first_record
from harness.training.handlers import (
    Evaluation,
    StopOnNonFiniteLoss,
    predictions,
    report_epoch,
    seed_epoch,
    share_outside_state,
    write_history,
)
from harness.training.log import Log
from harness.training.profile import Profile
from harness.training.progress import Say, silent, watch, within_run
from harness.training.provenance import provenance, with_leakage
from harness.training.sharing import count_runs_on

# The provenance that may differ between the processes of a run that was killed and resumed.
ORIGIN = ("harness", "git", "versions", "hardware", "device", "precision", "threads", "batches")


@dataclass(frozen=True)
class TrainingRun:
    """A run as one process trains it: its inputs, and where it reports; see :func:`execute`."""

    variant: Variant
    folder: RunFolder
    data: Data
    rates: Rates
    log: Log
    say: Say = silent
    profile: bool = False
    tracker: GuardedTracker | None = None

    @property
    def epochs(self) -> int:
        """Return the number of epochs."""
        return self.variant.recipe.schedule.epochs

    @property
    def seeds(self) -> RunSeeds:
        """Return the seed of each source of randomness."""
        return self.variant.recipe.run_seeds(self.folder.seed)

    @property
    def owner(self) -> str:
        """Return the digest of its checkpoint; it includes the rates, which a new range test may change."""
        rates = {"lr_min": self.rates.lr_min, "lr_max": self.rates.lr_max}
        return digest({"variant": self.variant.digest, **rates})


class TrainingResult(NamedTuple):
    """The last epoch's logits ``(N, classes)`` and labels ``(N,)``, and the trained network."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    model: nn.Module


def execute(
    variant: Variant,
    folder: RunFolder,
    data: Data,
    rates: Rates,
    *,
    threads: int,
    say: Say,
    profile: bool = False,
    tracker: GuardedTracker | None = None,
) -> RunRecord:
    """Train one run to its end, or record why it failed.

    The caller holds the folder's lock, and has checked that its content belongs to this variant.

    Args:
        profile: write into the run's ``profile/`` how its time was spent.
        tracker: a further tool that shows the run, such as MLflow.

    Returns:
        The content of run.json; its ``status`` is ``finished`` or ``failed``.
    """
    folder.clean()
    log = Log(variant, folder.seed)
    record = first_record(variant, folder)
    recipe = variant.recipe.model_dump(mode="json")
    recipe["augment"] |= {"train": variant.train_transforms, "test": variant.test_transforms}
    record = replace(
        record,
        metrics={**record.metrics, "lr_min": rates.lr_min, "lr_max": rates.lr_max},
        recipe=recipe,
    )
    try:
        prepare(variant.device, threads)
        record = replace(record, provenance=provenance(variant, data, threads))
        log.origin = {key: record.provenance[key] for key in ORIGIN}
        folder.write(record)
        with count_runs_on(variant.device) as log.count_runs:
            result = _train(TrainingRun(variant, folder, data, rates, log, say, profile, tracker))
        _write_artefacts(variant, folder, data, log, result)
        record = replace(record, provenance=with_leakage(record.provenance, data))
        record = replace(_ended(record, log, _metrics(log, result)), status="finished", doubts=log.doubts)
        folder.finish(record)
    except Exception as error:
        history = log.history()
        with suppress(RunError):  # on a full disk: the record matters more
            atomic_write(folder.path / "history.csv", history)
        if isinstance(error, NonFiniteLoss):  # this is a result: there is nothing to resume
            folder.drop_checkpoint()
        record = replace(
            _ended(record, log, {"epochs": len(log.epochs)}),
            status="failed",
            error=failure(error, variant),
            doubts=[],
            files={"history.csv": hashlib.sha256(history.encode()).hexdigest()},
        )
        folder.write(record)
    if tracker is not None:
        tracker.end(folder, record.to_json(), say)
    return record


def take_part(variant: Variant, folder: RunFolder, data: Data, rates: Rates, threads: int) -> None:
    """Train a run as a follower: on this process's part of every batch, without writing anything."""
    prepare(variant.device, threads)
    with suppress(NonFiniteLoss):  # it is raised in all processes at once
        _train(TrainingRun(variant, folder, data, rates, Log(variant, folder.seed)))


def _train(run: TrainingRun) -> TrainingResult:
    """Assemble or resume a run, attach the handlers, and train to the last epoch."""
    variant, folder, log, seeds = run.variant, run.folder, run.log, run.seeds
    assembly = _resume(run)
    trainer = assembly.trainer
    batches = train_batches(variant, run.data, seeds.order, augmentation=seeds.augmentation, shared=True)
    test_batches = evaluation_batches(variant, run.data, seeds.augmentation)
    writer = Writer(beside=variant.device != "cpu")
    attach = trainer.add_event_handler  # handlers of one event are called in this order

    StopOnNonFiniteLoss(variant.device).attach(trainer)
    watch(trainer, run.say, within_run)
    if assembly.outside is not None and idist.get_world_size() > 1:
        attach(Events.EPOCH_STARTED | Events.EPOCH_COMPLETED, share_outside_state, assembly.outside)
    attach(Events.EPOCH_STARTED, seed_epoch, batches, seeds.dropout)
    attach(Events.EPOCH_STARTED, log.start_clock)
    attach(Events.ITERATION_STARTED, log.note_rate, assembly.optimizer)
    attach(Events.EPOCH_COMPLETED, log.stop_clock)
    statistics = partial(statistics_batches, variant, run.data, seeds.order)
    attach(Events.EPOCH_COMPLETED, Evaluation(assembly, test_batches, variant.device, statistics))
    attach(Events.EPOCH_COMPLETED, log.end_epoch)
    if is_leader():
        attach(Events.EPOCH_COMPLETED, write_history, log, folder.path / "history.csv", writer)
    attach(Events.EPOCH_COMPLETED, report_epoch, log, folder.name, run.epochs, run.say)
    if is_leader() and variant.resumes:
        state = {**assembly.state(), "log": log}
        saver = CheckpointSaver(folder.checkpoint_file, run.owner, writer)
        attach(Events.EPOCH_COMPLETED, EpochCheckpoint(state, saver, unsaved=assembly.unsaved))
    if run.tracker is not None:
        rows = log.state_dict()["rows"]
        run.tracker.follow(variant, folder, trainer, assembly.optimizer, rows, run.say)
    done = len(log.epochs)
    profile = Profile(trainer, variant.device) if run.profile and done < run.epochs else None

    with writer, generators_restored():
        if done < run.epochs:
            trainer.run(batches, max_epochs=run.epochs, epoch_length=variant.steps_per_epoch)
        else:  # killed between the last epoch and the end of the run
            assembly.final_evaluator.run(test_batches)
    _check_outside_state(run, assembly)
    if profile is not None:
        speeds = [row.images_per_second for row in log.epochs[done:]]
        run.say(f"{folder.name}  profile: {profile.write(folder.path / 'profile', variant, speeds)}")
    return TrainingResult(*predictions(assembly.final_evaluator), assembly.result)


def _resume(run: TrainingRun) -> Assembly:
    """Return the assembly with the state of the run's checkpoint; a new one without a usable checkpoint."""
    assembly, name = _new(run), run.folder.name
    try:
        state = {**assembly.state(), "log": run.log}
        if load_checkpoint(run.folder.checkpoint_file, state, run.owner):
            run.say(f"{name}  resuming after epoch {len(run.log.epochs)} of {run.epochs}")
    except RunError as error:
        run.say(f"{str(error).partition(';')[0]}: the run restarts")
        idist.barrier()  # wait until all processes have read it
        run.folder.drop_checkpoint()
        run.log.load_state_dict({"rows": [], "rates": [], "origins": []})
        assembly = _new(run)  # the damaged checkpoint may have changed the first one
    idist.barrier()  # wait until all have read it, before the next one is written
    return assembly


def _new(run: TrainingRun) -> Assembly:
    with global_seed(run.seeds.initialisation, "initialisation"):
        model = run.variant.new_network(run.data)
    compiled = run.variant.compute.compiled
    return assemble(run.variant, model, run.rates, compiled=compiled, shared=True, averaged=True)


def _check_outside_state(run: TrainingRun, assembly: Assembly) -> None:
    """Add a doubt where state of the network has changed that is in neither checkpoint nor weights."""
    if run.variant.resumes and (names := assembly.unsaved()):
        doubt = (
            f"its network's {names} changed; model.safetensors holds numbers and tensors alone, so the "
            "network may give other results once it is loaded"
        )
        run.log.doubts.append(doubt)
        run.say(f"{run.folder.name}  warning: {doubt}")


def _write_artefacts(
    variant: Variant, folder: RunFolder, data: Data, log: Log, result: TrainingResult
) -> None:
    archive = io.BytesIO()
    arrays: dict[str, Any] = {"logits": result.logits, "labels": result.labels}
    if data.evaluation.clusters is not None:
        arrays["clusters"] = data.evaluation.clusters
    np.savez(archive, **arrays)
    atomic_write(folder.path / "predictions.npz", archive.getvalue())
    atomic_write(folder.weights_file, weights_bytes(result.model, variant.network))
    atomic_write(folder.path / "history.csv", log.history())
    atomic_write(folder.path / "learning_rates.csv", log.learning_rates())


def _ended(record: RunRecord, log: Log, metrics: dict[str, Any]) -> RunRecord:
    """Add to a record what is known at the end of a run, finished or failed."""
    return replace(
        record,
        metrics=record.metrics | metrics,
        provenance={
            **record.provenance,
            "earlier": log.earlier_origins,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        timings=log.timings(),
    )


def _metrics(log: Log, result: TrainingResult) -> dict[str, Any]:
    """Return the metrics of the last epoch; and the best epoch, for information."""
    accuracies, last = [row.eval_accuracy for row in log.epochs], log.epochs[-1]
    raw = {"raw_accuracy": last.raw_accuracy, "raw_loss": last.raw_loss}
    metrics = [*METRICS.values(), *(metric_of(name) for name in log.variant.own_metrics)]
    values, failed = measure(result.logits, result.labels, metrics)
    log.doubts += failed
    numbers = {
        "epochs": len(log.epochs),
        **values,
        "loss": cross_entropy_from_logits(result.logits, result.labels),
        "ties": count_ties(result.logits),
        **{name: value for name, value in raw.items() if value is not None},
        "train_accuracy": last.train_accuracy,
        "best_accuracy": max(accuracies),
        "best_epoch": accuracies.index(max(accuracies)) + 1,
    }
    return with_old_names(numbers, OLD_METRICS)
