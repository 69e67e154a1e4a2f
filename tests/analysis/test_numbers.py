"""Numbers as text: what is not zero does not look like it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.numbers import apart, plus_minus, spread_text


@given(st.floats(1e-9, 1e3), st.integers(0, 4))
def test_a_std_that_is_not_zero_never_looks_like_zero(std: float, decimals: int) -> None:
    mean, _, shown = plus_minus(93.0, std, decimals).partition(" ± ")
    assert float(shown) > 0 and abs(float(shown) - std) <= 0.5001 * 10 ** -len(shown.partition(".")[2])
    assert len(mean.partition(".")[2]) == len(shown.partition(".")[2]) >= decimals


def test_a_zero_is_exact_and_one_run_has_no_spread() -> None:
    assert plus_minus(99.72, 0.0, 1) == "99.7 ± 0"
    assert plus_minus(99.72, 1e-15, 1) == "99.7 ± 0"  # of equal numbers, in floating point
    assert plus_minus(99.72, None, 1) == "99.7"
    assert [spread_text(std, 2) for std in (None, 0.0, 0.17, 0.0042)] == ["–", "0", "0.17", "0.004"]


@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(0, 3))
def test_two_numbers_that_differ_look_different(value: float, other: float, decimals: int) -> None:
    first, second = apart(value, other, decimals)
    if abs(value - other) > 1e-5:
        assert first != second and (float(first) < float(second)) == (value < other)
    assert len(first.partition(".")[2]) <= 6 and "-0" not in {first, second}


def test_a_number_just_above_a_limit_does_not_look_like_it() -> None:
    assert apart(0.5004, 0.5, 2) == ("0.5004", "0.5000")
    assert apart(0.7, 0.5, 2) == ("0.70", "0.50")
    assert apart(0.5, 0.5, 2) == ("0.50", "0.50")
