"""Numbers as text: what is not zero does not look like it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.report.numbers import plus_minus, spread_text


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
