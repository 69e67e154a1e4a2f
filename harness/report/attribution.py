"""Grad-CAM: which parts of an image spoke for a class, at the layers that a study names. By Captum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.errors import RunError
from harness.schema import one_line


def layer_maps(
    model: nn.Module, layers: Sequence[str], images: Tensor, targets: Sequence[int] | Tensor
) -> NDArray[np.float32]:
    """Grad-CAM heatmaps, positive evidence only.

    Selvaraju et al., "Grad-CAM" (ICCV 2017): the layer's channels weighted by the mean gradient of the
    target's logit, summed, ReLU; enlarged bilinearly to the image. Each map is divided by its own maximum, so
    maps compare places in an image, not images; one without any positive evidence is all zeros.

    Args:
        model: in eval mode here; its own mode, statistics and gradients are left as they were.
        layers: names of submodules whose output is (N, C, h, w).
        images: (N, 3, H, W), float32, normalised as in evaluation.
        targets: (N,), the class to explain, an image each.

    Returns:
        (len(layers), N, H, W), in [0, 1].

    Raises:
        RunError: a layer is not there, or Grad-CAM does not work on it.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    modules = [_find_layer(model, name) for name in layers]
    maps = []
    with _frozen(model), torch.inference_mode(False), torch.enable_grad():
        inputs = images.detach().clone().float().requires_grad_()
        classes = torch.as_tensor(targets, dtype=torch.int64, device=images.device).clone()
        for name, module in zip(layers, modules, strict=True):
            try:
                coarse = LayerGradCam(model, module).attribute(inputs, classes, relu_attributions=True)
                fine = LayerAttribution.interpolate(coarse, images.shape[-2:], interpolate_mode="bilinear")
            except (RuntimeError, AssertionError, ValueError, IndexError, AttributeError, TypeError) as error:
                raise RunError(f"Grad-CAM of layer {name!r}: {one_line(error)}") from error
            maps.append(fine.detach()[:, 0])
    return _scaled(torch.stack(maps)).cpu().numpy()


def stages(model: nn.Module, image_shape: Sequence[int]) -> list[str]:
    """The top-level children with parameters whose output is a map (N, C, h, w), in the order of execution.

    Args:
        image_shape: (3, H, W).
    """
    found: dict[str, None] = {}
    hooks = []

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            found[name] = None

    for name, child in model.named_children():
        if any(True for _ in child.parameters()):
            hooks.append(child.register_forward_hook(lambda _, __, output, name=name: note(name, output)))
    device = next(model.parameters()).device
    try:
        with _frozen(model), torch.no_grad():
            model(torch.zeros(1, *image_shape, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return list(found)


def _find_layer(model: nn.Module, name: str) -> nn.Module:
    found: nn.Module | None = dict(model.named_modules()).get(name)
    if found is None or not name:
        known = ", ".join(child for child, _ in model.named_children())
        raise RunError(f"Grad-CAM: the model has no layer {name!r}; its stages are {known}")
    return found


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode, in which batch norm keeps its statistics; every submodule's own mode comes back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _scaled(maps: Tensor) -> Tensor:
    """Each map over its maximum; a map of zeros has none to divide by."""
    highest = maps.amax(dim=(-2, -1), keepdim=True)
    return maps / torch.where(highest > 0, highest, torch.ones_like(highest))
