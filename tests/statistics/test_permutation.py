"""Permutation tests: every arrangement counted by hand."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from harness.statistics.permutation import relabelled, sign_flips


def flips_by_hand(differences: list[Fraction]) -> Fraction:
    totals = [
        sum(sign * value for sign, value in zip(signs, differences, strict=True))
        for signs in itertools.product([1, -1], repeat=len(differences))
    ]
    above = sum(total >= sum(differences) for total in totals)
    below = sum(total <= sum(differences) for total in totals)
    return min(Fraction(1), 2 * Fraction(min(above, below), len(totals)))


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_sign_flips_are_counted_exactly_ties_included(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(20):
        # accuracies on 10,000 images, whose differences tie often and are not exact in floating point
        ours, theirs = rng.integers(9330, 9336, (2, n))
        exact = [Fraction(int(a) - int(b), 10_000) for a, b in zip(ours, theirs, strict=True)]
        found = sign_flips([a / 10_000 - b / 10_000 for a, b in zip(ours, theirs, strict=True)])
        assert found.p == pytest.approx(float(flips_by_hand(exact)), rel=1e-12)
        assert found.exact and found.smallest_p == pytest.approx(2 / 2**n)


def test_labels_are_dealt_exactly_ties_included() -> None:
    rng = np.random.default_rng(0)
    for n, m in ((3, 3), (2, 4), (4, 3)):
        counts = rng.integers(9330, 9336, n + m).tolist()
        totals = [sum(chosen) for chosen in itertools.combinations(counts, n)]
        observed = sum(counts[:n])
        tail = min(sum(t >= observed for t in totals), sum(t <= observed for t in totals)) / len(totals)
        found = relabelled([c / 10_000 for c in counts[:n]], [c / 10_000 for c in counts[n:]])
        assert found.p == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


def test_few_runs_cannot_go_below_a_smallest_p() -> None:
    three, five = (
        relabelled([0.95, 0.951, 0.952], [0.9, 0.901, 0.902]),
        sign_flips([0.01, 0.02, 0.01, 0.03, 0.01]),
    )
    assert [three.p, three.smallest_p] == pytest.approx([0.1, 0.1])
    assert (five.p, five.smallest_p) == (0.0625, 0.0625)


def test_equal_values_give_a_p_of_one() -> None:
    assert sign_flips([0.0, 0.0, 0.0]).p == relabelled([0.9, 0.9], [0.9, 0.9]).p == 1.0


def test_too_many_arrangements_are_drawn_the_same_each_time() -> None:
    differences = np.random.default_rng(1).normal(0.001, 0.002, 20).tolist()
    state = np.random.get_state()[1].tolist()  # type: ignore[index]
    found = sign_flips(differences)
    assert sign_flips(differences) == found
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index]
    assert (found.exact, found.smallest_p) == (False, 2 / 10_000)
    # 2^20 arrangements can be counted with sums of halves
    halves = [np.array(list(itertools.product([1, -1], repeat=10))) @ np.array(differences[at : at + 10])
              for at in (0, 10)]  # fmt: skip
    totals = np.add.outer(*halves).ravel()
    assert found.p == pytest.approx(2 * np.mean(totals >= sum(differences) - 1e-12), abs=0.02)
