"""Losses by name: any of torch's that takes logits and labels, or by import path."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import StudyError
from harness.imports import import_allowed
from harness.messages import one_line, suggest
from harness.seeding import generators_restored, seed_generators
from harness.study_file.parts import CROSS_ENTROPY, Loss

Criterion = Callable[[Tensor, Tensor], Tensor]
# torch's own that take logits and labels, but not for what logits are.
_UNFIT = {"NLLLoss": "it expects log-probabilities, not logits", "NLLLoss2d": "it needs maps"}


@dataclass(frozen=True)
class TrainLoss:
    """The loss of a step: a criterion's mean over the batch, and ``l1`` times the sum of absolute parameters.

    Parameters that are not trained are left out of it: they would only add a constant.

    Attributes:
        weights: of the classes, (C,), where the study weighs them; the criterion has them too.
    """

    criterion: Criterion
    model: nn.Module
    l1: float
    weights: Tensor | None

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss (0-d) of logits (N, C) and labels (N,), or (N, C) for soft ones."""
        value = self.criterion(logits, labels)
        if self.l1:
            trained = [p.abs().sum() for p in self.model.parameters() if p.requires_grad]
            value = value + self.l1 * torch.stack(trained).sum()
        return value

    def amount(self, labels: Tensor) -> float | Tensor:
        """Return what the mean is over: images, or their classes' weights in a weighted cross-entropy."""
        weighted = isinstance(self.criterion, nn.CrossEntropyLoss) and labels.ndim == 1
        return self.weights[labels].sum() if self.weights is not None and weighted else float(len(labels))


def create_loss(config: Loss, model: nn.Module, weights: Sequence[float] | None = None) -> TrainLoss:
    """Return the loss that a network is trained with.

    Args:
        weights: of the classes; see :func:`class_weights`.
    """
    device = next((parameter.device for parameter in model.parameters()), None)
    of_classes = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device)
    criterion = create_criterion(config, of_classes)
    if isinstance(criterion, nn.Module):
        criterion.to(device)
    return TrainLoss(criterion, model, config.l1, of_classes)


def create_criterion(config: Loss, weights: Tensor | None = None, where: str = "study") -> Criterion:
    """Return a function of logits (N, C) and labels (N,) that gives the mean loss.

    Args:
        weights: of the classes, (C,), where the study weighs them.

    Raises:
        StudyError: there is no such loss, or it does not take these arguments.
    """
    found = _find(config.name, where)
    options = dict(config.options)
    if config.label_smoothing:
        options["label_smoothing"] = config.label_smoothing
    if weights is not None:
        options["weight"] = weights
    place = f"{where}: loss.name: {config.name}"
    try:
        parameters = inspect.signature(found).parameters
        unknown = [key for key in options if key not in parameters]
        if unknown and not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            table = {"weight": "class_weights", "label_smoothing": "label_smoothing"}
            key = table.get(unknown[0], f"options.{one_line(unknown[0], 80)}")
            if unknown[0] == "weight" and "weight" not in config.options:
                raise StudyError(f"{where}: loss.{key}: {config.name} takes no class weights; remove it")
            raise StudyError(
                f"{where}: loss.{key}: {config.name} has no such argument{suggest(unknown[0], parameters)}"
            )
        criterion: Any = found(**options) if isinstance(found, type) else partial(found, **options)
    except StudyError:
        raise
    except Exception as error:  # its own checks may raise anything
        raise StudyError(f"{place}: {type(error).__name__}: {one_line(error, 200)}") from None
    if isinstance(criterion, nn.Module) and next(criterion.parameters(), None) is not None:
        raise StudyError(
            f"{place}: it has parameters, which would not be trained; make them part of the network"
        )
    return criterion  # type: ignore[no-any-return]


