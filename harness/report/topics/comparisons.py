"""Every variant against the baseline, or against all others."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from harness.analysis.comparisons import VariantComparison
from harness.analysis.evidence import Evidence
from harness.analysis.findings import Findings
from harness.analysis.numbers import evidence_text, p_text
from harness.analysis.sentences import flagged_text, further_sentences, sentence
from harness.analysis.units import Units
from harness.report.blocks import Block, Section
from harness.report.topics.comparison_notes import explanations
from harness.report.topics.figures import Figures
from harness.report.topics.table import SHOWN_VARIANT, Column, Shown, Table, page_table
from harness.statistics.comparison import Comparison
from harness.statistics.fisher import FailureCounts
from harness.statistics.superiority import Superiority

MOST_SENTENCES = 10  # sentences about comparisons; the table has all comparisons


def _difference(comparison: VariantComparison) -> float | None:
    result = comparison.result
    if result is None or result.test == "Fisher":
        return None
    return comparison.metric.oriented(result.primary.difference)


def _as_measured(path: str) -> Callable[[VariantComparison], float | None]:
    """Return a function that reads a difference, and turns it back where lower is better."""
    follow = attrgetter(path)

    def read(comparison: VariantComparison) -> float | None:
        try:
            value: float | None = follow(comparison)
        except AttributeError:  # a part of the path is None
            return None
        return None if value is None else comparison.metric.oriented(value)

    return read


def _end(path: str, at: int) -> Callable[[VariantComparison], float | None]:
    """Return a function that reads an end of an interval of differences as they were measured."""
    low, high = (f"{path}.{name}" for name in ("low", "high"))

    def read(comparison: VariantComparison) -> float | None:
        ends = _as_measured(low)(comparison), _as_measured(high)(comparison)
        return ends[at if comparison.metric.higher_is_better else 1 - at]

    return read


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
            "mean of the first minus mean of the second, of `metric`; empty for `Fisher`",
            _difference,
        ),
        Column("ci_low", "lower end of the 95 % interval", _end("result.primary", 0)),
        Column("ci_high", "upper end", _end("result.primary", 1)),
        Column("p", "two-sided", "result.primary.p"),
        Column(
            "p_holm",
            "after Holm's correction over the table's tests of accuracies, or over those of failures",
            "result.p_holm",
        ),
        Column(
            "effect_size",
            "Cohen's d (d_z where paired, g for networks)",
            _as_measured("result.primary.effect_size"),
        ),
        Column(
            "verdict",
            "`better` or `worse` where `p_holm` and, where there is one, `p_common` are at most 0.05 and the "
            "test is not `McNemar`, else `cannot tell`; where `answer` is not `fixed n`, by the looks or "
            "`e_value`; for `Fisher`, of how often it fails",
        ),
        Column("n_baseline", "runs of the second in it", "result.n_baseline"),
        Column("welch_p", "beside a paired test", "result.welch_p"),
        Column("permutation_p", "of the permutation test", "result.permutation.p"),
        Column("smallest_p", "the smallest that this n allows it", "result.permutation.smallest_p"),
        Column(
            "seeds_needed",
            "of each variant, to detect a difference as large as the measured one with 80 % power; from few "
            "seeds that is often too large: see `smallest_difference`; both only where `answer` is `fixed n`",
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
            "P(first better than second) + P(equal) / 2 of two runs: paired the share of seeds, else Brunner "
            "and Munzel's estimate",
            "superiority.probability",
        ),
        Column(
            "probability_low",
            "lower end of its 95 % interval: paired Clopper-Pearson, with ties as lost",
            "superiority.low",
        ),
        Column("probability_high", "upper end, with ties as won", "superiority.high"),
        Column("flagged", "the outlier among the seeds of the first (Grubbs's test at 5 %)"),
        Column("flagged_baseline", "the same of the second"),
        Column(
            "p_common",
            "where a seed of the study is an outlier: p of the primary test with the median spread of all "
            "comparisons where that is larger, after Holm's correction",
            "result.p_common",
        ),
        Column(
            "difference_without",
            "where one of these is an outlier: without it",
            _as_measured("without.primary.difference"),
        ),
        Column("p_without", "of that, two-sided, not corrected", "without.primary.p"),
        Column(
            "answer",
            "its kind: `fixed n`; `look 2 of 4 as planned`; `seeds were added after looking` (or `looks were "
            "planned`); `3 of 5 planned seeds`, where runs are missing. Only for the first do `p_holm` and "
            "`p_common` decide",
            "evidence.kind",
        ),
        Column(
            "look_t",
            "paired t at the look that decided it, else the latest; above 0 where the first is better",
            "evidence.looks.t",
        ),
        Column("look_t_needed", "|t| that a verdict needs there", "evidence.looks.decision.needed"),
        Column("e_value", "against equal means, over the shared seeds", "evidence.e_value"),
        Column(
            "e_needed",
            "20 times the number of comparisons; `e_value` decides where seeds were added after looking, "
            "or runs are missing",
            "evidence.e_needed",
        ),
        Column(
            "all_looks_low",
            "lower end of the 95 % interval that holds at all looks together: at planned looks by their "
            "bounds, else of the confidence sequence that belongs to `e_value`",
            _end("evidence", 0),
        ),
        Column("all_looks_high", "upper end", _end("evidence", 1)),
        Column(
            "failed_e_value",
            "of the failures, where `answer` is not `fixed n`: decides `failed_verdict` in place of "
            "`failed_p_holm`, from 20 times the number of these tests on",
            "failures.e_value",
        ),
        Column(
            "metric",
            "what is compared: the target's",
            lambda comparison: None if comparison.result is None else comparison.metric.name,
        ),
    ),
)
TABLES = (COMPARISONS,)


def _verdict(comparison: VariantComparison) -> str:
    if comparison.result is None:
        return f"not compared: {comparison.obstacle}"
    if comparison.verdict != "cannot tell":
        return f"significantly {comparison.verdict}"
    if comparison.test == "McNemar":
        return "not tested over seeds (n = 1)"
    if comparison.result.primary.p is None and comparison.test != "Fisher":
        return f"no test (n = {comparison.result.n}): no spread"
    return f"no significant difference (n = {comparison.result.n})"


def _points(comparison: VariantComparison) -> str | None:
    return None if comparison.difference is None else comparison.units.signed(comparison.difference)


def _interval(comparison: VariantComparison) -> str | None:
    low, high = comparison.interval
    return None if low is None or high is None else comparison.units.signed_interval(low, high)


def _n(result: Comparison) -> str:
    same = result.n == result.n_baseline
    return str(result.n) if same else f"{result.n}, {result.n_baseline}"


def _failed(both: FailureCounts) -> str:
    counts = f"{both.failed} of {both.n}, {both.failed_baseline} of {both.n_baseline}"
    verdict = "" if both.verdict == "not shown" else f": {both.verdict}"
    return f"{counts} ({p_text(both.p_holm)}){verdict}"


def _superiority(result: Superiority) -> str:
    interval = f"{100 * result.low:.0f} to {100 * result.high:.0f}"
    return f"{100 * result.probability:.0f} ({interval})"


def _looked(comparison: VariantComparison) -> bool:
    return comparison.evidence is not None and comparison.evidence.looks is not None


def _not_fixed(comparison: VariantComparison) -> bool:
    return comparison.evidence is not None and comparison.evidence.answer.kind != "fixed"


def _at_look(evidence: Evidence) -> str | None:
    looks = evidence.looks
    if looks is None or looks.t is None or looks.decision.needed is None:
        return None
    return f"{looks.t:.2f} ({looks.decision.needed:.2f})"


def _e_value(evidence: Evidence) -> str | None:
    if evidence.e_value is None or evidence.e_needed is None:
        return None
    return f"{evidence_text(evidence.e_value)} ({evidence_text(evidence.e_needed)})"


def _shown(units: Units) -> tuple[Shown[VariantComparison], ...]:
    """Return the columns that are in the metric's unit, before the others."""
    return (
        Shown("verdict", _verdict, numeric=False),
        Shown(units.heading("difference", difference=True), _points),
        Shown("stopping rule", "evidence.kind", numeric=False, only_if=_not_fixed),
        Shown(units.heading("95 % interval", difference=True), _interval),
    )


