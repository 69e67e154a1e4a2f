"""Numbers as text: a standard deviation that is not zero is never written as zero."""

from __future__ import annotations

import math

_ZERO = 1e-10  # percent: numbers that differ by less are equal but for rounding


def decimals_of(value: float, least: int) -> int:
    """Count the decimals that a number needs to show a digit that is not 0; ``least`` where it is 0."""
    decimals = least
    while abs(value) > _ZERO and round(abs(value), decimals) == 0:
        decimals += 1
    return decimals


def std_text(std: float | None, decimals: int) -> str:
    """Write a std: ``0.17``; ``0.004`` where two decimals would show zero; ``0`` where it is 0."""
    if std is None:
        return "–"
    return f"{std:.{decimals_of(std, decimals)}f}" if abs(std) > _ZERO else "0"


def plus_minus(mean: float, std: float | None, decimals: int) -> str:
    """Write ``93.4 ± 0.2``, the mean with the decimals of its std; ``93.4`` where there is none."""
    if std is None:
        return f"{mean:.{decimals}f}"
    decimals = decimals_of(std, decimals)
    return f"{mean:.{decimals}f} ± {std_text(std, decimals)}"


def distinguishable(value: float, other: float, decimals: int, most: int = 6) -> tuple[str, str]:
    """Write two numbers with enough decimals to look different where they differ, ``most`` at most."""
    while decimals < most and value != other and round(value, decimals) == round(other, decimals):
        decimals += 1
    # no minus before a zero
    first, second = (f"{round(each, decimals) + 0.0:.{decimals}f}" for each in (value, other))
    return first, second


def percent_text(fraction: float) -> str:
    """Write a study's own number as exactly as it was given: ``90 %``, ``93.18 %``."""
    return f"{round(100 * fraction, 10):g} %"


def interval_text(low: float | None, high: float | None) -> str:
    """Write ``92.92 to 93.60``, in percent."""
    return "–" if low is None or high is None else f"{100 * low:.2f} to {100 * high:.2f}"


def p_text(p: float | None) -> str:
    """Write a p-value with two digits, and never as 0."""
    if p is None:
        return "–"
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def p_equals(p: float | None) -> str:
    """Write ``p = 0.012``, ``p < 0.0001``."""
    return f"p {'' if p is None or p < 0.0001 else '= '}{p_text(p)}"


def minutes_text(seconds: float | None) -> str:
    """Write ``98.8``; ``0.04`` where one decimal would show nothing."""
    if seconds is None:
        return "–"
    return f"{seconds / 60:.1f}" if seconds >= 60 or not seconds else f"{seconds / 60:.2g}"


def several(count: int, noun: str) -> str:
    """Write ``1 run``, ``3 runs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def evidence_text(value: float) -> str:
    """Write an e-value, rounded down so that it never looks large enough where it is not: ``7.3``, ``19``."""
    if value >= 1e6:
        return f"{value:.1e}"
    return f"{math.floor(10 * value) / 10:.1f}" if value < 10 else f"{math.floor(value):,}"
