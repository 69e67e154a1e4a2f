"""Import torchvision, also where its compiled operators do not fit a CPU-only torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TypeVar

import torch

T = TypeVar("T")

# torchvision registers fakes for these while it is imported. Its registry wheel is a CUDA build: beside a
# CPU-only torch its library does not load, the operators are unknown, and the import dies.
_MISSING = ("nms", "qnms")
_library: torch.library.Library | None = None


def import_torchvision() -> ModuleType:
    """Return the ``torchvision`` package; its models and datasets work, compiled operators may be missing.

    Raises:
        ImportError: torchvision is not installed, or broken in another way.
    """
    try:
        return with_torchvision(lambda: import_module("torchvision"))
    except RuntimeError as error:
        raise ImportError(f"torchvision cannot be imported: {error}") from error


def with_torchvision(do: Callable[[], T]) -> T:
    """Call a function that may import torchvision; if the import fails, repair it and call again."""
    global _library
    try:
        return do()
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _library is not None:
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # remove the partly imported modules
    _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in _MISSING:
        schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        _library.define(schema)  # type: ignore[no-untyped-call]
    return do()
