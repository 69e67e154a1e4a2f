"""A user's own network, by its import path; imported only from packages that the user allows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any

from harness.errors import StudyError
from harness.imports import import_allowed, source_digest
from harness.messages import one_line

if TYPE_CHECKING:
    from torch import nn

TIMM = "timm:"  # before the name of a network of timm


@dataclass(frozen=True)
class Imported:
    """A user's function or class that makes a network from the number of classes and these options.

    Attributes:
        keyword: whether it takes the number as ``num_classes``, like torchvision's, or as its first argument.
    """

    name: str
    make: Callable[..., nn.Module]
    options: dict[str, Any]
    keyword: bool

    def call(self, function: Callable[..., Any], classes: int) -> Any:
        """Call ``make``, or another function in its place, with the number of classes and the options."""
        named = {"num_classes": classes} if self.keyword else {}
        return function(*(() if self.keyword else (classes,)), **named, **self.options)

    def build(self, classes: int) -> nn.Module:
        """Make the network.

        Raises:
            StudyError: ``make`` raises an error, or does not return a network.
        """
        from torch import nn

        from harness.vision import with_torchvision

        try:
            model = with_torchvision(lambda: self.call(self.make, classes))
        except Exception as error:  # a user's code may raise anything
            raise StudyError(
                f"model.name: {self.name}, called with {classes} classes and {self.options}: "
                f"{type(error).__name__}: {one_line(error, 200)}"
            ) from error
        if not isinstance(model, nn.Module):
            raise StudyError(f"model.name: {self.name} gives {type(model).__name__}, not a torch.nn.Module")
        return model


def installed() -> dict[str, str]:
    """List installed packages' networks, the entry points of ``harness.models``: name to import path."""
    return {point.name: point.value for point in entry_points(group="harness.models")}


def imported(name: str, options: dict[str, Any], where: str) -> Imported:
    """Import the maker of a network, by ``"package.module:name"`` or an installed network's name.

    Raises:
        StudyError: its package is not allowed, it does not exist, or it does not take these options.
    """
    path = installed().get(name, name)
    place = f"{where}: model.name: {one_line(name, 200)}"
    make = import_allowed(path, place, trusted=path != name)  # an installed package is trusted
    try:
        signature = inspect.signature(make)
        # ``def net(**options)`` has no positional argument for the number of classes
        positional = any(
            parameter.kind not in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD)
            for parameter in signature.parameters.values()
        )
        result = Imported(name, make, options, "num_classes" in signature.parameters or not positional)
        result.call(signature.bind, 10)
    except (TypeError, ValueError) as error:
        raise StudyError(f"{place}: called with the number of classes and {options}: {error}") from None
    return result


def model_source(name: str) -> str:
    """Return the SHA-256 of the module file of an imported or installed network; of timm's its version."""
    if name.startswith(TIMM):
        return f"timm {version('timm')}"
    return source_digest(installed().get(name, name))
