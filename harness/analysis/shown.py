"""Which variants are shown where not all of them have room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.analysis.results import Results


def best_first(results: Results) -> list[str]:
    """Return the variants by their mean of the target's metric, the best first.

    Those without a finished run come last; equal ones keep the study's order.
    """

    def rank(variant: str) -> float:
        values = results.by_seed(results.of(variant, "finished")).values()
        return -float(np.mean(list(values))) if values else np.inf

    names = list(dict.fromkeys([*results.variants, *results.range_tests]))
    return sorted(names, key=rank)


def page_order(results: Results) -> list[str]:
    """Return the variants in the order of their figures: the leader, the baseline, then the best first."""
    names = best_first(results)
    baseline = [name for name in names if name == results.study.baseline]
    return list(dict.fromkeys([*names[:1], *baseline, *names]))


def shown_variants(results: Results, most: int) -> list[str]:
    """Return all variants in the study's order; of more than ``most``, the best means and the baseline."""
    names = list(dict.fromkeys([*results.variants, *results.range_tests]))
    if len(names) <= most:
        return names
    baseline = results.study.baseline
    first = [name for name in best_first(results) if name != baseline]
    chosen = {baseline, *first[: most - 1]} if baseline in names else set(first[:most])
    return [name for name in names if name in chosen]


def shown_rule(results: Results, shown: Sequence[str], among: int) -> str:
    """Say by which rule these variants were chosen: ``the 7 with the best mean and the baseline, of 31``."""
    best = len([name for name in shown if name != results.study.baseline])
    baseline = " and the baseline" if best < len(shown) else ""
    return f"the {best} with the best mean{baseline}, of {among} variants"
