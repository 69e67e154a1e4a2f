"""Networks by name, each a file and a line here: images (N, 3, H, W) in, logits (N, classes) out.

``timm:NAME`` is a network of timm: :mod:`harness.models.from_timm`. Another name with a colon is the import
path of a user's own network, and installed packages may add names: :mod:`harness.models.imported`.
"""

from __future__ import annotations

from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any

from harness.errors import StudyError
from harness.messages import nearest, suggest
from harness.schema import validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

# name -> "module:options"; the options are a strict schema with a `build(classes)` method.
MODELS = {
    "custom_resnet": "harness.models.custom_resnet:CustomResNetOptions",
    "resnet18": "harness.models.resnet18:ResNet18Options",
}


def model_options(name: str, options: dict[str, Any], where: str = "study") -> Any:
    """Return the validated options of a model; their ``build(classes)`` makes the network.

    Raises:
        StudyError: unknown model or option, or an impossible value, in one line.
    """
    if name not in MODELS:
        from harness.models.from_timm import timm_names, timm_network
        from harness.models.imported import TIMM, imported, installed

        if name.startswith(TIMM):
            return timm_network(name, options, where)
        if ":" in name or name in installed():
            return imported(name, options, where)
        names = [*MODELS, *installed()]
        near = nearest(name, [*names, *timm_names()], 0.95)
        hint = f", did you mean {near!r}?" if near else suggest(name, names)
        timm = "" if near else f"; a network of timm is written {TIMM + name!r}"
        raise StudyError(f"{where}: model.name: no model named {name!r}{hint}{timm}")
    module, attribute = MODELS[name].split(":")
    return validate(getattr(import_module(module), attribute), options, where, prefix="model")


def build_model(
    name: str, options: dict[str, Any], classes: int, image_shape: Sequence[int] | None = None
) -> nn.Module:
    """Make a network in float32, with weights freshly drawn from the global generators.

    Args:
        image_shape: (3, H, W). Lazy layers learn their sizes from it; without it they stay lazy.

    Raises:
        StudyError: unknown model or option, or an error of a user's own network.
    """
    import torch
    from torch.nn.parameter import is_lazy

    model: nn.Module = model_options(name, options).build(classes)
    if image_shape is not None and any(map(is_lazy, chain(model.parameters(), model.buffers()))):
        from harness.models.outputs import evaluating

        with evaluating(model), torch.no_grad():
            model(torch.zeros(2, *image_shape))
    if any(weights.dtype in (torch.float16, torch.bfloat16, torch.float64) for weights in model.parameters()):
        model = model.float()  # autocast sets the precision of computing
    return model
