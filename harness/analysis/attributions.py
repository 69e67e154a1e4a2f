"""Grad-CAM quality of a variant: agreement of the maps between seeds, sanity checks, faithfulness."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.analysis.examples import choose_examples
from harness.analysis.images import RunImages
from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.analysis.shown import shown_variants
from harness.attribution import measures
from harness.attribution.faithfulness import STEPS, area
from harness.attribution.maps import coarse_maps, stages
from harness.attribution.sanity import DRAWS, Verdict, judge, judge_gain, together
from harness.compute import format_on_cpu
from harness.data.arrays import Data, Split, split_of
from harness.data.batches import Batches
from harness.data.cache import cached_arrays
from harness.device import use_threads
from harness.errors import HarnessError, RunError
from harness.messages import one_line
from harness.models.network import NetworkConfig
from harness.models.summary import flops_per_image
from harness.models.weights import load_weights
from harness.seeding import global_seed
from harness.statistics.rank_correlation import mean_known
from harness.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1  # of the method: raise it when a number below changes, so that cached measures are not reused
MOST_SEEDS = 5  # seeds whose maps are compared with one another
BUDGET = 6e12  # floating-point operations a variant: 26 images of 32x32 for 6.6 million parameters, 6 layers
# Every variant has nine figures of its own: a page of hundreds would be neither read nor opened.
MOST_VARIANTS = 8


@dataclass(frozen=True)
class LayerNumbers:
    """What was measured at one layer; means over images, None where there is nothing to measure.

    Attributes:
        agreement: rank correlation of two seeds' maps of an image, the mean over all pairs of seeds.
        agreement_other: the same for maps of different images: the part that the position alone explains.
        predicted: rank correlation of the maps of the predicted and of the true class, of errors.
        sanity: rank correlation of the trained network's maps with those of a network with random weights.
        sanity_other: the same for different images.
        deletion, insertion: areas under the curves; ``_random``: those of random maps of the layer's size.
        without_evidence: share of the maps that are zero everywhere.
        checks: ``randomisation``, ``deletion`` and ``insertion``, the last two against random maps, and what
            came of each.
    """

    layer: str
    agreement: float | None
    agreement_other: float | None
    predicted: float | None
    sanity: float | None
    sanity_other: float | None
    deletion: float
    deletion_random: float
    insertion: float
    insertion_random: float
    without_evidence: float
    checks: dict[str, Verdict]

    @property
    def verdict(self) -> Verdict:
        """Join the checks: a layer passes where it passes all of them."""
        return together(self.checks.values())

    def areas(self, check: str) -> tuple[float, float]:
        """Return the area of ``deletion`` or ``insertion``, and that of random maps."""
        return getattr(self, check), getattr(self, f"{check}_random")

    @property
    def failed(self) -> list[str]:
        """List the checks that failed."""
        return [name for name, verdict in self.checks.items() if verdict == "failed"]


@dataclass(frozen=True, eq=False)
class Attributions:
    """Everything that was measured of a variant's maps, for L layers and the first N evaluation images.

    Attributes:
        seed: of the first finished run with weights, which ``network`` is of.
        seeds: whose maps are compared; one has no agreement.
        agreement, agreement_other: (pairs, L, N) and (pairs, L).
    """

    variant: str
    seed: int
    seeds: tuple[int, ...]
    images: int
    layers: list[str]
    agreement: NDArray[np.float64]
    agreement_other: NDArray[np.float64]
    network: measures.NetworkMeasures

    @property
    def pairs(self) -> int:
        """Count the pairs of seeds."""
        return len(self.agreement)

    @property
    def draws(self) -> int:
        """Count the cascades of the sanity check."""
        return len(self.network.sanity)

    @property
    def errors(self) -> int:
        """Count the images that the maps of predicted and true class are compared on."""
        return len(self.network.predicted[0])

    @cached_property
    def randomisation(self) -> NDArray[np.float64]:
        """Return the mean rank correlation with the trained network's maps (stages, L); NaN where unknown."""
        return mean_known(self.network.sanity, axis=(0, 3))

    @cached_property
    def numbers(self) -> list[LayerNumbers]:
        """Summarise each layer."""
        network, areas = self.network, area(self.network.curves)
        deletion, insertion, deletion_random, insertion_random = areas.mean(axis=2).tolist()
        rows = []
        for at, layer in enumerate(self.layers):
            sanity, verdict = judge(network.sanity[:, -1, at])
            checks: dict[str, Verdict] = {
                "randomisation": verdict,
                "deletion": judge_gain(areas[2, at] - areas[0, at]),
                "insertion": judge_gain(areas[1, at] - areas[3, at]),
            }
            rows.append(
                LayerNumbers(
                    layer=layer,
                    agreement=_mean(self.agreement[:, at]),
                    agreement_other=_mean(self.agreement_other[:, at]),
                    predicted=_mean(network.predicted[at]),
                    sanity=sanity,
                    sanity_other=_mean(network.sanity_other[:, at]),
                    deletion=deletion[at],
                    deletion_random=deletion_random[at],
                    insertion=insertion[at],
                    insertion_random=insertion_random[at],
                    without_evidence=float(network.empty[at].mean()),
                    checks=checks,
                )
            )
        return rows


