"""Numbers as text: a spread that is not zero is never written as zero."""

from __future__ import annotations

_ZERO = 1e-10  # floating-point differences of equal numbers, in percent


def decimals_of(value: float, least: int) -> int:
    """Count the decimals that a number needs to show a digit that is not 0; ``least`` where it is 0."""
    decimals = least
    while abs(value) > _ZERO and round(abs(value), decimals) == 0:
        decimals += 1
    return decimals


def spread_text(std: float | None, decimals: int) -> str:
    """Write a std: ``0.17``; ``0.004`` where two decimals would show zero; ``0`` where it is 0."""
    if std is None:
        return "–"
    return f"{std:.{decimals_of(std, decimals)}f}" if abs(std) > _ZERO else "0"


def plus_minus(mean: float, std: float | None, decimals: int) -> str:
    """Write ``93.4 ± 0.2``, the mean with the decimals of its std; ``93.4`` where there is none."""
    if std is None:
        return f"{mean:.{decimals}f}"
    decimals = decimals_of(std, decimals)
    return f"{mean:.{decimals}f} ± {spread_text(std, decimals)}"


def apart(value: float, other: float, decimals: int, most: int = 6) -> tuple[str, str]:
    """Write two numbers with so many decimals that the larger one looks larger, ``most`` at most."""
    while decimals < most and value != other and round(value, decimals) == round(other, decimals):
        decimals += 1
    # no minus before a zero
    first, second = (f"{round(each, decimals) + 0.0:.{decimals}f}" for each in (value, other))
    return first, second
