"""Which variants may be the best: by both rules, and never one that has no finished run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.analysis import ranking
from harness.analysis.comparisons import compare_variants
from harness.analysis.ranking import Ranked, rank_variants
from harness.analysis.results import read_results

Lab = Callable[..., Any]


def ranked(lab: Any) -> list[Ranked]:
    results = read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))
    return rank_variants(results, compare_variants(results))


def logits(lab: Any, right: int) -> np.ndarray:
    """Of the 360 test images the first ``right`` are classified correctly."""
    labels = lab.data.evaluation.labels
    return np.eye(10)[np.where(np.arange(360) < right, labels, (labels + 1) % 10)] * 3


def test_a_variant_without_a_finished_run_stands_last_and_cannot_be_the_best(lab: Lab) -> None:
    made = lab(variants={"lost": {"optimizer.momentum": 0.99}, "slow": {"optimizer.momentum": 0.1}})
    for seed in range(3):
        made.finish("base", seed, logits=logits(made, 330 + seed))
        made.finish("slow", seed, logits=logits(made, 329 + 2 * seed))
        made.fail("lost", seed)
    assert [(one.rank, one.variant, one.possible) for one in ranked(made)] == [
        (1, "base", True),
        (1, "slow", True),
        (3, "lost", False),
    ]
    assert ranking.sentence(ranked(made)) == (
        "2 of 3 variants may be the best; base, slow share the highest mean, and n = 3 does not tell them "
        "apart; no finished run: lost (3 of 3 failed)"
    )


def test_whether_a_variant_that_the_machine_failed_is_the_best_is_unknown(lab: Lab) -> None:
    made = lab(variants={"lost": {"optimizer.momentum": 0.99}, "gone": {"optimizer.momentum": 0.1}})
    for seed in range(3):
        made.finish("base", seed, logits=logits(made, 330 + seed))
        made.fail("lost", seed, kind="disk_full")
        made.fail("gone", seed)
    assert [one.possible for one in ranked(made)] == [True, None, False]
    assert ranking.sentence(ranked(made)) == (
        "of 3 variants base alone has a finished run; no finished run: lost (3 of 3 failed), "
        "gone (3 of 3 failed)"
    )


def test_a_variant_that_is_judged_worse_is_not_said_to_be_possibly_the_best(lab: Lab) -> None:
    """Seeds that lie far apart and a difference that hardly varies: only the paired test can tell."""
    made = lab(variants={"worse": {"optimizer.momentum": 0.99}, "slow": {"optimizer.momentum": 0.1}})
    for seed, right in enumerate((300, 325, 350)):
        made.finish("base", seed, logits=logits(made, right))
        made.finish("worse", seed, logits=logits(made, right - 9 + seed))
        made.finish("slow", seed, logits=logits(made, right + 3 * (seed - 1)))
    by_name = {one.variant: one for one in ranked(made)}
    worse = by_name["worse"]
    assert worse.place is not None and worse.place.possible  # by Games and Howell
    assert (worse.worse_than, worse.possible) == (("base",), False)
    assert ranking.sentence(ranked(made)) == (
        "2 of 3 variants may be the best: base, slow "
        "(Games-Howell, p > 0.05, and not shown to be worse by a comparison)"
    )


def test_without_a_finished_run_nothing_is_ranked(lab: Lab) -> None:
    made = lab(variants={"lost": {"optimizer.momentum": 0.99}, "gone": {"optimizer.momentum": 0.1}})
    for variant in made.study.recipes:
        made.fail(variant, 0)
    assert ranked(made) == []