def _mean(values: NDArray[np.float64]) -> float | None:
    mean = float(mean_known(values))
    return mean if np.isfinite(mean) else None


def attribution_settings(results: Results, run: Run) -> dict[str, Any]:
    """Return the layers and the number of images: from the study as it is now, else from the run's recipe."""
    recipe = results.study.recipes.get(run.variant)
    settings: dict[str, Any] = (
        recipe.attribution.model_dump() if recipe is not None else run.recipe["attribution"]
    )
    return settings


def measure(results: Results, images: RunImages) -> tuple[list[Attributions], dict[str, str]]:
    """Measure the maps of every variant that is shown on its own and has a run with weights.

    Returns:
        The measures; and variant -> the reason why it could not be measured.
    """
    measured, errors = [], {}
    for variant in shown_variants(results, MOST_VARIANTS):
        runs = results.with_weights(variant)
        if not runs:
            continue
        try:
            measured.append(_measure(runs, attribution_settings(results, runs[0]), images(runs[0])))
        # torch may be unable to copy, count or differentiate a user's own network
        except (HarnessError, RuntimeError) as error:
            errors[variant] = one_line(error, 1000)
    return measured, errors


def _measure(runs: Sequence[Run], settings: dict[str, Any], data: Data) -> Attributions:
    first = runs[0]
    alike = [run for run in runs if run.data["sha256"] == data.sha256][:MOST_SEEDS]
    count = min(settings["images"], len(data.evaluation), affordable(first, settings["layers"]))
    chosen = part_of(data.evaluation, np.arange(count))
    layers, network = network_measures(first, settings["layers"], chosen, data.evaluation, settings["images"])
    same, other = np.empty((0, len(layers), count)), np.empty((0, len(layers)))
    if len(alike) > 1:
        same, other = seed_agreement(alike, layers, chosen)
    seeds = tuple(run.seed for run in alike)
    return Attributions(first.variant, first.seed, seeds, count, layers, same, other, network)


