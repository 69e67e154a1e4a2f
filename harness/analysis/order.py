"""Which variants come first where not all are shown."""

from __future__ import annotations

from harness.analysis.results import Results
from harness.statistics.distribution import mean_of


def by_rank(results: Results) -> list[str]:
    """Return every variant that has a run or a range test, the most important first.

    The leader comes first, by the mean of the target's metric over finished runs; then the baseline; then
    the others by their means; then those without a finished run, in the study's order.
    """
    variants = list(dict.fromkeys([*results.variants, *results.range_tests]))
    means = {
        variant: mean_of(list(values.values()))
        for variant in variants
        if (values := results.by_seed(results.of(variant, "finished")))
    }
    ranked = sorted(means, key=lambda variant: -means[variant])
    baseline = [name for name in variants if name == results.study.baseline]
    return list(dict.fromkeys([*ranked[:1], *baseline, *ranked, *variants]))
