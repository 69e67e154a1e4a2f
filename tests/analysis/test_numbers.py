"""Numbers as text: what is not zero does not look like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.numbers import (
    distinguishable,
    p_equals,
    p_text,
    percent_text,
    plus_minus,
    std_text,
)
from harness.analysis.units import accuracy_text
from harness.statistics.distribution import describe


@given(st.floats(1e-9, 1e3), st.integers(0, 4))
def test_a_std_that_is_not_zero_never_looks_like_zero(std: float, decimals: int) -> None:
    mean, _, shown = plus_minus(93.0, std, decimals).partition(" ± ")
    assert float(shown) > 0 and abs(float(shown) - std) <= 0.5001 * 10 ** -len(shown.partition(".")[2])
    assert len(mean.partition(".")[2]) == len(shown.partition(".")[2]) >= decimals


def test_a_zero_is_exact_and_one_run_has_no_spread() -> None:
    assert plus_minus(99.72, 0.0, 1) == "99.7 ± 0"
    assert plus_minus(99.72, 1e-15, 1) == "99.7 ± 0"  # of equal numbers, in floating point
    assert plus_minus(99.72, None, 1) == "99.7"
    assert [std_text(std, 2) for std in (None, 0.0, 0.17, 0.0042)] == ["–", "0", "0.17", "0.004"]


@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(0, 3))
def test_two_numbers_that_differ_look_different(value: float, other: float, decimals: int) -> None:
    first, second = distinguishable(value, other, decimals)
    if abs(value - other) > 1e-5:
        assert first != second and (float(first) < float(second)) == (value < other)
    assert len(first.partition(".")[2]) <= 6 and "-0" not in {first, second}


def test_a_number_just_above_a_limit_does_not_look_like_it() -> None:
    assert distinguishable(0.5004, 0.5, 2) == ("0.5004", "0.5000")
    assert distinguishable(0.7, 0.5, 2) == ("0.70", "0.50")
    assert distinguishable(0.5, 0.5, 2) == ("0.50", "0.50")


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
    accuracy = describe(values)
    assert accuracy is not None
    assert accuracy_text(accuracy, target) == expected


def test_a_studys_own_numbers_are_shown_as_they_were_written() -> None:
    assert [percent_text(value) for value in (0.9, 0.9318, 0.07)] == ["90 %", "93.18 %", "7 %"]


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0123, "0.012"), (0.5, "0.50"), (0.0499, "0.05"), (0.00012, "0.00012"), (1e-9, "< 0.0001")],
)
def test_p_values_have_two_digits_and_are_never_zero(p: float, text: str) -> None:
    assert p_text(p) == text
    assert p_equals(p) == (f"p {text}" if text.startswith("<") else f"p = {text}")
