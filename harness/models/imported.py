"""A user's own network, by its import path; imported only from packages that the user allows."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.errors import StudyError
from harness.messages import one_line

if TYPE_CHECKING:
    from torch import nn

# Environment variables, which workers and nodes inherit: names of packages, and folders that may hold them.
ALLOWED, FOLDERS = "HARNESS_ALLOW", "HARNESS_PATH"


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

        from harness.models.vision import with_torchvision

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


def allow(packages: Sequence[str], folders: Sequence[str | Path] = ()) -> None:
    """Allow studies to name networks in these packages, in this process and the processes that it starts.

    Args:
        folders: further folders to import them from; installed packages come first.

    Raises:
        StudyError: not the name of a package.
    """
    for package in packages:
        if not package.isidentifier():
            raise StudyError(
                f"--allow {one_line(package, 80)}: expected a package's name, such as my_package"
            )
    os.environ[ALLOWED] = ",".join(dict.fromkeys([*allowed(), *packages]))
    if allowed():
        places = [*_folders(), *(os.path.abspath(folder) for folder in (".", *folders))]
        os.environ[FOLDERS] = os.pathsep.join(dict.fromkeys(places))


def allowed() -> list[str]:
    """List the packages that may be imported from."""
    return [name for name in os.environ.get(ALLOWED, "").split(",") if name]


def _folders() -> list[str]:
    return [folder for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]


def _import(module: str) -> ModuleType:
    from harness.models.vision import with_torchvision

    sys.path += [folder for folder in _folders() if folder not in sys.path]  # at the end, to shadow nothing
    return with_torchvision(lambda: import_module(module))


def installed() -> dict[str, str]:
    """List installed packages' networks, the entry points of ``harness.models``: name to import path."""
    return {point.name: point.value for point in entry_points(group="harness.models")}


def imported(name: str, options: dict[str, Any], where: str) -> Imported:
    """Import the maker of a network, by ``"package.module:name"`` or an installed network's name.

    Raises:
        StudyError: its package is not allowed, it does not exist, or it does not take these options.
    """
    path = installed().get(name, name)
    module, _, attribute = path.partition(":")
    package = module.partition(".")[0]
    place = f"{where}: model.name: {one_line(name, 200)}"
    if path == name and package not in allowed():  # an installed package is trusted
        raise StudyError(f"{place}: a study may not import {package!r} unless you say --allow {package}")
    try:
        make = getattr(_import(module), attribute)
    except ModuleNotFoundError as error:
        beside = f"; put {package}.py beside the study file or into the current folder, or install it"
        hint = beside if error.name == package else ""
        raise StudyError(f"{place}: {one_line(error, 200)}{hint}") from None
    except Exception as error:  # importing a user's code may raise anything
        raise StudyError(f"{place}: {type(error).__name__}: {one_line(error, 200)}") from None
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


def source_digest(name: str) -> str:
    """Return the SHA-256 of an import path's module file, because other code is another configuration.

    Modules that it imports are not included.
    """
    file = _import(installed().get(name, name).partition(":")[0]).__file__
    return hashlib.sha256(Path(file or "").read_bytes() if file else b"").hexdigest()
