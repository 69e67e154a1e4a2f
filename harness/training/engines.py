"""Ignite engines: the training step and the evaluation, and the handlers that set rate and momentum."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from operator import itemgetter
from typing import Any

import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from ignite.handlers import EpochOutputStore
from ignite.handlers.param_scheduler import PiecewiseLinear
from ignite.metrics import Accuracy, Loss
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from harness.device import autocast, release_memory, without_tf32
from harness.errors import StudyError
from harness.losses import Criterion, TrainLoss
from harness.models.outputs import logits_of
from harness.optimizers import scale_rates
from harness.schedule import Milestones
from harness.training.accumulation import Accumulation
from harness.training.distributed import communicating, gather, loss_weight

AUXILIARY_WEIGHT = 0.3  # of an auxiliary head's loss; Szegedy et al., "Going Deeper with Convolutions" (2015)
RELEASE_EVERY = 64  # steps; each time costs as much as a sixth of a step


def create_trainer(
    model: nn.Module,
    optimizer: Optimizer,
    loss: Criterion,
    *,
    device: str,
    precision: str,
    memory_format: torch.memory_format = torch.preserve_format,
    scaler: torch.amp.GradScaler | None = None,
    clip_norm: float | None = None,
    accumulation: Accumulation | None = None,
) -> Engine:
    """Create a trainer whose step is forward, backward and, at the end of a group, optimizer step.

    Where a network gives auxiliary logits, their cross-entropy is added, times ``AUXILIARY_WEIGHT``.

    Args:
        scaler: keeps float16 gradients from vanishing; see :func:`create_scaler`.
        clip_norm: the largest norm of a step's gradient, over all parameters; a larger one is scaled down.
        accumulation: which batches share a step; None for none.

    Returns:
        A trainer. Its batches are (images ``(N, 3, H, W)``, labels ``(N,)``) on the device; the labels of
        mixed images are each class's share, ``(N, classes)``. Its output is a dict of the batch's mean
        ``loss`` (0-d), ``logits`` (N, classes) float32 and ``labels`` (N,), of mixed images those of the
        largest share; all detached and still on the device. ``trainer.state.metrics`` has the epoch's
        ``loss`` and ``accuracy``, over the batches as trained on.
    """
    scaler = scaler or create_scaler(device, precision)
    accumulation = accumulation or Accumulation()
    model.train()  # a user's new network may have modules in evaluation mode

    def step(engine: Engine, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        images, labels = batch[0].to(memory_format=memory_format), batch[1]
        if not model.training:  # only if needed: train() visits all modules
            model.train()
        first, last, share = accumulation.place(engine)
        if first:
            optimizer.zero_grad(set_to_none=True)
        with communicating(model, last):
            with autocast(device, precision):
                logits, *auxiliary = [logits.float() for logits in logits_of(model(images))]
                value = loss(logits, labels)
                for other in auxiliary:
                    value = value + AUXILIARY_WEIGHT * F.cross_entropy(other, labels)
            amount = loss.amount(labels) if isinstance(loss, TrainLoss) else float(len(labels))
            weight = share * loss_weight(amount, device)
            scaler.scale(value * weight).backward()  # type: ignore[no-untyped-call]
        if last:
            _take_step(optimizer, scaler, clip_norm)
        hard = labels.argmax(1) if labels.ndim == 2 else labels
        return {"loss": value.detach(), "logits": logits.detach(), "labels": hard}

    trainer = _engine(step)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=RELEASE_EVERY), lambda: release_memory(device))
    Accuracy(itemgetter("logits", "labels"), device=device).attach(trainer, "accuracy")
    # Ignite's Loss weighs each batch by its size; the value itself is already there.
    loss_metric = Loss(lambda value, labels: value, itemgetter("loss", "labels"), device=device)
    loss_metric.attach(trainer, "loss")
    return trainer


def _take_step(optimizer: Optimizer, scaler: torch.amp.GradScaler, clip_norm: float | None) -> None:
    if clip_norm is not None:
        scaler.unscale_(optimizer)
        clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip_norm)
    scaler.step(optimizer)
    scaler.update()


def _engine(step: Callable[..., Any]) -> Engine:
    """Create an engine that does not log why it stopped, since its caller reports it."""
    engine = Engine(step)
    engine.logger.setLevel(logging.CRITICAL)
    return engine


def create_scaler(device: str, precision: str) -> torch.amp.GradScaler:
    """Create a loss scaler; it is active only in float16."""
    return torch.amp.GradScaler(torch.device(device).type, enabled=precision == "float16")


def create_evaluator(
    model: nn.Module,
    *,
    device: str,
    precision: str,
    memory_format: torch.memory_format = torch.preserve_format,
) -> Engine:
    """Create an engine that leaves float32 logits (N, C) and labels (N,) in ``state.predictions``.

    In float32 it does not compute in TF32.
    """

    def step(engine: Engine, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = batch[0].to(memory_format=memory_format), batch[1]
        if model.training:
            model.eval()
        exact = without_tf32() if precision == "float32" else nullcontext()
        with torch.no_grad(), autocast(device, precision), exact:
            return model(images).float(), labels

    evaluator = _engine(step)
    store = EpochOutputStore()
    store.attach(evaluator)

    @evaluator.on(Events.COMPLETED)
    def keep(engine: Engine) -> None:
        logits, labels = zip(*gather(store.data), strict=True)
        engine.state.predictions = torch.cat(logits).cpu(), torch.cat(labels).cpu()  # type: ignore[attr-defined]
        store.reset()

    return evaluator


class Beta1(PiecewiseLinear):
    """A ``PiecewiseLinear`` that sets Adam's beta1, which is the first number of a tuple."""

    def __call__(self, engine: Engine | None, name: str | None = None) -> None:
        """Set beta1 in every parameter group."""
        for group in self.optimizer_param_groups:
            group["betas"] = (self.get_param(), group["betas"][1])
        self.event_index += 1


def attach_schedule(
    trainer: Engine, optimizer: Optimizer, rates: Milestones, momentum: Milestones | None
) -> dict[str, PiecewiseLinear]:
    """Set the learning rate (and momentum or beta1) of all parameter groups before every step.

    Returns:
        The handlers, by their names in a checkpoint.

    Raises:
        StudyError: momentum is to be cycled, but the optimizer has none.
    """
    handlers = {"schedule": PiecewiseLinear(optimizer, "lr", milestones_values=rates)}
    if momentum is not None:
        group = optimizer.param_groups[0]
        if "betas" in group:
            handlers["momentum"] = Beta1(optimizer, "beta1", milestones_values=momentum)
        elif "momentum" in group:
            handlers["momentum"] = PiecewiseLinear(optimizer, "momentum", milestones_values=momentum)
        else:
            raise StudyError("schedule.cycle_momentum: this optimizer has neither momentum nor betas")
    for handler in handlers.values():
        trainer.add_event_handler(Events.ITERATION_STARTED, handler)
    if "lr_factor" in optimizer.param_groups[0]:
        trainer.add_event_handler(Events.ITERATION_STARTED, scale_rates, optimizer)
    return handlers
