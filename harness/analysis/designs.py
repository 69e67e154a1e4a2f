"""How the runs of a variant hang together: independent seeds, a crossed design, several hold-outs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.runs import Run, by_seed
from harness.metrics import Metric
from harness.statistics.anova import EQUAL
from harness.statistics.corrected import CorrectedMean, corrected_t, crossed_t
from harness.statistics.distribution import mean_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Design:
    """A crossed design: the levels of each source, and a value of each combination (L1, ..., Lk).

    A combination without a finished run is NaN.
    """

    levels: dict[str, int]
    values: NDArray[np.float64]

    @property
    def lacking(self) -> int:
        """Count the combinations without a value."""
        return int(np.isnan(self.values).sum())

    @property
    def idle(self) -> list[str]:
        """List the sources whose levels give the same values, in all combinations with the others."""
        ranges = (np.ptp(self.values, axis=axis).max() for axis in range(self.values.ndim))
        return [name for name, width in zip(self.levels, ranges, strict=True) if width <= EQUAL]

    def without(self, sources: Iterable[str]) -> Design:
        """Return the design without sources, of whose levels the first is kept."""
        left = {name: levels for name, levels in self.levels.items() if name not in sources}
        places = tuple(slice(None) if name in left else 0 for name in self.levels)
        return Design(left, np.asarray(self.values[places]))


def crossed_design(runs: Sequence[Run], values: Mapping[int, float]) -> Design | None:
    """Return the crossed design that finished runs of one variant belong to; None for other variants.

    Args:
        values: by seed; runs without one are left out.
    """
    vary = runs[0].recipe.get("vary") if runs else None
    if not isinstance(vary, dict):
        return None
    table = np.full(tuple(vary.values()), np.nan)
    for run in runs:
        place = tuple(getattr(run.seeds, name) for name in vary)
        if run.seed in values and all(at < size for at, size in zip(place, table.shape, strict=True)):
            table[place] = values[run.seed]
    return Design(dict(vary), table)


def corrected_mean(runs: Sequence[Run], values: Mapping[int, float]) -> CorrectedMean | None:
    """Return the mean of values over runs that are not independent; None where they are.

    Of a crossed design in which runs are missing there is no standard error.

    Args:
        runs: finished ones of one variant; of a paired comparison those of either.
        values: by seed: of a metric, or differences of two variants that share the seeds.
    """
    runs = [run for run in runs if run.seed in values]
    if not runs:
        return None
    ratio = _test_train_ratio(runs[0])
    if (design := crossed_design(runs, values)) is not None:
        if design.lacking:
            return CorrectedMean(mean_of(list(values.values())))
        used = design.without(design.idle)
        if not used.levels:
            return CorrectedMean(mean_of(list(values.values())))
        return crossed_t(used.values, [ratio if name == "holdout" else 0.0 for name in used.levels])
    if not runs[0].own_holdout:
        return None
    groups: dict[int, list[float]] = {}
    for run in runs:
        groups.setdefault(run.seeds.holdout, []).append(values[run.seed])
    return corrected_t([mean_of(group) for group in groups.values()], ratio)


def corrected_difference(runs: Sequence[Run], base: Sequence[Run], metric: Metric) -> CorrectedMean | None:
    """Return the mean difference of two variants over shared seeds; None where these are independent.

    Args:
        runs, base: finished ones of each; its differences are the first's less the second's, turned so that
            above 0 the first is better.
    """
    ours, theirs = by_seed(runs, metric), by_seed(base, metric)
    differences = {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())}
    if len(differences) < 2:
        return None
    found = (corrected_mean(group, differences) for group in (runs, base))
    return next((mean for mean in found if mean is not None), None)


def share_seeds(runs: Sequence[Run], base: Sequence[Run]) -> bool:
    """Return whether runs of one seed are pairs: in one folder, and across folders on the same data."""
    if len({run.folder.study for run in (*runs, *base)}) == 1:
        return True
    data = {run.seed: run.data.get("sha256") for run in runs}
    others = {run.seed: run.data.get("sha256") for run in base}
    if not (shared := data.keys() & others.keys()):
        return {*data.values()} == {*others.values()}
    return all(data[seed] == others[seed] for seed in shared)


def _test_train_ratio(run: Run) -> float:
    """Return how many images it was evaluated on for each that it was trained on; infinite where unknown."""
    evaluated, trained = (run.data.get(key) for key in ("evaluation_images", "train_images"))
    return evaluated / trained if evaluated and trained else float("inf")
