"""Every variant against the baseline, or against all others."""

from __future__ import annotations

from harness.analysis.comparisons import VariantComparison
from harness.analysis.findings import Findings
from harness.analysis.numbers import p_text, points_text
from harness.analysis.sentences import flagged_text, sentence
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.table import SHOWN_VARIANT, Column, Shown, Table, form, page_table
from harness.statistics.comparison import Comparison, Estimate
from harness.statistics.fisher import FailureCounts
from harness.statistics.superiority import Superiority

MOST_SENTENCES = 10  # sentences about comparisons; the table has all comparisons


def _difference(result: Comparison) -> float | None:
    return None if result.test == "Fisher" else result.primary.difference


COMPARISONS: Table[VariantComparison] = Table(
    "comparisons",
    "a variant against the baseline, or a pair of variants",
    lambda findings: findings.comparisons,
    (
        Column("variant", "the first"),
        Column("baseline", "the second"),
        Column("test", "`paired t`, `Welch t`, `McNemar`, or `Fisher` where one has no finished run"),
        Column("n", "runs of the first in it", "result.n"),
        Column(
            "difference",
            "mean of the first minus mean of the second; empty for `Fisher`",
            "result",
            _difference,
        ),
        Column("ci_low", "lower end of the 95 % interval", "result.primary.low"),
        Column("ci_high", "upper end", "result.primary.high"),
        Column("p", "two-sided", "result.primary.p"),
        Column(
            "p_holm",
            "after Holm's correction over the table's tests of accuracies, or over those of failures",
            "result.p_holm",
        ),
        Column("effect_size", "Cohen's d (d_z where paired, g for networks)", "result.primary.effect_size"),
        Column(
            "verdict",
            "`better` or `worse` where `p_holm` and, where there is one, `p_common` are at most 0.05 and the "
            "test is not `McNemar`, else `cannot tell`; for `Fisher`, of how often it fails",
        ),
        Column("n_baseline", "runs of the second in it", "result.n_baseline"),
        Column("welch_p", "beside a paired test", "result.welch_p"),
        Column("permutation_p", "of the permutation test", "result.permutation.p"),
        Column("smallest_p", "the smallest that this n allows it", "result.permutation.smallest_p"),
        Column(
            "seeds_needed",
            "of each, that would tell a difference of this size with power 80 %, if the measured one were "
            "the true one: from few seeds it is not; see `smallest_difference`",
            "result.seeds_needed",
        ),
        Column(
            "failed",
            "runs of the first that its recipe made fail: they diverged, or the network raised an error; "
            "empty where no run of either did",
            "failures.failed",
        ),
        Column("failed_of", "these and its finished runs", "failures.n"),
        Column("failed_baseline", "the same of the second", "failures.failed_baseline"),
        Column("failed_of_baseline", "likewise", "failures.n_baseline"),
        Column("failed_p", "Fisher's exact test of these counts, two-sided, not corrected", "failures.p"),
        Column("failed_p_holm", "after Holm's correction over these tests", "failures.p_holm"),
        Column(
            "failed_verdict",
            "`fails more often` or `fails less often` where that is at most 0.05, else `not shown`",
            "failures.verdict",
        ),
        Column(
            "smallest_difference",
            "the true difference that so many seeds show with power 80 %, at the test's level after Holm's "
            "first step and the upper 80 % bound of the measured spread",
            "result.smallest_difference",
        ),
        Column("margin", "the study's", "margin.margin"),
        Column(
            "p_equivalent",
            "of a difference of the margin or more in either direction (two one-sided t tests); this and the "
            "next three after Holm's correction, each kind by itself",
            "margin.p_equivalent",
        ),
        Column("p_not_worse", "one-sided, of being worse by the margin or more", "margin.p_not_worse"),
        Column("p_better_by_margin", "one-sided, of being better by at most the margin", "margin.p_better"),
        Column("p_worse_by_margin", "one-sided, of being worse by at most the margin", "margin.p_worse"),
        Column(
            "margin_verdict",
            "the first that holds of `better by at least the margin`, `worse by at least the margin` (p at "
            "most 0.025), `equivalent` (0.05), `not worse` (0.025), `not shown`",
            "margin.verdict",
        ),
        Column(
            "probability_better",
            "P(first > second) + P(equal) / 2 of two runs: paired the share of seeds, else Brunner and "
            "Munzel's estimate",
            "superiority.probability",
        ),
        Column(
            "probability_low",
            "lower end of its 95 % interval: paired Clopper-Pearson, with ties as lost",
            "superiority.low",
        ),
        Column("probability_high", "upper end, with ties as won", "superiority.high"),
        Column("flagged", "the seed of the first that lies apart from its others (Grubbs's test at 5 %)"),
        Column("flagged_baseline", "the same of the second"),
        Column(
            "p_common",
            "where a seed of the study lies apart: p of the primary test with the median spread of all "
            "comparisons where that is larger, after Holm's correction",
            "result.p_common",
        ),
        Column(
            "difference_without", "where one of these lies apart: without it", "without.primary.difference"
        ),
        Column("p_without", "of that, two-sided, not corrected", "without.primary.p"),
    ),
)
TABLES = (COMPARISONS,)