def affordable(run: Run, layers: Sequence[str]) -> int:
    """Return how many images can be measured within ``BUDGET``.

    Raises:
        RunError: one image alone exceeds it.
    """
    shape = run.image_shape

    def count(model: nn.Module) -> tuple[int, int, float]:
        blocks = sum(any(True for _ in child.parameters()) for child in model.children())
        return len(layers) or len(stages(model, shape)), blocks, flops_per_image(model, shape) / 3

    named, blocks, forward = NetworkConfig.of(run.recipe["model"], run.classes, shape).measure(count)
    attributed = DRAWS * blocks + 3 + MOST_SEEDS  # passes: forward, and back to the activations
    predicted = 4 * (STEPS - 1) * named  # deletion and insertion curves, of the map and of a random order
    images = int(BUDGET // (forward * (3 * attributed + predicted)))
    if not images:
        raise RunError(
            f"one image of {'x'.join(map(str, shape))} would take more than {BUDGET:.0e} operations: "
            "smaller images or fewer attribution.layers are needed"
        )
    return images


def part_of(split: Split, indices: NDArray[np.intp]) -> Split:
    """Return these images of a split, with a checksum of their own."""
    return split_of(split.images[indices], split.labels[indices], split.classes)


def network_measures(
    run: Run, wished: Sequence[str], chosen: Split, evaluation: Split, most_errors: int
) -> tuple[list[str], measures.NetworkMeasures]:
    """Return the layers, and the measures of one run's weights, from the cache if they are in it.

    Args:
        wished: the layers' names; empty takes the network's stages.
        chosen: the images; their true class is the one explained.
        evaluation: the split whose most confident errors, at most ``most_errors``, are explained for the
            predicted and for the true class.

    Raises:
        RunError: the weights cannot be loaded, or Grad-CAM does not work on a layer.
    """
    examples = choose_examples(run, min(most_errors, len(chosen)))
    wrong = part_of(evaluation, examples.indices) if examples.wrong else None
    taken_for = examples.predictions.predicted[examples.indices].tolist() if examples.wrong else []
    key = {
        **_key([run], wished, chosen),
        "errors": wrong.sha256 if wrong else None,
        "taken_for": taken_for,
        "draws": DRAWS,
        "steps": STEPS,
    }

    def build() -> dict[str, NDArray[Any]]:
        with use_threads(run.threads):
            model, fresh = _networks(run)
            images, targets = _inputs(run, chosen)
            layers = list(wished) or stages(model, images.shape[1:])
            errors = measures.Errors(*_inputs(run, wrong), taken_for) if wrong else None
            arrays = vars(measures.measure_network(model, fresh, layers, images, targets, errors)).copy()
        names = json.dumps([layers, arrays.pop("stages")]).encode()
        return {"names": np.frombuffer(names, dtype=np.uint8), **arrays}

    arrays = cached_arrays("attribution-network", key, build)
    layers, names = json.loads(arrays["names"].tobytes())
    rest = {name: array for name, array in arrays.items() if name != "names"}
    return layers, measures.NetworkMeasures(names, **rest)


def seed_agreement(
    runs: Sequence[Run], layers: Sequence[str], chosen: Split
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare the maps of every pair of runs; one network is in memory at a time.

    Returns:
        See :func:`~harness.attribution.measures.agreement`.

    Raises:
        RunError: the weights cannot be loaded, or Grad-CAM does not work on a layer.
    """

    def build() -> dict[str, NDArray[Any]]:
        with use_threads(runs[0].threads):
            maps = [coarse_maps(_networks(run)[0], layers, *_inputs(run, chosen)) for run in runs]
        same, other = measures.agreement(maps)
        return {"same": same, "other": other}

    arrays = cached_arrays("attribution-seeds", _key(runs, layers, chosen), build)
    return arrays["same"], arrays["other"]


def _key(runs: Sequence[Run], layers: Sequence[str], chosen: Split) -> dict[str, object]:
    """Return everything that decides the maps of these runs' networks, by content."""
    return {
        "version": VERSION,
        "harness": __version__,
        "torch": torch.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),  # type: ignore[no-untyped-call]
        "threads": runs[0].threads,
        "weights": [run.record.files["model.safetensors"] for run in runs if run.record],
        "pipelines": [run.recipe["augment"]["test"] for run in runs],
        "layers": list(layers),
        "images": chosen.sha256,
    }


def _networks(run: Run) -> tuple[nn.Module, Any]:
    """Return a run's trained network, and how to make the same with newly drawn weights."""
    model, network = load_weights(run.folder.weights_file)

    def fresh(draw: int) -> nn.Module:
        with global_seed(draw, "randomise"):
            return network.build()

    return model.to(memory_format=format_on_cpu(run.identity)), fresh  # type: ignore[call-overload]


def _inputs(run: Run, split: Split) -> tuple[Tensor, list[int]]:
    """Return the images as the run's evaluation has them, the same for every seed, and their true classes."""
    batches = Batches(split, run.recipe["augment"]["test"], len(split), seed=0, shuffle=False)
    images, labels = next(iter(batches))
    return images.contiguous(memory_format=format_on_cpu(run.identity)), labels.tolist()