SHOWN: tuple[Shown[VariantComparison], ...] = (
    Shown("test", "test", numeric=False),
    Shown("n", "result", _n),
    Shown("p (Holm)", "result.p_holm", p_text),
    Shown("P(better), %", "superiority", _superiority),
    Shown("margin", "margin.verdict", numeric=False, only_if="margin"),
    Shown("p (common spread)", "result.p_common", p_text, only_if="result.p_common"),
    Shown("outlier", lambda row: flagged_text(row) or None, numeric=False, only_if=flagged_text),
    Shown("t at the look (needed)", "evidence", _at_look, only_if=_looked),
    Shown("e (needed)", "evidence", _e_value, only_if=_not_fixed),
    Shown("failed, of both (p)", "failures", _failed, only_if="failures"),
)
PAIR: Shown[VariantComparison] = Shown(
    "variant", lambda comparison: f"{comparison.variant} against {comparison.baseline}", numeric=False
)


def section(findings: Findings, figures: Figures) -> Section:
    """Show all comparisons in a figure and a table; and each in a sentence if they are few."""
    pairwise = findings.results.study.comparisons == "all"
    compared, title, blocks = findings.compared, "", []
    if 0 < len(compared) <= MOST_SENTENCES:
        lines = [
            " ".join(
                f"{text}." if text.startswith((one.variant, "n = ")) else f"{text[0].upper()}{text[1:]}."
                for text in [sentence(one, len(compared) > 1), *further_sentences(one)]
            )
            for one in compared
        ]
        blocks.append(Block("list", items=lines))
        title = "The comparisons as a table"
    blocks += figures("comparisons")
    if findings.comparisons:
        name, units = PAIR if pairwise else SHOWN_VARIANT, Units(findings.results.metric)
        blocks.append(page_table("comparisons", (name, *_shown(units), *SHOWN), findings.comparisons, title))
        blocks += explanations(findings, pairwise)
    return Section("Variants compared" if pairwise else "Against the baseline", blocks)
