"""How far a variant's Grad-CAM maps can be believed: agreement of seeds, sanity, faithfulness."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.numbers import apart
from harness.analysis.results import Results
from harness.analysis.runs import Run
from harness.attribution.faithfulness import area
from harness.attribution.sanity import MOST, Verdict, judge, judge_gain, together
from harness.data.arrays import Data
from harness.errors import HarnessError
from harness.messages import one_line
from harness.report.attribution.runs import MOST_SEEDS, affordable, network_measures, part_of, seed_agreement
from harness.report.images import RunImages
from harness.statistics.rank_correlation import mean_known

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Every variant has nine figures of its own: a page of hundreds would be neither read nor opened.
MOST_VARIANTS = 8


@dataclass(frozen=True)
class LayerNumbers:
    """What was measured at one layer; means over images, None where there is nothing to measure.

    Attributes:
        agreement: rank correlation of two seeds' maps of an image, the mean over all pairs of seeds.
        agreement_other: the same for maps of different images: what place alone makes them share.
        predicted: rank correlation of the maps of the predicted and of the true class, of errors.
        sanity: rank correlation of the trained network's maps with those of one that learnt nothing.
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
        """The area of ``deletion`` or ``insertion``, and that of random maps."""
        return getattr(self, check), getattr(self, f"{check}_random")

    @property
    def failed(self) -> list[str]:
        """The checks that failed."""
        return [name for name, verdict in self.checks.items() if verdict == "failed"]


@dataclass(frozen=True, eq=False)
class Attributions:
    """Everything that was measured of a variant's maps, for L layers and the first N evaluation images.

    Attributes:
        seed: of the first finished run with weights, which sanity, faithfulness and ``predicted`` are of.
        seeds: whose maps are compared; one has no agreement.
        errors: images that the maps of predicted and true class are compared on.
        stages: blocks, the head first, in the order in which they lost what they had learnt.
        agreement, agreement_other: (pairs, L, N) and (pairs, L).
        predicted: (L, errors).
        sanity, sanity_other: (draws, stages, L, N) and (draws, L).
        curves: (4, L, N, steps + 1): deletion, insertion, and the same in random order.
        empty: (L, N), whether a map is zero everywhere.
    """

    variant: str
    seed: int
    seeds: tuple[int, ...]
    images: int
    errors: int
    layers: list[str]
    stages: list[str]
    agreement: NDArray[np.float64]
    agreement_other: NDArray[np.float64]
    predicted: NDArray[np.float64]
    sanity: NDArray[np.float64]
    sanity_other: NDArray[np.float64]
    curves: NDArray[np.float64]
    empty: NDArray[np.bool_]

    @property
    def pairs(self) -> int:
        """Pairs of seeds."""
        return len(self.agreement)

    @property
    def draws(self) -> int:
        """Cascades of the sanity check."""
        return len(self.sanity)

    @cached_property
    def randomisation(self) -> NDArray[np.float64]:
        """(stages, L): mean rank correlation with the trained network's maps; NaN where there is none."""
        return mean_known(self.sanity, axis=(0, 3))

    @cached_property
    def numbers(self) -> list[LayerNumbers]:
        """By layer."""
        areas = area(self.curves)
        deletion, insertion, deletion_random, insertion_random = areas.mean(axis=2).tolist()
        rows = []
        for at, layer in enumerate(self.layers):
            sanity, verdict = judge(self.sanity[:, -1, at])
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
                    predicted=_mean(self.predicted[at]),
                    sanity=sanity,
                    sanity_other=_mean(self.sanity_other[:, at]),
                    deletion=deletion[at],
                    deletion_random=deletion_random[at],
                    insertion=insertion[at],
                    insertion_random=insertion_random[at],
                    without_evidence=float(self.empty[at].mean()),
                    checks=checks,
                )
            )
        return rows


def _mean(values: NDArray[np.float64]) -> float | None:
    found = float(mean_known(values))
    return found if np.isfinite(found) else None


def sanity_warnings(measured: Sequence[Attributions]) -> list[str]:
    """Name the checks that a variant's maps fail, and at which layers: a line for each variant."""
    lines = []
    for one in measured:
        said = []
        if failed := [
            f"{row.layer} ({apart(row.sanity or 0.0, MOST, 2)[0]})"
            for row in one.numbers
            if "randomisation" in row.failed
        ]:
            said.append(
                f"the model-randomisation check at {', '.join(failed)} (rank correlation above {MOST:g} with "
                "the maps of a network whose weights are drawn anew)"
            )
        for check, better in (("deletion", "lower"), ("insertion", "higher")):
            if failed := [
                f"{row.layer} ({' against '.join(apart(*row.areas(check), 3))})"
                for row in one.numbers
                if check in row.failed
            ]:
                said.append(
                    f"the {check} check at {', '.join(failed)} (its area is not {better} than of random maps)"
                )
        if said:
            lines.append(
                f"{one.variant}: Grad-CAM fails {'; '.join(said)}: there its maps are no explanation of what "
                f"the network uses ({one.draws} draws, {one.images} images, seed {one.seed})."
            )
    return lines


def attribution_wish(results: Results, run: Run) -> dict[str, Any]:
    """Which layers, and how many images: the study's present wish counts, else the run's own."""
    recipe = results.study.recipes.get(run.variant)
    wish: dict[str, Any] = (
        recipe.attribution.model_dump() if recipe is not None else run.recipe["attribution"]
    )
    return wish


def measure(results: Results, images: RunImages) -> tuple[list[Attributions], dict[str, str]]:
    """The measures of every variant's maps that has a run with weights, of the first ``MOST_VARIANTS``.

    Returns:
        The measures, and why those of other variants are not there.
    """
    measured, errors = [], {}
    for variant in list(dict.fromkeys([*results.variants, *results.sweeps]))[:MOST_VARIANTS]:
        runs = results.with_weights(variant)
        if not runs:
            continue
        try:
            measured.append(_measure(runs, attribution_wish(results, runs[0]), images(runs[0])))
        # a network of someone's own may be one that torch cannot copy, count or differentiate
        except (HarnessError, RuntimeError) as error:
            errors[variant] = one_line(error, 1000)
    return measured, errors


def _measure(runs: Sequence[Run], wish: dict[str, Any], data: Data) -> Attributions:
    first = runs[0]
    alike = [run for run in runs if run.data["sha256"] == data.sha256][:MOST_SEEDS]
    count = min(wish["images"], len(data.evaluation), affordable(first, wish["layers"]))
    chosen = part_of(data.evaluation, np.arange(count))
    network = network_measures(first, wish["layers"], chosen, data.evaluation, wish["images"])
    layers, stages = json.loads(network["names"].tobytes())
    if len(alike) > 1:
        agreement = seed_agreement(alike, layers, chosen)
    else:
        agreement = {"same": np.empty((0, len(layers), count)), "other": np.empty((0, len(layers)))}
    return Attributions(
        first.variant,
        first.seed,
        tuple(run.seed for run in alike),
        count,
        network["predicted"].shape[1],
        layers,
        stages,
        agreement["same"],
        agreement["other"],
        network["predicted"],
        network["sanity"],
        network["sanity_other"],
        network["curves"],
        network["empty"],
    )
