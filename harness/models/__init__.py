"""Networks by name: one file and one line here for each. Images (N, 3, H, W) in, logits (N, classes) out.

A name with a colon is the import path of a user's own, and installed packages may add names:
:mod:`harness.models.imported`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.errors import StudyError
from harness.schema import suggest, validate

if TYPE_CHECKING:
    from torch import nn

# name -> "module:options"; the options are a strict schema with a `build(classes)` method.
MODELS = {
    "custom_resnet": "harness.models.custom_resnet:CustomResNetOptions",
    "resnet18": "harness.models.resnet18:ResNet18Options",
}


def model_options(name: str, options: dict[str, Any], where: str = "study") -> Any:
    """The validated options of a model; ``.build(classes)`` makes the network.

    Raises:
        StudyError: unknown model or option, or an impossible value, in one line.
    """
    if name not in MODELS:
        from harness.models.imported import imported, installed

        if ":" in name or name in installed():
            return imported(name, options, where)
        known = [*MODELS, *installed()]
        raise StudyError(f"{where}: model.name: no model named {name!r}{suggest(name, known)}")
    module, attribute = MODELS[name].split(":")
    return validate(getattr(import_module(module), attribute), options, where, prefix="model")


def build_model(name: str, options: dict[str, Any], classes: int) -> nn.Module:
    """A network with weights freshly drawn from torch's global generator."""
    model: nn.Module = model_options(name, options).build(classes)
    return model