def _verdict(comparison: VariantComparison) -> str:
    if comparison.result is None:
        return f"not compared: {comparison.obstacle}"
    return (
        f"{comparison.verdict} with n = {comparison.result.n}"
        if comparison.verdict == "cannot tell"
        else comparison.verdict
    )


def _points(comparison: VariantComparison) -> str | None:
    difference = None if comparison.result is None else _difference(comparison.result)
    return None if difference is None else points_text(difference)


def _interval(estimate: Estimate) -> str | None:
    low, high = estimate.low, estimate.high
    return None if low is None or high is None else f"{points_text(low)} to {points_text(high)}"


def _n(result: Comparison) -> str:
    same = result.n == result.n_baseline
    return str(result.n) if same else f"{result.n}, {result.n_baseline}"


def _smallest_difference(smallest: float) -> str:
    return f"{100 * smallest:.2f}" if smallest < 1 else "none"


def _failed(both: FailureCounts) -> str:
    counts = f"{both.failed} of {both.n}, {both.failed_baseline} of {both.n_baseline}"
    verdict = "" if both.verdict == "not shown" else f": {both.verdict}"
    return f"{counts} ({p_text(both.p_holm)}){verdict}"


def _superiority(result: Superiority) -> str:
    interval = f"{100 * result.low:.0f} to {100 * result.high:.0f}"
    return f"{100 * result.probability:.0f} ({interval})"


