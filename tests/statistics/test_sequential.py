"""Seeds added after looking: planned looks and e-values err as rarely as the page says, peeking does not.

The simulations compute thousands of studies at once (benchmarks/sequential.py); the first tests show that
they decide as the harness decides. ``-m slow`` repeats them with more studies.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks import sequential
from harness.statistics.anytime import confidence_sequence, e_value
from harness.statistics.comparison import holm, paired_t
from harness.statistics.looks import decide_at_looks
from harness.statistics.power import seeds_needed

STUDIES = 20_000
LOOKS = [3, 5, 10, 20]
SOUND = ("looks 3, 5, 10, 20", "looks 3, 5, 10", "e-value after every seed")


def monte_carlo(rate: float, studies: int = STUDIES) -> float:
    """Four standard errors of a rate: passed by chance once in 30,000 times."""
    return 4 * math.sqrt(rate * (1 - rate) / studies)


@pytest.mark.parametrize("kind", sequential.KINDS)
@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_the_simulations_decide_as_the_harness_decides(kind: str, effect: float) -> None:
    values = sequential.differences(np.random.default_rng(3), kind, 40, 3, effect)
    t, mean, error = sequential.t_paths(values)
    at = np.array(LOOKS) - 1
    looked, fixed = sequential.planned(t, LOOKS), sequential.at_a_fixed_n(t)
    found_e = sequential.e_paths(t)
    for study in range(40):
        decisions = decide_at_looks(t[study][:, at].tolist(), [LOOKS] * 3, LOOKS, 0.05)
        decided = [[one.look is not None and one.look <= look for look in range(4)] for one in decisions]
        assert looked[study][:, at].tolist() == decided
        for n in (2, 3, 10, 20):
            tests = [paired_t(row[:n]) for row in values[study].tolist()]
            assert [test.difference for test in tests] == pytest.approx(mean[study, :, n - 1], abs=1e-12)
            corrected = holm([test.p or 0.0 for test in tests])
            assert fixed[study, :, n - 1].tolist() == [p <= 0.05 for p in corrected]
            evidence = [e_value(row[:n]) for row in values[study].tolist()]
            assert evidence == pytest.approx(found_e[study, :, n - 1], rel=1e-6)
            low, high = confidence_sequence(values[study, 0, :n].tolist(), 0.05) or (math.nan, math.nan)
            half = sequential.confidence_factors()[n - 1] * error[study, 0, n - 1]
            assert high - low == pytest.approx(2 * half, rel=1e-6)


def test_the_simulated_studies_follow_the_advice_as_the_page_gives_it() -> None:
    values = sequential.differences(np.random.default_rng(4), "normal", 40, 1, 0.8)
    decided = sequential.as_advised(sequential.t_paths(values)[0])[:, 0, -1]
    for study in range(40):
        n, verdict = 3, False
        while n <= sequential.MOST and not verdict:
            test = paired_t(values[study, 0, :n].tolist())
            verdict = (test.p or 1.0) <= 0.05
            n = max(n + 1, seeds_needed(test.effect_size or 0.0, paired=True, alpha=0.05) or 10_000)
        assert decided[study] == verdict


def test_seeds_added_until_a_t_test_rejects_give_false_verdicts_as_the_page_says() -> None:
    found = sequential.false_verdicts("normal", STUDIES)
    assert found["t test after every seed"][2:] == pytest.approx([0.169, 0.231], abs=0.012)
    assert found["t test, adding the suggested seeds"][3] > 0.08


@pytest.mark.parametrize("kind", ["normal", "both skewed"])
def test_planned_looks_and_e_values_reject_a_true_null_in_at_most_5_percent(kind: str) -> None:
    alone = sequential.false_verdicts(kind, STUDIES)
    families = [sequential.false_families(kind, 5_000, effect) for effect in (0.0, 2.0)]
    for way in SOUND:
        assert max(alone[way]) < 0.05 + monte_carlo(0.05), way
        assert max(max(found[way]) for found in families) < 0.05 + monte_carlo(0.05, 5_000), way


def test_unseen_bad_seeds_of_one_recipe_deceive_planned_looks_as_the_page_says() -> None:
    found = sequential.false_verdicts("one skewed", STUDIES)
    assert found["looks 3, 5, 10, 20"][-1] == pytest.approx(0.069, abs=0.01)
    assert found["e-value after every seed"][-1] < 0.05


def test_the_power_is_what_the_page_says() -> None:
    found = {effect: sequential.power("normal", effect, STUDIES) for effect in (0.5, 1.0, 2.0)}
    looks = [found[effect]["looks 3, 5, 10, 20"][0][-1] for effect in found]
    evidence = [found[effect]["e-value after every seed"][0][-1] for effect in found]
    assert looks == pytest.approx([0.54, 0.985, 1.0], abs=0.015)
    assert evidence == pytest.approx([0.24, 0.87, 1.0], abs=0.015)
    assert found[1.0]["looks 3, 5, 10, 20"][1] == pytest.approx(14.7, abs=0.2)


@pytest.mark.parametrize("kind", ["normal", "both skewed"])
def test_intervals_of_looks_and_confidence_sequences_hold_at_all_n_together(kind: str) -> None:
    found = sequential.simultaneous_coverage(kind, STUDIES)
    assert found.pop("t interval, every n from 3")[-1] < 0.85
    assert min(map(min, found.values())) > 0.95 - monte_carlo(0.05)


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_the_interval_at_the_stop_covers_by_the_bound_of_its_look(effect: float) -> None:
    assert sequential.coverage_at_the_stop("normal", effect, STUDIES)["look's interval"] > 0.95 - 0.006


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "both skewed"])
def test_rates_hold_in_many_more_studies(kind: str) -> None:
    rates = [
        sequential.false_verdicts(kind, 400_000, seed=21),
        sequential.false_families(kind, 100_000, seed=22),
    ]
    for found, studies in zip(rates, (400_000, 100_000), strict=True):
        for way in SOUND:
            assert max(found[way]) < 0.05 + monte_carlo(0.05, studies), way
