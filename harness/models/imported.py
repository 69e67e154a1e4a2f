"""A user's own network, by its import path; imported only from packages that the user allows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any

from harness.errors import StudyError
from harness.imports import import_allowed, source_digest
from harness.messages import one_line, suggest

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

    def call_text(self, classes: int) -> str:
        """Write the call of ``make`` as code."""
        number = f"num_classes={classes}" if self.keyword else str(classes)
        options = [f"{key}={value!r}" for key, value in self.options.items()]
        return f"{self.name}({', '.join([number, *options])})"

    def build(self, classes: int) -> nn.Module:
        """Make the network.

        Raises:
            StudyError: ``make`` raises an error, or does not return a network.
        """
        from torch import nn

        from harness.vision import with_torchvision

        try:
            model = with_torchvision(lambda: self.call(self.make, classes))
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            from harness.models.mistakes import explain

            raise StudyError(f"model.name: {self.call_text(classes)}: {explain(error)}") from None
        if not isinstance(model, nn.Module):
            given = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
            raise StudyError(
                f"model.name: {self.call_text(classes)} gives {given}; expected an object of torch.nn.Module"
            )
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
    if not isinstance(make, type) and hasattr(make, "state_dict"):
        raise StudyError(
            f"{place}: a network that exists already; name its class, or a function that makes it"
        )
    try:
        signature = inspect.signature(make)
        if not signature.parameters:
            line = "__init__(self, classes)" if isinstance(make, type) else f"{make.__name__}(classes)"
            raise StudyError(f"{place}: it takes no number of classes; write def {line}")
        # ``def net(**options)`` has no positional argument for the number of classes
        positional = any(
            parameter.kind not in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD)
            for parameter in signature.parameters.values()
        )
        result = Imported(name, make, options, "num_classes" in signature.parameters or not positional)
    except (TypeError, ValueError) as error:  # it is no function or class, or one that hides its arguments
        raise StudyError(f"{place}: {one_line(error, 200)}") from None
    try:
        result.call(signature.bind, 10)
    except TypeError as error:
        wrong = [key for key in options if f"'{key}'" in str(error)]
        hint = suggest(wrong[0], signature.parameters) if wrong else ""
        if "missing" in str(error):
            hint = "; give it a default, or a value in the table model"
        raise StudyError(f"{where}: model.name: {result.call_text(10)}: {error}{hint}") from None
    return result


def model_source(name: str) -> str:
    """Return the SHA-256 of the module file of an imported or installed network; of timm's its version."""
    if name.startswith(TIMM):
        return f"timm {version('timm')}"
    return source_digest(installed().get(name, name))
