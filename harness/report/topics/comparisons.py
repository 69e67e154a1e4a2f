"""Every variant against the baseline, or against all others."""

from __future__ import annotations

from harness.analysis.comparisons import VariantComparison, sentence
from harness.analysis.findings import Findings
from harness.analysis.numbers import p_text, points_text
from harness.report.blocks import Block, Section, explained
from harness.report.topics.figures import Figures
from harness.report.topics.table import SHOWN_VARIANT, Column, Shown, Table, form, page_table
from harness.statistics.comparison import MOST_SEEDS, Comparison, Estimate
from harness.statistics.fisher import FailureCounts

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
        Column("p_holm", "after Holm's correction over the table", "result.p_holm"),
        Column("effect_size", "Cohen's d (d_z where paired, g for networks)", "result.primary.effect_size"),
        Column("verdict", "`better`, `worse` or `cannot tell`; for `Fisher`, of how often it fails"),
        Column("n_baseline", "runs of the second in it", "result.n_baseline"),
        Column("welch_p", "beside a paired test", "result.welch_p"),
        Column("permutation_p", "of the permutation test", "result.permutation.p"),
        Column("smallest_p", "the smallest that this n allows it", "result.permutation.smallest_p"),
        Column(
            "seeds_needed",
            "of each, that would tell a difference of this size with power 80 %",
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


def _seeds_needed(result: Comparison) -> str | None:
    unclear = result.verdict == "cannot tell" and result.test != "McNemar"
    if not unclear or not result.primary.effect_size:
        return None
    return f"about {result.seeds_needed:,}" if result.seeds_needed else f"more than {MOST_SEEDS:,}"


def _failed(both: FailureCounts) -> str:
    counts = f"{both.failed} of {both.n}, {both.failed_baseline} of {both.n_baseline}"
    return f"{counts} ({p_text(both.p)})"


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
    Shown("seeds that would tell", "result", _seeds_needed),
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
        + ("Holm's correction is over all comparisons of the table. " if len(compared) > 1 else "")
        + "A verdict needs p (Holm) of at most 0.05. The intervals are not corrected. The effect size is the "
        "difference in standard deviations (of the differences, where paired). The seeds that would tell "
        "are those of each recipe that a power of 80 % takes if the difference is as large as it was "
        "measured; from few seeds that is a guess, and more often too few than too many."
    )
    if any(comparison.failures for comparison in comparisons):
        text += (
            " Failed are the runs that their recipe made fail: they diverged, or the network raised an "
            "error. Their numbers are compared by Fisher's exact test. Where one of two variants has no "
            "finished run, that is the comparison; elsewhere it stands beside the accuracies, which only the "
            "runs that finished have, and is not corrected or part of the verdict."
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
