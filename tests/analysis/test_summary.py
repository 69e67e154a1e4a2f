"""Verdicts: what a line says of seeds, failures, hold-outs and the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.analysis.findings import Findings, analyse
from harness.analysis.numbers import accuracy_text, percent_text
from harness.analysis.results import read_results
from harness.statistics.distribution import describe

Lab = Callable[..., Any]


def conclusion(lab: Any, seeds: list[int] | None = None) -> Findings:
    seeds = lab.study.seeds if seeds is None else seeds
    results = read_results(lab.study, lab.folder, seeds, list(lab.study.recipes))
    asked = {(variant, seed) for variant in lab.study.recipes for seed in seeds}
    return analyse(results, asked)


def logits(lab: Any, right: int) -> np.ndarray:
    """Logits of the 360 test images of which exactly ``right`` are classified correctly."""
    labels = lab.data.evaluation.labels
    predicted = np.where(np.arange(360) < right, labels, (labels + 1) % 10)
    return np.eye(10)[predicted] * 3


def test_several_seeds_give_mean_std_and_how_many_reached_the_target(lab: Lab) -> None:
    place = lab(target={"test_accuracy": 0.9})
    for seed, right in enumerate((342, 333, 315)):  # 95, 92.5 and 87.5 %
        place.finish("base", seed, logits=logits(place, right))
    assert conclusion(place).verdicts == ["digits: 91.7 ± 3.8 % over 3 seeds; 90 % reached by 2 of 3"]


def test_one_seed_has_no_spread_and_says_so(lab: Lab) -> None:
    place = lab(target={"test_accuracy": 0.9}, seeds=[4])
    place.finish("base", 4, logits=logits(place, 342))
    found = conclusion(place)
    assert found.verdicts == ["digits: 95.0 % (1 seed, no ± from one run); 90 % reached by 1 of 1"]
    assert found.met


def test_a_failed_run_counts_as_one_that_did_not_reach_the_target(lab: Lab) -> None:
    place = lab(target={"test_accuracy": 0.9})
    for seed in (0, 1):
        place.finish("base", seed, logits=logits(place, 342))
    place.fail("base", 2)
    found = conclusion(place)
    assert found.verdicts == ["digits: 95.0 ± 0 % over 2 seeds; 90 % reached by 2 of 3, 1 of 3 failed"]
    assert found.failures == ["digits/base/seed-2: diverged: loss not finite (iteration 12)"]
    assert not found.met


def test_runs_that_are_not_there_yet_are_named(lab: Lab) -> None:
    place = lab(target={"test_accuracy": 0.9})
    place.finish("base", 0, logits=logits(place, 342))
    found = conclusion(place)
    assert found.verdicts == [
        "digits: 95.0 % (1 seed, no ± from one run); 90 % reached by 1 of 1, 2 not finished yet"
    ]
    assert not found.met


def test_a_study_without_a_finished_run_says_so(lab: Lab) -> None:
    place = lab(seeds=[0, 1])
    place.fail("base", 0)
    assert conclusion(place).verdicts == ["digits: no run finished (1 of 1 failed, 1 not finished yet)"]


def test_each_variant_has_a_line(lab: Lab) -> None:
    place = lab(variants={"no_cutout": {"augment.train": []}}, seeds=[0])
    place.finish("base", 0, logits=logits(place, 342))
    first, second = conclusion(place).verdicts
    assert first.startswith("digits/base: 95.0 %")
    assert second == "digits/no_cutout: no run finished (1 not finished yet)"


def test_a_holdout_is_named(lab: Lab) -> None:
    place = lab(target={"test_accuracy": 0.9}, seeds=[0])
    place.finish("base", 0, logits=logits(place, 342), provenance={"data": {"evaluated_on": "holdout"}})
    assert conclusion(place).verdicts[0].startswith("digits: 95.0 % on the hold-out (1 seed")


def test_runs_on_disk_that_were_not_asked_for_do_not_decide(lab: Lab) -> None:
    place = lab(target={"test_accuracy": 0.9})
    place.finish("base", 0, logits=logits(place, 342))
    place.fail("base", 1)
    found = conclusion(place, seeds=[0])
    assert found.met and found.failures == []
    assert "1 of 2 failed" in found.verdicts[0]


@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        ([0.934, 0.936], 0.9, "93.5 ± 0.1 %"),
        ([0.9342, 0.9346], 0.9, "93.44 ± 0.03 %"),
        ([0.99999, 0.99999 + 4e-9], 0.9, "99.9990002 ± 0.0000003 %"),
        ([0.95, 0.95, 0.95], 0.9, "95.0 ± 0 %"),
        ([0.1 + 0.2, 0.3], 0.1, "30.0 ± 0 %"),  # equal but for their last bits
        ([0.8999], 0.9, "89.99 %"),
        ([0.9], 0.9, "90.0 %"),
        ([0.93176], 0.9318, "93.176 %"),
    ],
)
def test_rounding_neither_hides_the_std_nor_lifts_a_mean_to_the_target(
    values: list[float], target: float, expected: str
) -> None:
    found = describe(values)
    assert found is not None
    assert accuracy_text(found, target) == expected


def test_a_studys_own_numbers_are_shown_as_they_were_written() -> None:
    assert [percent_text(value) for value in (0.9, 0.9318, 0.07)] == ["90 %", "93.18 %", "7 %"]
