"""Grad-CAM heatmaps of a class, at the layers that a study names; computed by Captum."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.errors import RunError
from harness.messages import one_line
from harness.models.outputs import evaluating, outputs_of, outputs_on_zeros

BATCH = 25  # images at once


def layer_maps(
    model: nn.Module, layers: Sequence[str], images: Tensor, targets: Sequence[int] | Tensor
) -> NDArray[np.float32]:
    """Return Grad-CAM heatmaps, positive evidence only.

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
    with warnings.catch_warnings():  # captum's tqdm warns in a notebook without widgets
        warnings.filterwarnings("ignore", "IProgress not found")
        from captum.attr import LayerAttribution, LayerGradCam

    modules = [_find_layer(model, name) for name in layers]
    maps = []
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        inputs = images.detach().clone().float().requires_grad_()
        classes = torch.as_tensor(targets, dtype=torch.int64, device=images.device).clone()
        for name, module in zip(layers, modules, strict=True):
            try:
                coarse = LayerGradCam(model, module).attribute(inputs, classes, relu_attributions=True)
                fine = LayerAttribution.interpolate(coarse, images.shape[-2:], interpolate_mode="bilinear")
            except (RuntimeError, AssertionError, ValueError, IndexError, AttributeError, TypeError) as error:
                raise RunError(f"Grad-CAM of layer {name!r}: {one_line(error)}") from error
            maps.append(fine.detach()[:, 0])
    return _scaled(torch.stack(maps)).float().cpu().numpy()


def coarse_maps(
    model: nn.Module, layers: Sequence[str], images: Tensor, targets: Sequence[int] | Tensor
) -> list[NDArray[np.float32]]:
    """Return the maps of :func:`layer_maps` in each layer's own resolution, not scaled.

    One forward and one backward pass serve all layers, where Captum needs both for each layer. With six
    layers it is six times as fast, for measures that need hundreds of maps.

    Args:
        model, layers, images, targets: as in :func:`layer_maps`.

    Returns:
        for each layer (N, h, w), at least 0.

    Raises:
        RunError: a layer is not there, or its output is no map that the logits depend on.
    """
    modules = {name: _find_layer(model, name) for name in layers}
    maps: dict[str, list[Tensor]] = {name: [] for name in layers}
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        classes = torch.as_tensor(targets, dtype=torch.int64, device=images.device).clone()
        for part, labels in zip(torch.split(images, BATCH), torch.split(classes, BATCH), strict=True):
            inputs = part.detach().clone().float().requires_grad_()
            with outputs_of(modules) as outputs:
                score = model(inputs).gather(1, labels[:, None]).sum()
            for name in layers:
                output = outputs.get(name)
                if not isinstance(output, Tensor) or output.ndim != 4:
                    raise RunError(f"Grad-CAM of layer {name!r}: its output is no map (N, C, h, w)")
            features = [outputs[name] for name in layers]
            for name, feature, gradient in zip(layers, features, _gradients(score, features), strict=True):
                weights = gradient.mean((2, 3), keepdim=True)
                maps[name].append((weights * feature).sum(1).relu().detach())
    return [torch.cat(maps[name]).float().cpu().numpy() for name in layers]


def _gradients(score: Tensor, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
    try:
        return torch.autograd.grad(score, features)
    except RuntimeError as error:
        raise RunError(f"Grad-CAM: {one_line(error)}") from error


def enlarge(maps: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Enlarge maps (N, h, w) to (N, height, width), bilinearly, as Captum does."""
    fine = nn.functional.interpolate(torch.from_numpy(maps)[:, None], (height, width), mode="bilinear")
    enlarged: NDArray[np.float32] = fine[:, 0].numpy()
    return enlarged


def stages(model: nn.Module, image_shape: Sequence[int]) -> list[str]:
    """List the top-level children with parameters that give a map (N, C, h, w), in the order of execution.

    Without such a child, the list holds the network's last convolution.

    Args:
        image_shape: (3, H, W).

    Raises:
        RunError: the network has neither.
    """
    children = _children(model)
    convolutions = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    for modules, first in ((children, 0), (convolutions, -1)):
        outputs = outputs_on_zeros(model, modules, image_shape)
        names = [name for name, output in outputs.items() if isinstance(output, Tensor) and output.ndim == 4]
        if names:
            return names[first:]
    raise RunError("no layer of the network gives a map; attribution.layers can name some")


def blocks(model: nn.Module, image_shape: Sequence[int]) -> list[str]:
    """List the top-level children with parameters, in the order of execution: the stages and the head.

    Args:
        image_shape: (3, H, W).
    """
    return list(outputs_on_zeros(model, _children(model), image_shape))


def _children(model: nn.Module) -> dict[str, nn.Module]:
    return {name: child for name, child in model.named_children() if any(True for _ in child.parameters())}


def _find_layer(model: nn.Module, name: str) -> nn.Module:
    layer: nn.Module | None = dict(model.named_modules()).get(name)
    if layer is None or not name:
        children = ", ".join(child for child, _ in model.named_children())
        raise RunError(f"Grad-CAM: the model has no layer {name!r}; its stages are {children}")
    return layer


def _scaled(maps: Tensor) -> Tensor:
    """Divide each map by its maximum; a map of zeros has none."""
    highest = maps.amax(dim=(-2, -1), keepdim=True)
    return maps / torch.where(highest > 0, highest, torch.ones_like(highest))
