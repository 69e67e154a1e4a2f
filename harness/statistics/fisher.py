"""Fisher's exact test of two shares of failed runs, which have no accuracies for a t test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

FailureVerdict = Literal["fails more often", "fails less often", "not shown"]


@dataclass(frozen=True)
class FailureCounts:
    """The numbers of failed runs of a variant and a baseline, and of all that finished or failed.

    Attributes:
        p: two-sided, of the null hypothesis that both fail equally often.
        p_holm: after Holm's correction over the tests that were made together.
        verdict: of the variant.
        e_value, e_needed: decide in place of p where n was not fixed in advance; else None.
    """

    failed: int
    n: int
    failed_baseline: int
    n_baseline: int
    p: float
    p_holm: float | None = None
    verdict: FailureVerdict = "not shown"
    e_value: float | None = None
    e_needed: float | None = None

    @property
    def higher(self) -> bool:
        """Whether a larger share of the variant's runs failed than of the baseline's."""
        return self.failed * self.n_baseline > self.failed_baseline * self.n

    def judged(self, p_holm: float, alpha: float) -> FailureCounts:
        """Return it with its corrected p, and its verdict at this level."""
        return replace(self, p_holm=p_holm, verdict=self._verdict(p_holm <= alpha))

    def judged_by(self, e_value: float, needed: float) -> FailureCounts:
        """Return it with its verdict by an e-value in place of p."""
        return replace(self, e_value=e_value, e_needed=needed, verdict=self._verdict(e_value >= needed))

    def _verdict(self, shown: bool) -> FailureVerdict:
        if not shown:
            return "not shown"
        return "fails more often" if self.higher else "fails less often"


def compare_failures(failed: int, n: int, failed_baseline: int, n_baseline: int) -> FailureCounts | None:
    """Compare two shares of failed runs by Fisher's exact test (JRSS, 1935), which holds for any n.

    Returns:
        None where one of the two has no run, or none failed.
    """
    from scipy.stats import fisher_exact

    if not n or not n_baseline or not failed + failed_baseline:
        return None
    table = [[failed, n - failed], [failed_baseline, n_baseline - failed_baseline]]
    return FailureCounts(failed, n, failed_baseline, n_baseline, float(fisher_exact(table).pvalue))
