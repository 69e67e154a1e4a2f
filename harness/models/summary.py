"""What a network is made of and what it costs: the rows of ``model.csv`` and the FLOPs of an image."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class LayerRow:
    """One layer with parameters or one named stage's output; shapes without the batch dimension."""

    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    bytes: int


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def summarise(model: nn.Module, image_shape: tuple[int, int, int]) -> list[LayerRow]:
    """A row for every leaf layer in the order of execution.

    Args:
        image_shape: (channels, height, width).

    Returns:
        Rows whose ``parameters`` add up to :func:`count_parameters`; ``bytes`` are those of the parameters.
    """
    rows: list[LayerRow] = []
    hooks = []

    def record(name: str, module: nn.Module, output: Tensor) -> None:
        parameters = [p for p in module.parameters(recurse=False) if p.requires_grad]
        rows.append(
            LayerRow(
                name,
                tuple(output.shape[1:]),
                sum(p.numel() for p in parameters),
                sum(p.numel() * p.element_size() for p in parameters),
            )
        )

    for name, module in model.named_modules():
        inert = isinstance(module, nn.Flatten | nn.Dropout) and getattr(module, "p", 0) == 0
        if not list(module.children()) and not inert:
            hooks.append(module.register_forward_hook(lambda m, _, out, name=name: record(name, m, out)))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            device = next(model.parameters()).device
            model(torch.zeros(1, *image_shape, device=device))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return rows


def flops_per_image(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Forward and backward FLOPs of one image, two for each multiply-add, by torch's own counter."""
    batch = 2  # batch norm in training mode wants more than one value a channel, even on a 1x1 map
    model = copy.deepcopy(model).to("meta")
    images = torch.zeros(batch, *image_shape, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    return int(counter.get_total_flops()) // batch
