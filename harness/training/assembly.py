"""Assemble the parts that train a variant: network, optimizer, loss, scaler, schedule, engines, batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from ignite.engine import Engine
from ignite.handlers.param_scheduler import PiecewiseLinear
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.data.arrays import Data
from harness.data.batches import Batches
from harness.device import computed_by, loading_workers
from harness.losses import create_loss
from harness.models import MODELS
from harness.models.outside import OutsideState, changed, fingerprints
from harness.optimizers import create_optimizer
from harness.plan import Variant
from harness.schedule import Rates, lr_milestones, momentum_milestones
from harness.study_file.averaging import NoAveraging, Swa
from harness.training.accumulation import Accumulation
from harness.training.averaging import Averaging, create_averaging
from harness.training.distributed import rank_and_world_size, wrap
from harness.training.engines import (
    attach_schedule,
    create_evaluator,
    create_scaler,
    create_trainer,
)


@dataclass(frozen=True)
class Assembly:
    """A network, and the objects that train and evaluate it.

    Attributes:
        model: the bare network, neither compiled nor wrapped.
        schedules: the handlers that set rate and momentum; empty without rates.
        evaluator: computes in the variant's precision, with the averaged network if there is one.
        final_evaluator: likewise in float32. Coarser logits tie; a tie counts for the first class.
        averaging: the average of its weights; None where nothing is averaged.
        raw_evaluators: of the weights as trained, in both precisions; None likewise.
        outside: the state of a user's network that is not in its ``state_dict``.
        unsaveable: fingerprints of the attributes of a user's new network that no checkpoint can hold.
    """

    model: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    schedules: dict[str, PiecewiseLinear]
    trainer: Engine
    evaluator: Engine
    final_evaluator: Engine
    averaging: Averaging | None
    raw_evaluators: tuple[Engine, Engine] | None
    outside: OutsideState | None
    unsaveable: dict[str, str]

    @property
    def result(self) -> nn.Module:
        """Return the network that is evaluated and saved: the averaged one if there is one."""
        return self.model if self.averaging is None else self.averaging.network

    def state(self) -> dict[str, Any]:
        """Return the objects with a state, by their names in a checkpoint."""
        parts = {"trainer": self.trainer, "model": self.model, "optimizer": self.optimizer}
        others = {"outside": self.outside, "averaging": self.averaging}
        present = {name: part for name, part in others.items() if part is not None}
        return {**parts, "scaler": self.scaler, **self.schedules, **present}

    def unsaved(self) -> str:
        """Name what has changed in the network and cannot be saved in a checkpoint; empty without any."""
        return "" if self.outside is None else changed(self.model, self.unsaveable)


def assemble(
    variant: Variant,
    model: nn.Module,
    rates: Rates | None = None,
    *,
    compiled: bool = False,
    shared: bool = False,
    averaged: bool = False,
) -> Assembly:
    """Make the objects that train a new network.

    Args:
        rates: of the schedule; with None the caller sets the rate.
        compiled: compute with the network's compiled form.
        shared: train it with the other processes of the group.
        averaged: average its weights, if the study says so; a range test does not.

    Raises:
        RunError: the network cannot be averaged.
    """
    recipe, device = variant.recipe, variant.device
    imported = recipe.model.name not in MODELS
    outside = OutsideState(model) if imported else None
    unsaveable = fingerprints(model) if imported else {}
    optimizer = create_optimizer(recipe.optimizer, model)
    scaler = create_scaler(device, variant.precision)
    layout = getattr(torch, variant.compute.memory_format)
    options: dict[str, Any] = {"device": device, "precision": variant.precision, "memory_format": layout}
    # before DDP converts its batch norm: each process evaluates the averaged network for itself
    averaging = create_averaging(recipe.averaging, model, device, variant.precision) if averaged else None
    wrapped = wrap(model, device, unused=imported) if shared else model
    network = computed_by(wrapped, compiled)
    trainer = create_trainer(
        network,
        optimizer,
        create_loss(recipe.loss, model, variant.class_weights),
        scaler=scaler,
        clip_norm=recipe.optimizer.clip_norm,
        accumulation=Accumulation(recipe.optimizer.accumulate, recipe.data.batch_size, variant.last_batch),
        **options,
    )
    raw = evaluators = _evaluators(network, wrapped, options)
    if averaging is not None:
        averaging.attach(trainer)
        evaluators = _evaluators(computed_by(averaging.network, compiled), averaging.network, options)
    return Assembly(
        model,
        optimizer,
        scaler,
        {} if rates is None else _attach_rates(trainer, optimizer, variant, rates),
        trainer,
        *evaluators,
        averaging,
        None if averaging is None else raw,
        outside,
        unsaveable,
    )


def _attach_rates(
    trainer: Engine, optimizer: Optimizer, variant: Variant, rates: Rates
) -> dict[str, PiecewiseLinear]:
    schedule, steps = variant.recipe.schedule, variant.steps_per_epoch
    milestones = lr_milestones(schedule, rates, steps)
    return attach_schedule(trainer, optimizer, milestones, momentum_milestones(schedule, steps))


def _evaluators(network: nn.Module, eager: nn.Module, options: dict[str, Any]) -> tuple[Engine, Engine]:
    """Return an evaluator in the variant's precision, and one in float32 of the network's eager form."""
    return create_evaluator(network, **options), create_evaluator(
        eager, **{**options, "precision": "float32"}
    )


def averaging_at_once(variant: Variant) -> Variant:
    """Return the variant with an update of its average, if it has one, after every batch."""
    averaging = variant.recipe.averaging
    if isinstance(averaging, NoAveraging):
        return variant
    at_once = averaging.model_copy(update={"every": 1, "start_epoch": 1})
    return replace(variant, recipe=variant.recipe.model_copy(update={"averaging": at_once}))


def train_batches(
    variant: Variant,
    data: Data,
    seed: int,
    *,
    augmentation: int | None = None,
    purpose: str = "train",
    shared: bool = False,
) -> Batches:
    """Return a variant's train batches, augmented and mixed.

    Args:
        seed: of the order.
        augmentation: the seed of the augmentation; that of the order where it is None.
        purpose: separates the draws of the range test from those of a run with the same seed.
        shared: only this process's part of each batch.
    """
    return Batches(
        data.train,
        variant.train_transforms,
        variant.recipe.data.batch_size,
        seed=seed,
        augmentation=augmentation,
        purpose=purpose,
        shuffle=True,
        sampler=variant.recipe.data.sampler,
        drop_last=variant.recipe.data.drop_last,
        device=variant.device,
        workers=loading_workers(variant.device),
        part=rank_and_world_size() if shared else (0, 1),
        mixing=variant.recipe.augment.batch,
    )


def evaluation_batches(variant: Variant, data: Data, seed: int) -> Batches:
    """Return the batches of the evaluation split, with this process's part of each.

    Args:
        seed: of what the test pipeline draws, if anything.
    """
    return Batches(
        data.evaluation,
        variant.test_transforms,
        evaluation_batch(variant.device),
        seed=seed,
        shuffle=False,
        device=variant.device,
        part=rank_and_world_size(),
    )


def statistics_batches(
    variant: Variant, data: Data, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield un-augmented train batches, in an order of the epoch, for batch norm's statistics in SWA.

    They are whole batches in every process of a run, so that these agree.

    Args:
        seed: of the order.
    """
    averaging, batch_size = variant.recipe.averaging, variant.recipe.data.batch_size
    if not isinstance(averaging, Swa):
        return
    batches = Batches(
        data.train,
        variant.test_transforms,
        batch_size,
        seed=seed,
        purpose="statistics",
        shuffle=True,
        drop_last=variant.recipe.data.drop_last,
        device=variant.device,
    )
    batches.set_epoch(epoch)
    layout = getattr(torch, variant.compute.memory_format)
    count = None if averaging.bn_images is None else -(-averaging.bn_images // batch_size)
    for images, labels in islice(batches, count):
        yield images.to(memory_format=layout), labels


def evaluation_batch(device: str) -> int:
    """Return the batch size of evaluation: small for a CPU's memory, large enough to keep a GPU busy."""
    return 500 if torch.device(device).type == "cpu" else 2500
