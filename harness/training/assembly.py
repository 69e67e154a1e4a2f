"""What trains a variant, put together: network, optimizer, loss, scaler, schedule, engines, batches."""

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
    """A network and all that trains and evaluates it.

    Attributes:
        model: the bare network, neither compiled nor wrapped.
        schedules: the handlers that set rate and momentum; empty without rates.
        evaluator: computes in the variant's precision.
        final_evaluator: computes in float32. Coarser logits tie, and a tie counts for the lower class.
        outside: what a user's network keeps outside its ``state_dict``.
        unkept: fingerprints of what no checkpoint of a user's network can hold, as it was made.
    """

    model: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    schedules: dict[str, PiecewiseLinear]
    trainer: Engine
    evaluator: Engine
    final_evaluator: Engine
    outside: OutsideState | None
    unkept: dict[str, str]

    def state(self) -> dict[str, Any]:
        """Return the parts that have a state, by their names in a checkpoint."""
        parts = {"trainer": self.trainer, "model": self.model, "optimizer": self.optimizer}
        outside = {} if self.outside is None else {"outside": self.outside}
        return {**parts, "scaler": self.scaler, **self.schedules, **outside}

    def lost(self) -> str:
        """Name what has changed in the network and is in no checkpoint; empty where nothing has."""
        return "" if self.outside is None else changed(self.model, self.unkept)


def assemble(
    variant: Variant,
    model: nn.Module,
    rates: Rates | None = None,
    *,
    compiled: bool = False,
    shared: bool = False,
) -> Assembly:
    """Put together what trains a fresh network.

    Args:
        rates: of the schedule; without them the caller sets the rate.
        compiled: compute with what ``torch.compile`` makes of the network.
        shared: train it with the other processes of the group.
    """
    recipe, device, steps = variant.recipe, variant.device, variant.steps_per_epoch
    users = recipe.model.name not in MODELS
    outside = OutsideState(model) if users else None
    unkept = fingerprints(model) if users else {}
    optimizer = create_optimizer(recipe.optimizer, model)
    scaler = create_scaler(device, variant.precision)
    layout = getattr(torch, variant.compute.memory_format)
    options: dict[str, Any] = {"device": device, "precision": variant.precision, "memory_format": layout}
    wrapped = wrap(model, device, unused=users) if shared else model
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
    return Assembly(model, optimizer, scaler, schedules, trainer, evaluator, final_evaluator, outside, unkept)


def train_batches(
    variant: Variant, data: Data, seed: int, *, purpose: str = "train", shared: bool = False
) -> Batches:
    """Return a variant's augmented train batches.

    Args:
        purpose: keeps the draws of the range test apart from those of a run with the same seed.
        shared: this process's part of each batch, as one of a group.
    """
    return Batches(
        data.train,
        variant.train_transforms,
        variant.recipe.data.batch_size,
        seed=seed,
        purpose=purpose,
        shuffle=True,
        drop_last=variant.recipe.data.drop_last,
        device=variant.device,
        workers=loading_workers(variant.device),
        part=rank_and_world_size() if shared else (0, 1),
    )


def evaluation_batches(variant: Variant, data: Data, seed: int) -> Batches:
    """Return the batches of the evaluation split; of each, this process's part."""
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
    """Return how many images to evaluate at once: few for a CPU's memory, enough to keep a GPU busy."""
    return 500 if torch.device(device).type == "cpu" else 2500
