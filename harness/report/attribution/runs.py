"""What is computed with the weights of finished runs to judge their maps, kept by content."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import harness
from harness.analysis.runs import Run
from harness.attribution.faithfulness import STEPS, deletion_insertion, pixel_order
from harness.attribution.maps import coarse_maps, enlarge, stages
from harness.attribution.sanity import DRAWS, own_and_other, randomise
from harness.compute import format_on_cpu
from harness.data.arrays import Split, split_of
from harness.data.batches import Batches
from harness.data.cache import cached_arrays
from harness.device import use_threads
from harness.errors import RunError
from harness.models.network import NetworkConfig
from harness.models.summary import flops_per_image
from harness.models.weights import load_weights
from harness.report.galleries import choose
from harness.seeding import derive_seed, global_seed

VERSION = 1  # of the method: a change of any number below makes a new one
MOST_SEEDS = 5  # whose maps are compared
BUDGET = 6e12  # floating-point operations a variant: 26 images of 32x32 for 6.6 million parameters, 6 layers


def affordable(run: Run, layers: Sequence[str]) -> int:
    """How many images ``BUDGET`` is enough for.

    Raises:
        RunError: not for one.
    """
    shape = run.image_shape

    def measure(model: nn.Module) -> tuple[int, int, float]:
        blocks = sum(any(True for _ in child.parameters()) for child in model.children())
        return len(layers) or len(stages(model, shape)), blocks, flops_per_image(model, shape) / 3

    named, blocks, forward = NetworkConfig.of(run.recipe["model"], run.classes, shape).measure(measure)
    attributed = DRAWS * blocks + 3 + MOST_SEEDS  # maps of all layers: forward, and back to the activations
    predicted = 4 * (STEPS - 1) * named  # two curves and two of random order
    found = int(BUDGET // (forward * (3 * attributed + predicted)))
    if not found:
        raise RunError(
            f"one image of {'x'.join(map(str, shape))} would take more than {BUDGET:.0e} operations: "
            "smaller images or fewer attribution.layers are needed"
        )
    return found


def part_of(split: Split, indices: NDArray[np.intp]) -> Split:
    """These images of a split, with a checksum of their own."""
    return split_of(split.images[indices], split.labels[indices], split.classes)


# ---- one network ----------------------------------------------------------------------------------------


def network_measures(
    run: Run, wished: Sequence[str], chosen: Split, evaluation: Split, most_errors: int
) -> dict[str, NDArray[Any]]:
    """Sanity, faithfulness, and predicted against true class, of one run's weights.

    Args:
        wished: the layers' names; empty takes the network's stages.
        chosen: the images; their true class is the one explained.
        evaluation: the split whose most confident errors, at most ``most_errors``, are explained for the
            predicted and for the true class.

    Returns:
        ``names``: layers and randomised blocks, as JSON in bytes; and by their names there what
        :class:`~harness.report.attribution.measures.Attributions` has of one network.

    Raises:
        RunError: the weights cannot be loaded, or Grad-CAM does not work on a layer.
    """
    found = run.predictions
    assert found is not None
    choice = choose(run, min(most_errors, len(chosen)))
    errors = choice.indices if choice.wrong else choice.indices[:0]
    taken_for = found.predicted[errors].tolist()
    key = {
        **_key([run], wished, chosen),
        "errors": part_of(evaluation, errors).sha256 if len(errors) else None,
        "taken_for": taken_for,
        "draws": DRAWS,
        "steps": STEPS,
    }

    def build() -> dict[str, NDArray[Any]]:
        with use_threads(run.threads):
            wrong = part_of(evaluation, errors) if len(errors) else None
            return _build_network(run, wished, chosen, wrong, taken_for)

    return cached_arrays("attribution-network", key, build)


def _build_network(
    run: Run, wished: Sequence[str], chosen: Split, wrong: Split | None, taken_for: Sequence[int]
) -> dict[str, NDArray[Any]]:
    model, fresh = _networks(run)
    images, targets = _inputs(run, chosen)
    layers = list(wished) or stages(model, images.shape[1:])
    maps = coarse_maps(model, layers, images, targets)
    sanity = randomise(model, fresh, layers, images, targets, maps)

    random = np.random.default_rng(derive_seed(0, "attribution"))
    size = images.shape[-2], images.shape[-1]
    ties = random.random((len(images), *size))
    sizes = list(dict.fromkeys(layer.shape for layer in maps))
    unrelated = [random.random(shape, dtype=np.float32) for shape in sizes]
    orders = [pixel_order(enlarge(layer, *size), ties) for layer in [*maps, *unrelated]]
    deletion, insertion = deletion_insertion(model, images, targets, orders)
    own = list(range(len(layers)))
    control = [len(layers) + sizes.index(layer.shape) for layer in maps]

    predicted = np.empty((len(layers), 0))
    if wrong is not None:
        inputs, labels = _inputs(run, wrong)
        both = (coarse_maps(model, layers, inputs, classes) for classes in (taken_for, labels))
        predicted = np.array([own_and_other(*pair)[0] for pair in zip(*both, strict=True)])
    return {
        "names": np.frombuffer(json.dumps([layers, sanity.stages]).encode(), dtype=np.uint8),
        "sanity": sanity.same,
        "sanity_other": sanity.other,
        "curves": np.stack([deletion[own], insertion[own], deletion[control], insertion[control]]),
        "predicted": predicted,
        "empty": np.array([layer.max(axis=(1, 2)) == 0 for layer in maps]),
    }


# ---- several seeds --------------------------------------------------------------------------------------


def seed_agreement(runs: Sequence[Run], layers: Sequence[str], chosen: Split) -> dict[str, NDArray[Any]]:
    """How alike the maps of every pair of runs are; one network is in memory at a time.

    Returns:
        ``same`` (pairs, L, N) and ``other`` (pairs, L), as :func:`own_and_other` has them.

    Raises:
        RunError: the weights cannot be loaded, or Grad-CAM does not work on a layer.
    """

    def build() -> dict[str, NDArray[Any]]:
        with use_threads(runs[0].threads):
            maps = [coarse_maps(_networks(run)[0], layers, *_inputs(run, chosen)) for run in runs]
        found = [
            [own_and_other(*pair) for pair in zip(first, second, strict=True)]
            for first, second in itertools.combinations(maps, 2)
        ]
        return {
            "same": np.array([[same for same, _ in pair] for pair in found]),
            "other": np.array([[other for _, other in pair] for pair in found]),
        }

    return cached_arrays("attribution-seeds", _key(runs, layers, chosen), build)


# ---- what both need -------------------------------------------------------------------------------------


def _key(runs: Sequence[Run], layers: Sequence[str], chosen: Split) -> dict[str, object]:
    """Everything that decides the maps of these runs' networks, by content."""
    return {
        "version": VERSION,
        "harness": harness.__version__,
        "torch": torch.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),  # type: ignore[no-untyped-call]
        "threads": runs[0].threads,
        "weights": [run.record.files["model.safetensors"] for run in runs if run.record],
        "pipelines": [run.recipe["augment"]["test"] for run in runs],
        "layers": list(layers),
        "images": chosen.sha256,
    }


def _networks(run: Run) -> tuple[nn.Module, Any]:
    """A run's trained network, and how to make the same with newly drawn weights."""
    model, network = load_weights(run.folder.weights_file)

    def fresh(draw: int) -> nn.Module:
        with global_seed(draw, "randomise"):
            return network.build()

    return model.to(memory_format=format_on_cpu(run.identity)), fresh  # type: ignore[call-overload]


def _inputs(run: Run, split: Split) -> tuple[Tensor, list[int]]:
    """The images as the run's evaluation has them, the same for every seed, and their true classes."""
    batches = Batches(split, run.recipe["augment"]["test"], len(split), seed=0, shuffle=False)
    images, labels = next(iter(batches))
    return images.contiguous(memory_format=format_on_cpu(run.identity)), labels.tolist()
