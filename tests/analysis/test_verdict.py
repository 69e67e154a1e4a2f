"""The verdict in one sentence: right about the target, the failures and the differences, and short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.analysis.findings import analyse
from harness.analysis.results import read_results

Lab = Callable[..., Any]


def said(lab: Any) -> str:
    results = read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))
    return analyse(results).verdict


def logits(lab: Any, wrong: int) -> np.ndarray:
    """Of the first 100 images, all right but the first ``wrong``."""
    labels = lab.data.evaluation.labels[:100].copy()
    labels[:wrong] = (labels[:wrong] + 1) % 10
    return 9.0 * np.eye(10)[labels]


def test_all_runs_that_reached_the_target(lab: Lab) -> None:
    place = lab()
    for seed in range(3):
        place.finish("base", seed, logits=logits(place, 10 + seed))
    assert said(place) == (
        "Target of 70 % reached by all 3 runs: 89.0 ± 1.0 % test accuracy, mean ± std over 3 seeds."
    )


def test_some_runs_that_missed_it_and_one_that_failed(lab: Lab) -> None:
    place = lab()
    place.finish("base", 0, logits=logits(place, 10))
    place.finish("base", 1, logits=logits(place, 40))
    place.fail("base", 2)
    assert said(place).startswith("Target of 70 % reached by 1 of 3 runs: 75.0 ± 21.2 % test accuracy")
    assert said(place).endswith(" over 2 seeds (1 run failed).")


def test_a_single_run(lab: Lab) -> None:
    place = lab(seeds=[0])
    place.finish("base", 0, logits=logits(place, 40))
    assert said(place) == "Target of 70 % missed: 60.0 % test accuracy, from a single run."


def test_a_hold_out_is_named(lab: Lab) -> None:
    place = lab(seeds=[0])
    held = {**place.record("base", 0)["provenance"]["data"], "evaluated_on": "holdout"}
    place.finish("base", 0, logits=logits(place, 10), provenance={"data": held})
    assert "90.0 % hold-out accuracy" in said(place)


def test_nothing_finished(lab: Lab) -> None:
    place = lab()
    assert said(place) == "No verdict: no run has finished (3 not finished yet)."
    for seed in range(3):
        place.fail("base", seed)
    assert said(place) == "No verdict: no run has finished (3 runs failed)."


def test_several_variants_are_named_with_what_sets_them_apart(lab: Lab) -> None:
    place = lab(variants={"weak": {"model.width": 5}, "twin": {"model.width": 6}, "lost": {"model.width": 7}})
    for seed in range(3):
        place.finish("base", seed, logits=logits(place, 10 + seed))
        place.finish("weak", seed, logits=logits(place, 50 + 2 * seed))
        place.finish("twin", seed, logits=logits(place, 12 - seed))
        place.fail("lost", seed)
    assert said(place) == (
        "Target of 70 % reached by every run of base and twin, by no run of weak and lost (3 runs failed); "
        "weak is worse than base, twin is not shown to differ from base, no run of lost finished."
    )


def test_many_variants_are_counted(lab: Lab) -> None:
    place = lab(seeds=[0], variants={f"v{at}": {"model.width": 5 + at} for at in range(6)})
    for variant in place.study.recipes:
        place.finish(variant, 0, logits=logits(place, 10))
    assert said(place) == (
        "Target of 70 % reached by every run of all 7 variants; "
        "no other variant is shown to differ from base."
    )