def _find(name: str, where: str) -> Callable[..., Any]:
    place = f"{where}: loss.name: {one_line(name, 200)}"
    if ":" in name:
        found = import_allowed(name, place)
        if not callable(found):
            raise StudyError(f"{place}: expected a class or function, got {type(found).__name__}")
        return found  # type: ignore[no-any-return]
    losses = {
        key: value for key, value in vars(nn.modules.loss).items() if key.endswith("Loss") and key[0] != "_"
    }
    if name not in losses:
        raise StudyError(f"{place}: torch.nn has no such loss{suggest(name, losses)}")
    if name in _UNFIT:
        raise StudyError(f"{place}: {_UNFIT[name]}; use {CROSS_ENTROPY}")
    return losses[name]  # type: ignore[no-any-return]


def check_loss(config: Loss, classes: int, where: str = "study", *, soft_labels: bool = False) -> None:
    """Compute a loss of made-up logits, as a training does.

    Args:
        soft_labels: whether labels may also be (N, C) weights of classes, as mixed images have them.

    Raises:
        StudyError: it is unknown or fails, or gives no mean with a gradient.
    """
    if isinstance(config.class_weights, list) and len(config.class_weights) != classes:
        raise StudyError(
            f"{where}: loss.class_weights: {len(config.class_weights)} weights for {classes} classes"
        )
    weights = torch.linspace(0.5, 1.5, classes) if config.class_weights is not None else None
    criterion = create_criterion(config, weights, where)
    place = f"{where}: loss.name: {config.name}"
    draws = torch.Generator().manual_seed(0)
    # more images than classes: a loss that compares elements cannot take them
    logits = torch.randn(classes + 1, classes, generator=draws)
    labels = torch.arange(classes + 1) % classes
    state = _state(criterion)
    first = _value(criterion, logits, labels, place, "")
    if soft_labels:
        mixed = torch.rand(classes + 1, classes, generator=draws)
        mixed = mixed / mixed.sum(1, keepdim=True)
        _value(
            criterion, logits, mixed, place, "mixed images have soft labels (N, C), which it cannot take: "
        )
    if first != _value(criterion, logits, labels, place, "") or state != _state(criterion):
        raise StudyError(
            f"{place}: it changes from call to call, so a killed run could not resume; store nothing in it"
        )


def _value(criterion: Criterion, logits: Tensor, labels: Tensor, place: str, why: str) -> float:
    logits = logits.clone().requires_grad_()
    try:
        with generators_restored(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of shapes that broadcast; they fail
            seed_generators(0)
            value = criterion(logits, labels)
            if isinstance(value, Tensor) and value.ndim == 0 and value.requires_grad:
                value.backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # a user's code may raise anything
        text = f"{type(error).__name__}: {one_line(error, 200)}"
        shapes = f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)}"
        raise StudyError(f"{place}: {why or f'given {shapes}: '}{text}") from None
    if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
        given = (
            f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        )
        raise StudyError(
            f"{place}: {why}it gives {given}; expected the batch's mean, a tensor of no dimension"
        )
    if logits.grad is None:
        raise StudyError(f"{place}: {why}its value has no gradient with respect to the logits")
    if not (value.isfinite() and logits.grad.isfinite().all()):
        raise StudyError(f"{place}: {why}its value or gradient is not finite")
    return float(value.detach())


def _state(criterion: Any) -> str:
    """Return what a loss stores, as text."""
    if isinstance(criterion, nn.Module):
        return repr({key: value.tolist() for key, value in criterion.state_dict().items()})
    return ""


def class_weights(config: Loss, counts: Sequence[int], where: str = "study") -> list[float] | None:
    """Return the weights of the classes: the study's, or N / (C * n) of n of N train images in C classes.

    Args:
        counts: train images of each class.

    Raises:
        StudyError: a class without train images cannot be balanced.
    """
    if config.class_weights != "balanced":
        return config.class_weights
    if 0 in counts:
        raise StudyError(
            f"{where}: loss.class_weights: class {list(counts).index(0)} has no train image, so there is no "
            "balanced weight for it; give the weights as a list"
        )
    return [sum(counts) / (len(counts) * count) for count in counts]
