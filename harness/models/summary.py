"""A network's layers and cost: the rows of ``model.csv``, and the FLOPs of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from harness.models.outputs import evaluating, logits_of


@dataclass(frozen=True)
class LayerRow:
    """A layer with its parameters and its output's shape, without the batch dimension.

    Attributes:
        parameters: trainable ones.
        bytes: of these.
        frozen: parameters that are not trained.
    """

    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    bytes: int
    frozen: int = 0


def count_parameters(model: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def summarise(model: nn.Module, image_shape: tuple[int, int, int]) -> list[LayerRow]:
    """Return a row for every leaf layer in the order of execution.

    Args:
        image_shape: (channels, height, width).

    Returns:
        Rows whose ``parameters`` add up to :func:`count_parameters`.
    """
    rows: list[LayerRow] = []
    hooks = []

    def record(name: str, module: nn.Module, output: Any) -> None:
        own = list(module.parameters(recurse=False))
        parameters = [p for p in own if p.requires_grad]
        frozen = sum(p.numel() for p in own if not p.requires_grad)
        first = next(
            (leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)), None
        )  # an LSTM returns a tuple
        shape = () if first is None else tuple(first.shape[1:])
        sizes = [(p.numel(), p.numel() * p.element_size()) for p in parameters]
        rows.append(LayerRow(name, shape, sum(n for n, _ in sizes), sum(n for _, n in sizes), frozen))

    for name, module in model.named_modules():
        inert = isinstance(module, nn.Flatten | nn.Dropout) and getattr(module, "p", 0) == 0
        hookable = not isinstance(module, torch.jit.ScriptModule)
        if not list(module.children()) and hookable and not inert:
            hooks.append(module.register_forward_hook(lambda m, _, out, name=name: record(name, m, out)))
    try:
        with evaluating(model), torch.no_grad():
            model(torch.zeros(1, *image_shape, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return rows


def flops_per_image(model: nn.Module, image_shape: Sequence[int]) -> int:
    """Count forward and backward FLOPs of one image, two for each multiply-add, by torch's own counter.

    It makes the passes of a training step, which change the model's batch statistics and gradients.
    """
    batch = 2  # batch norm in training mode needs more than one value a channel, even on a 1x1 map
    images = torch.zeros(batch, *image_shape, device=next(model.parameters()).device)
    with FlopCounterMode(display=False) as counter:
        torch.stack([logits.sum() for logits in logits_of(model(images))]).sum().backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops()) // batch
