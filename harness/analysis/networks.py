"""The networks of the variants: their layers, and the arithmetic of training them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.errors import HarnessError
from harness.store.sealed import canonical

if TYPE_CHECKING:
    from torch import nn

    from harness.models.summary import LayerRow

Measured = TypeVar("Measured")
# options as JSON, classes, image shape, the optimizer's parameter groups as JSON
Network = tuple[str, int, tuple[int, int, int], str]


def variant_layers(results: Results) -> dict[str, list[LayerRow]]:
    """Return the layers of every variant whose network a run recorded; equal networks are built once."""
    from harness.models.summary import summarise

    built: dict[Network, list[LayerRow]] = {}
    layers = {}
    for variant in results.variants:
        network = next((network for run in results.of(variant) if (network := _network(run))), None)
        if network is None:
            continue
        if network not in built:
            built[network] = _measure(network, summarise) or []
        layers[variant] = built[network]
    return layers


def training_flops(run: Run) -> int | None:
    """Return an image's operations, forward and backward, times images and epochs; None if unknown."""
    images, epochs, network = run.data.get("train_images"), run.number("epochs"), _network(run)
    if not isinstance(images, int) or epochs is None or network is None:
        return None
    flops = _flops(network)
    return None if flops is None else int(flops * images * epochs)


@cache
def _flops(network: Network) -> int | None:
    from harness.models.summary import flops_per_image

    return _measure(network, flops_per_image)


def _network(run: Run) -> Network | None:
    if not (run.classes and run.recipe.get("model") and any(run.image_shape)):
        return None
    optimizer = canonical(run.recipe.get("optimizer", {}).get("groups", []))
    return canonical(run.recipe["model"]), len(run.classes), run.image_shape, optimizer


def _measure(
    network: Network, measure: Callable[[nn.Module, tuple[int, int, int]], Measured]
) -> Measured | None:
    """Build a network and measure it; None where its package is not installed here."""
    from pydantic import TypeAdapter

    from harness.models.network import NetworkConfig
    from harness.parameter_groups import freeze
    from harness.study_file.parts import ParameterGroup

    model, classes, shape, groups = network
    try:
        config = NetworkConfig.of(json.loads(model), tuple(map(str, range(classes))), shape)

        def measure_trained(built: nn.Module) -> Measured:
            freeze(built, TypeAdapter(list[ParameterGroup]).validate_json(groups))
            return measure(built, shape)

        return config.measure(measure_trained)
    except HarnessError:
        return None
