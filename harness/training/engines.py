"""Ignite engines: the training step, the evaluation, the schedule's handlers; who listens is not known."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from ignite.handlers import EpochOutputStore
from ignite.handlers.param_scheduler import PiecewiseLinear
from ignite.metrics import Accuracy, Loss
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.device import autocast, release_memory
from harness.errors import StudyError
from harness.models.outputs import logits_of
from harness.schedule import Milestones
from harness.study_file.config import Loss as LossConfig
from harness.training.distributed import gather, loss_weight

AUXILIARY_WEIGHT = 0.3  # of an auxiliary head's loss: Szegedy et al., "Going Deeper with Convolutions" (2015)
RELEASE_EVERY = 64  # steps; each time costs as much as a sixth of a step

LossFunction = Callable[[Tensor, Tensor], Tensor]


def create_trainer(
    model: nn.Module,
    optimizer: Optimizer,
    loss: LossFunction,
    *,
    device: str,
    precision: str,
    memory_format: torch.memory_format = torch.preserve_format,
    scaler: torch.amp.GradScaler | None = None,
) -> Engine:
    """An engine whose step is forward, backward, optimizer step, and nothing else.

    Where a network gives auxiliary logits too, their cross-entropy counts with ``AUXILIARY_WEIGHT``.

    Its batches are (images (N, 3, H, W), labels (N,)) on the device; its output is a dict of the batch's mean
    ``loss`` (0-d), ``logits`` (N, classes) float32 and ``labels`` (N,), all detached and still on the device.
    ``trainer.state.metrics`` has the epoch's ``loss`` and ``accuracy``, over the batches as trained on.
    ``scaler`` keeps float16 gradients from vanishing; see :func:`create_scaler`.
    """
    scaler = scaler or create_scaler(device, precision)
    model.train()  # also one that is new: a user's may leave parts in evaluation mode there

    def step(engine: Engine, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        images, labels = batch[0].to(memory_format=memory_format), batch[1]
        if not model.training:  # it walks through all modules
            model.train()
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, precision):
            logits, *auxiliary = [each.float() for each in logits_of(model(images))]
            value = loss(logits, labels)
            for other in auxiliary:
                value = value + AUXILIARY_WEIGHT * F.cross_entropy(other, labels)
        scaler.scale(value * loss_weight(len(labels), device)).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
        return {"loss": value.detach(), "logits": logits.detach(), "labels": labels}

    trainer = _engine(step)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=RELEASE_EVERY), lambda: release_memory(device))
    Accuracy(lambda output: (output["logits"], output["labels"]), device=device).attach(trainer, "accuracy")
    # ignite's Loss weighs each batch by its size; the value itself is already there.
    Loss(
        lambda value, labels: value, lambda output: (output["loss"], output["labels"]), device=device
    ).attach(trainer, "loss")
    return trainer


def _engine(step: Callable[..., Any]) -> Engine:
    """An engine that leaves it to its caller to say why it stopped."""
    engine = Engine(step)
    engine.logger.setLevel(logging.CRITICAL)
    return engine


def create_scaler(device: str, precision: str) -> torch.amp.GradScaler:
    """Scales the loss in float16; does nothing in the other precisions."""
    return torch.amp.GradScaler(torch.device(device).type, enabled=precision == "float16")


def create_evaluator(
    model: nn.Module,
    *,
    device: str,
    precision: str,
    memory_format: torch.memory_format = torch.preserve_format,
) -> Engine:
    """An engine that leaves a split's float32 logits (N, C) and labels (N,) in ``state.predictions``."""

    def step(engine: Engine, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = batch[0].to(memory_format=memory_format), batch[1]
        if model.training:
            model.eval()
        with torch.no_grad(), autocast(device, precision):
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


def create_loss(config: LossConfig, model: nn.Module) -> LossFunction:
    """Cross-entropy on logits, plus ``l1`` times the sum of all absolute parameter values."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        value = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        if config.l1:
            value = value + config.l1 * torch.stack([p.abs().sum() for p in model.parameters()]).sum()
        return value

    return loss


class _Beta1:
    """Shows Adam's beta1, the first of a tuple, as a parameter that ignite's schedulers can set."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    @property
    def param_groups(self) -> list[_Beta1Group]:
        """Made anew each time: loading a checkpoint gives the optimizer other groups."""
        return [_Beta1Group(group) for group in self.optimizer.param_groups]


class _Beta1Group(dict[str, Any]):
    def __init__(self, group: dict[str, Any]) -> None:
        super().__init__(beta1=group["betas"][0])
        self.group = group

    def __setitem__(self, key: str, value: float) -> None:
        super().__setitem__(key, value)
        self.group["betas"] = (value, self.group["betas"][1])


def attach_schedule(
    trainer: Engine, optimizer: Optimizer, rates: Milestones, momentum: Milestones | None
) -> dict[str, PiecewiseLinear]:
    """Set the rate (and momentum or beta1) before every step.

    Returns:
        The handlers by name, whose state belongs into a checkpoint.

    Raises:
        StudyError: momentum is to be cycled, and the optimizer has none.
    """
    handlers = {"schedule": PiecewiseLinear(optimizer, "lr", milestones_values=rates)}
    if momentum is not None:
        group = optimizer.param_groups[0]
        if "betas" in group:
            target: Any = _Beta1(optimizer)
            handlers["momentum"] = PiecewiseLinear(target, "beta1", milestones_values=momentum)
        elif "momentum" in group:
            handlers["momentum"] = PiecewiseLinear(optimizer, "momentum", milestones_values=momentum)
        else:
            raise StudyError("schedule.cycle_momentum: this optimizer has neither momentum nor betas")
    for handler in handlers.values():
        trainer.add_event_handler(Events.ITERATION_STARTED, handler)
    return handlers
