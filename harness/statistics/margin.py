"""A difference of means against a margin that was named in advance: equivalent, not worse, better by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.statistics.comparison import ALPHA, Estimate, holm

MarginVerdict = Literal[
    "better by at least the margin",
    "worse by at least the margin",
    "equivalent",
    "not worse",
    "not shown",
]


@dataclass(frozen=True)
class AgainstMargin:
    """What a difference of two recipes shows about a margin; each p is one-sided.

    Attributes:
        margin: largest difference that does not matter, a fraction.
        p_equivalent: of the null hypothesis "they differ by the margin or more", by two one-sided tests.
        p_not_worse: of "the first is worse by the margin or more".
        p_better: of "the first is not better by the margin or more".
        p_worse: of "the first is not worse by the margin or more".
        verdict: the strongest that is shown, in the order of ``MarginVerdict``.
    """

    margin: float
    p_equivalent: float
    p_not_worse: float
    p_better: float
    p_worse: float
    verdict: MarginVerdict = "not shown"


def against_margin(estimate: Estimate, margin: float) -> AgainstMargin | None:
    """Test a difference against a margin by one-sided t tests, before any correction.

    Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing the
    equivalence of average bioavailability" (J. Pharmacokinetics and Biopharmaceutics, 1987). They take the
    standard error and the degrees of freedom of the primary test.

    Returns:
        None where the estimate has no standard error.
    """
    from scipy.special import stdtr

    difference, error, free = estimate.difference, estimate.error, estimate.free
    if error is None or free is None:
        return None

    def below(value: float) -> float:
        """Return p of "the difference is at least this value"."""
        return float(stdtr(free, (difference - value) / error))

    def above(value: float) -> float:
        """Return p of "the difference is at most this value"."""
        return float(stdtr(free, (value - difference) / error))

    not_worse = above(-margin)
    return AgainstMargin(margin, max(not_worse, below(margin)), not_worse, above(margin), below(-margin))


def judge_margins(results: Sequence[AgainstMargin | None]) -> list[AgainstMargin | None]:
    """Correct tests that were made together, each kind by itself by Holm's procedure, and give verdicts.

    Better, worse and not worse are claims in one direction: their p is at most half of ``ALPHA``, as on
    either side of the primary test, so "better by at least the margin" implies "better".
    Equivalence takes ``ALPHA`` for each of its two tests, as Schuirmann does.
    """
    known = [result for result in results if result is not None]
    columns = zip(
        *(
            holm([getattr(result, kind) for result in known])
            for kind in ("p_equivalent", "p_not_worse", "p_better", "p_worse")
        ),
        strict=True,
    )
    judged = (
        replace(result, p_equivalent=equivalent, p_not_worse=not_worse, p_better=better, p_worse=worse)
        for result, (equivalent, not_worse, better, worse) in zip(known, columns, strict=True)
    )
    return [None if result is None else _with_verdict(next(judged)) for result in results]


def _with_verdict(result: AgainstMargin) -> AgainstMargin:
    verdict: MarginVerdict = "not shown"
    if result.p_better <= ALPHA / 2:
        verdict = "better by at least the margin"
    elif result.p_worse <= ALPHA / 2:
        verdict = "worse by at least the margin"
    elif result.p_equivalent <= ALPHA:
        verdict = "equivalent"
    elif result.p_not_worse <= ALPHA / 2:
        verdict = "not worse"
    return replace(result, verdict=verdict)


def margin_verdict(beyond_minus: int, beyond_plus: int) -> MarginVerdict:
    """Return the strongest verdict of two decisions: the sides of minus and of plus the margin.

    Args:
        beyond_minus, beyond_plus: 1 where the difference is significantly above minus, or plus, the margin;
            -1 where below; else 0.
    """
    if beyond_plus == 1:
        return "better by at least the margin"
    if beyond_minus == -1:
        return "worse by at least the margin"
    if beyond_minus == 1:
        return "equivalent" if beyond_plus == -1 else "not worse"
    return "not shown"
