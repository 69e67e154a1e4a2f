"""Assemble the parts that train a variant: network, optimizer, loss, scaler, schedule, engines, batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine
from ignite.handlers.param_scheduler import PiecewiseLinear
from torch import nn
from torch.optim import Optimizer

from harness.data.arrays import Data
from harness.data.batches import Batches
from harness.device import computed_by, loading_workers
from harness.models import MODELS
from harness.models.outside import OutsideState, changed, fingerprints
from harness.optimizers import create_optimizer
from harness.plan import Variant
from harness.schedule import Rates, lr_milestones, momentum_milestones
from harness.training.distributed import rank_and_world_size, wrap
from harness.training.engines import (
    attach_schedule,
    create_evaluator,
    create_loss,
    create_scaler,
    create_trainer,
)


@dataclass(frozen=True)
class Assembly:
    """A network, and the objects that train and evaluate it.

    Attributes:
        model: the bare network, neither compiled nor wrapped.
        schedules: the handlers that set rate and momentum; empty without rates.
        evaluator: computes in the variant's precision.
        final_evaluator: computes in float32. Coarser logits tie; a tie counts for the first class.
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
    outside: OutsideState | None
    unsaveable: dict[str, str]

    def state(self) -> dict[str, Any]:
        """Return the objects with a state, by their names in a checkpoint."""
        parts = {"trainer": self.trainer, "model": self.model, "optimizer": self.optimizer}
        outside = {} if self.outside is None else {"outside": self.outside}
        return {**parts, "scaler": self.scaler, **self.schedules, **outside}

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
) -> Assembly:
    """Make the objects that train a new network.

    Args:
        rates: of the schedule; with None the caller sets the rate.
        compiled: compute with the network's compiled form.
        shared: train it with the other processes of the group.
    """
    recipe, device, steps = variant.recipe, variant.device, variant.steps_per_epoch
    imported = recipe.model.name not in MODELS
    outside = OutsideState(model) if imported else None
    unsaveable = fingerprints(model) if imported else {}
    optimizer = create_optimizer(recipe.optimizer, model)
    scaler = create_scaler(device, variant.precision)
    layout = getattr(torch, variant.compute.memory_format)
    options: dict[str, Any] = {"device": device, "precision": variant.precision, "memory_format": layout}
    wrapped = wrap(model, device, unused=imported) if shared else model
    network = computed_by(wrapped, compiled)
    trainer = create_trainer(network, optimizer, create_loss(recipe.loss, model), scaler=scaler, **options)
    evaluator = create_evaluator(network, **options)
    final_evaluator = create_evaluator(wrapped, **{**options, "precision": "float32"})
    schedules = {}
    if rates is not None:
        milestones = lr_milestones(recipe.schedule, rates, steps)
        schedules = attach_schedule(
            trainer, optimizer, milestones, momentum_milestones(recipe.schedule, steps)
        )
    return Assembly(
        model, optimizer, scaler, schedules, trainer, evaluator, final_evaluator, outside, unsaveable
    )


def train_batches(
    variant: Variant,
    data: Data,
    seed: int,
    *,
    augmentation: int | None = None,
    purpose: str = "train",
    shared: bool = False,
) -> Batches:
    """Return a variant's augmented train batches.

    Args:
        seed: of the order.
        augmentation: the seed of the augmentation; that of the order where it is None.
        purpose: keeps the draws of the range test apart from those of a run with the same seed.
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


def evaluation_batch(device: str) -> int:
    """Return the batch size of evaluation: small for a CPU's memory, large enough to keep a GPU busy."""
    return 500 if torch.device(device).type == "cpu" else 2500
