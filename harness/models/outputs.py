"""Outputs of networks and layers: logits, auxiliary logits, and the outputs of named modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def logits_of(outputs: Any) -> list[Tensor]:
    """Return a network's logits (N, classes), followed by the logits of its auxiliary heads.

    Some networks return ``(logits, auxiliary, ...)`` while they train, torchvision's GoogLeNet among them.

    Raises:
        TypeError: the outputs are something else.
    """
    all_logits = outputs if isinstance(outputs, tuple) else (outputs,)
    for logits in all_logits:
        if not isinstance(logits, Tensor | None):
            among = " among others" if isinstance(outputs, tuple) else ""
            raise TypeError(
                f"it gives {type(logits).__name__}{among}; expected a tensor of logits (N, classes)"
            )
    return [logits for logits in all_logits if logits is not None]


def outputs_on_zeros(
    model: nn.Module, modules: Mapping[str, nn.Module], image_shape: Sequence[int]
) -> dict[str, Any]:
    """Return these modules' outputs for one image of zeros, by name, in the order of execution.

    Args:
        image_shape: (3, H, W).
    """
    device = next(model.parameters()).device
    with evaluating(model), torch.no_grad(), outputs_of(modules) as outputs:
        model(torch.zeros(1, *image_shape, device=device))
    return outputs


@contextmanager
def outputs_of(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Any]]:
    """Collect these modules' outputs in the passes inside the block, by name, in the order of execution."""
    outputs: dict[str, Any] = {}
    hooks = []
    for name, module in modules.items():
        if isinstance(module, torch.jit.ScriptModule):  # takes no hooks
            continue

        def keep(_: nn.Module, __: object, output: Any, name: str = name) -> Tensor | None:
            outputs[name] = output
            # the next module may change it in place, as torchvision's ReLUs do
            return output.clone() if isinstance(output, Tensor) else None

        hooks.append(module.register_forward_hook(keep))
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set eval mode inside the block; restore the mode of every module afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
