"""A network of your own, by its import path: followed only into packages that you allow."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import StudyError
from harness.schema import one_line

if TYPE_CHECKING:
    from torch import nn

ALLOWED = "HARNESS_ALLOW"  # package names with commas between; the environment reaches workers and nodes


@dataclass(frozen=True)
class Imported:
    """A function or class that takes the number of classes, and these options by name."""

    name: str
    make: Callable[..., nn.Module]
    options: dict[str, Any]

    def build(self, classes: int) -> nn.Module:
        """The network.

        Raises:
            StudyError: it raises, or what it makes is no network.
        """
        from torch import nn

        try:
            model = self.make(classes, **self.options)
        except Exception as error:  # whatever another's code raises
            raise StudyError(
                f"model.name: {self.name}, called with {classes} classes and {self.options}: "
                f"{type(error).__name__}: {one_line(error, 200)}"
            ) from error
        if not isinstance(model, nn.Module):
            raise StudyError(f"model.name: {self.name} gives {type(model).__name__}, not a torch.nn.Module")
        return model


def allow(packages: Sequence[str]) -> None:
    """Let studies name networks in these packages, in this process and those it starts.

    Raises:
        StudyError: not a package's name.
    """
    for package in packages:
        if not package.isidentifier():
            raise StudyError(
                f"--allow {one_line(package, 80)}: expected a package's name, such as my_package"
            )
    os.environ[ALLOWED] = ",".join(dict.fromkeys([*allowed(), *packages]))


def allowed() -> list[str]:
    """The packages that may be imported from."""
    return [name for name in os.environ.get(ALLOWED, "").split(",") if name]


def installed() -> dict[str, str]:
    """Networks of installed packages: entry points of the group ``harness.models``, name -> import path."""
    return {point.name: point.value for point in entry_points(group="harness.models")}


def imported(name: str, options: dict[str, Any], where: str) -> Imported:
    """``"package.module:name"``, or an installed network's name -> what makes it.

    Raises:
        StudyError: its package is not allowed, it is not there, or does not take these options.
    """
    path = installed().get(name, name)
    module, _, attribute = path.partition(":")
    package = module.partition(".")[0]
    place = f"{where}: model.name: {one_line(name, 200)}"
    if path == name and package not in allowed():  # who installed a package has trusted it
        raise StudyError(f"{place}: a study may not import {package!r} unless you say --allow {package}")
    try:
        make = getattr(import_module(module), attribute)
    except Exception as error:  # whatever another's code does while it is imported
        raise StudyError(f"{place}: {type(error).__name__}: {one_line(error, 200)}") from None
    try:
        inspect.signature(make).bind(10, **options)
    except (TypeError, ValueError) as error:
        raise StudyError(f"{place}: called with the number of classes and {options}: {error}") from None
    return Imported(name, make, options)


def source_digest(name: str) -> str:
    """SHA-256 of the file that an import path's module lies in: other code is another configuration.

    What this module imports in turn is not looked at.
    """
    file = import_module(installed().get(name, name).partition(":")[0]).__file__
    return hashlib.sha256(Path(file or "").read_bytes() if file else b"").hexdigest()
