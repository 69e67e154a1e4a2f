"""Evidence that stays valid when seeds are added after looking: e-values and confidence sequences.

They are of one sample: the differences of two recipes over the seeds that they share. Two groups without
shared seeds have no e-value here, because it needs equal or known variances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.statistics.distribution import judgeable_std, mean_of

PRIOR_STD = 1.0  # prior std of the effect size (mean / std of the differences) under the alternative
PRIOR_RUNS = 0.18  # prior counts of failed and of finished runs; the authors' choice
LARGEST_LOG = 700.0  # e-values are cut at e^700, which a float holds


def e_value(differences: Sequence[float], null: float = 0.0) -> float | None:
    """Return the evidence against a true mean of ``null``, valid for any number of looks.

    With t the one-sample t statistic, ν = n - 1 and c = 1 + nτ²,
    e = c^(-1/2) · [(1 + t²/ν) / (1 + t²/(νc))]^(n/2).
    Wang and Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance"
    (arXiv 2310.03722): how much more probable the differences are, up to their scale, under an effect size
    drawn from a normal distribution with std τ = ``PRIOR_STD`` than under an effect of 0. For normal
    differences it is a martingale that begins at 1, so it ever reaches 1 / α with a probability of at most α
    (Ville): e >= 20 is a verdict at 5 %, e >= 20 k one of k comparisons, with any stopping rule.

    Args:
        differences: one a shared seed, in any order.
        null: the mean under the null hypothesis.

    Returns:
        A number from 0 on, cut at e^700; None for fewer than two differences, or where all are equal.
    """
    std, n = judgeable_std(differences) if len(differences) else None, len(differences)
    if std is None:
        return None
    squared = n * ((mean_of(differences) - null) / std) ** 2 / (n - 1)  # t² / ν
    c = 1 + n * PRIOR_STD**2
    log_e = (n * (math.log1p(squared) - math.log1p(squared / c)) - math.log(c)) / 2
    return math.exp(min(log_e, LARGEST_LOG))


def confidence_sequence(differences: Sequence[float], level: float) -> tuple[float, float] | None:
    """Return the means that :func:`e_value` does not reject: an interval that holds at all n at once.

    All these intervals of a study hold the true mean with a probability of at least 1 - ``level``, for normal
    differences: mean ± (s / √n) · √(ν(A - 1) / (1 - A / c)), A = (√c / level)^(2 / n), from solving
    e = 1 / level for the null (Wang and Ramdas, as above).

    Args:
        differences: one a shared seed.
        level: in (0, 1); 0.05 / k for k comparisons.

    Returns:
        ``(low, high)``, infinite where A >= c (few seeds); None for fewer than two differences, or all equal.

    Raises:
        ValueError: the level is not in (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    std, n = judgeable_std(differences) if len(differences) else None, len(differences)
    if std is None:
        return None
    c = 1 + n * PRIOR_STD**2
    log_a = (math.log(c) - 2 * math.log(level)) / n
    if log_a >= math.log(c):
        return -math.inf, math.inf
    half = std / math.sqrt(n) * math.sqrt((n - 1) * math.expm1(log_a) / -math.expm1(log_a - math.log(c)))
    mean = mean_of(differences)
    return mean - half, mean + half


def failures_e_value(failed: Sequence[tuple[bool, bool]]) -> float:
    """Return the evidence against equal failure rates of two recipes, valid for any number of looks.

    Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
    stopping" (arXiv 2106.02693), blocks of one run each: the probability of what happened by the shares that
    the seeds before it suggest (with a prior of ``PRIOR_RUNS`` each way), over that by their mean. Each
    factor is at most 1 on average where both are equal, so the product ever reaches 1 / α with a probability
    of at most α. It holds for any shares and any n.

    Args:
        failed: of each shared seed, in the order of the seeds, which should be that in which they were added:
            whether the run of each recipe failed.
    """
    log_e, counts = 0.0, [0, 0]
    for n, block in enumerate(failed):
        shares = [(count + PRIOR_RUNS) / (n + 2 * PRIOR_RUNS) for count in counts]
        mean = sum(shares) / 2
        for share, has in zip(shares, block, strict=True):
            log_e += math.log(share / mean if has else (1 - share) / (1 - mean))
        counts = [count + has for count, has in zip(counts, block, strict=True)]
    return math.exp(min(log_e, LARGEST_LOG))