SHOWN: tuple[Shown[VariantComparison], ...] = (
    Shown("verdict", _verdict, numeric=False),
    Shown("difference, points", _points),
    Shown("95 % interval, points", "result.primary", _interval),
    Shown("test", "test", numeric=False),
    Shown("n", "result", _n),
    Shown("p", "result.primary.p", p_text),
    Shown("p (Holm)", "result.p_holm", p_text),
    Shown("effect size", "result.primary.effect_size", form("+.2f")),
    Shown("Welch p", "result.welch_p", p_text),
    Shown(
        "permutation p (smallest possible)",
        "result.permutation",
        lambda test: f"{p_text(test.p)} ({p_text(test.smallest_p)})",
    ),
    Shown("smallest difference that n shows, points", "result.smallest_difference", _smallest_difference),
    Shown("P(better), %", "superiority", _superiority),
    Shown("margin", "margin.verdict", numeric=False, only_if="margin"),
    Shown("p (common spread)", "result.p_common", p_text, only_if="result.p_common"),
    Shown("lies apart", lambda row: flagged_text(row) or None, numeric=False, only_if=flagged_text),
    Shown("failed, of both (p)", "failures", _failed, only_if="failures"),
)
PAIR: Shown[VariantComparison] = Shown(
    "variant", lambda comparison: f"{comparison.variant} against {comparison.baseline}", numeric=False
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show all comparisons in a figure and a table; and each in a sentence if they are few."""
    pairwise = findings.results.study.comparisons == "all"
    compared, blocks = findings.compared, []
    if 0 < len(compared) <= MOST_SENTENCES:
        lines = [f"{sentence(comparison, len(compared) > 1)}." for comparison in compared]
        blocks.append(Block("list", items=lines))
    blocks += figures("comparisons")
    if findings.comparisons:
        name = PAIR if pairwise else SHOWN_VARIANT
        blocks.append(page_table("comparisons", (name, *SHOWN), findings.comparisons))
        blocks += _explanations(findings, pairwise)
    return Section("Variants compared" if pairwise else "Against the baseline", blocks)


def _explanations(findings: Findings, pairwise: bool) -> list[Block]:
    compared, comparisons = findings.compared, findings.comparisons
    other = "the second" if pairwise else comparisons[0].baseline
    text = (
        f"Differences are accuracy minus that of {other}, last "
        "epoch, over finished runs. The test is named in advance: the paired t test over the seeds that "
        "both have, Welch's where they share fewer than two. The Welch p beside it shows what the pairing "
        "adds, the permutation p whether the verdict rests on normal seeds; the verdict takes neither. "
        + ("Holm's correction is over all comparisons of accuracies. " if len(compared) > 1 else "")
        + "A verdict needs p (Holm) of at most 0.05. The intervals are not corrected. The effect size is "
        "the difference in standard deviations (of the differences, where paired). The smallest difference "
        "that n shows is the true difference that so many seeds show in 4 of 5 studies. It takes the upper "
        "80 % bound of the measured spread, and not the measured difference, which from few seeds is mostly "
        "too large where it is large at all. P(better) is how often a run is better than one of "
        f"{other}, with its 95 % interval; Bouthillier et al. (2021) call 75 % meaningful."
    )
    if any(comparison.failures for comparison in comparisons):
        text += (
            " Failed are the runs that their recipe made fail: they diverged, or the network raised an "
            "error. Their numbers are compared by Fisher's exact test, with Holm's correction over these "
            "tests and a verdict of their own. Where one of two variants has no finished run, that is the "
            "comparison; elsewhere it stands beside the accuracies, which only the runs that finished have."
        )
    if any(comparison.margin for comparison in comparisons):
        text += (
            " The margin is the study's: the largest difference that does not matter. Equivalent are two "
            "variants where both a gain and a loss of the margin or more are excluded at 5 % (TOST). Better, "
            "worse and not worse take 2.5 %, as one side of the test of the difference does."
        )
    if any(comparison.result and comparison.result.careful for comparison in comparisons):
        text += (
            " A seed of the study lies apart from its variant's others (Grubbs's test at 5 %; chance alone "
            "flags one variant in twenty). It is left in. But such seeds may also be rare in variants where "
            "none was drawn, so a verdict then also needs p of at most 0.05 with the median spread of all "
            "comparisons, where that is larger than the pair's own. The sentences give the result without it."
        )
    blocks = [explained(text)]
    if any(comparison.test == "McNemar" for comparison in comparisons):
        text = (
            "McNemar's test compares two single networks on the same images, with a bootstrap interval "
            "over images. It can tell these two networks apart and never two recipes: another seed may "
            "turn it round."
        )
        blocks.append(Block("text", text))
    named = {name for comparison in comparisons for name in (comparison.variant, comparison.baseline)}
    if failed := [
        comparison.variant
        for comparison in findings.summaries
        if comparison.failed and comparison.variant in named
    ]:
        blocks.append(Block("text", f"Failed runs are in no difference of accuracies: {', '.join(failed)}."))
    return blocks
