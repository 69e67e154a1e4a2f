"""The runs against the target, the baseline and published numbers, in tables and sentences."""

from __future__ import annotations

from harness.analysis.comparisons import VariantComparison
from harness.analysis.numbers import interval_text, minutes_text, p_text, percent_text, points_text
from harness.analysis.references import ReferenceComparison, claims, consistent
from harness.analysis.results import Results
from harness.analysis.summary import Evidence, VariantSummary
from harness.report.blocks import Block, explained
from harness.statistics.target import TimeToTarget

Known = list[tuple[VariantSummary, Evidence]]


def with_evidence(summaries: list[VariantSummary]) -> Known:
    """The variants that have a finished run."""
    return [(summary, summary.evidence) for summary in summaries if summary.evidence is not None]


def number_table(
    header: tuple[str, ...],
    rows: list[list[str]],
    texts: frozenset[int] = frozenset({0}),
    csv: str = "summary",
) -> Block:
    """Of columns that hold numbers, but for ``texts``; ``csv`` has the same unrounded."""
    numeric = frozenset(range(len(header))) - texts
    return Block("table", header=header, rows=rows, numeric=numeric, files=[f"tables/{csv}.csv"])


# ---- the target -----------------------------------------------------------------------------------------


def target(summaries: list[VariantSummary]) -> list[Block]:
    """How surely and how soon the target is reached."""
    known = [summary for summary in summaries if summary.runs]
    if not any(summary.finished for summary in known):
        return []
    header = (
        "variant", "reached on the last epoch", "95 % interval of that share, %", "reached at any epoch",
        "median epochs to it", "median steps", "median minutes", "p (mean not above it)",
    )  # fmt: skip
    rows = []
    for summary in known:
        found, reached = summary.evidence, summary.reached_share
        assert reached is not None
        texts = [
            summary.variant,
            f"{reached.count} of {reached.n}",
            f"{100 * reached.low:.0f} to {100 * reached.high:.0f}",
        ]
        if found is None:
            rows.append([*texts, f"0 of {reached.n}", *["–"] * 4])
            continue
        rows.append(
            [
                *texts,
                f"{found.epochs.reached} of {found.epochs.n}",
                _median(found.epochs),
                _median(found.steps),
                minutes_text(found.seconds.median),
                p_text(found.p_above),
            ]
        )
    lead = (
        f"How many runs reached the target of {percent_text(known[0].target)}, in which share of further "
        "runs that is to be expected, and how soon they did."
    )
    text = (
        "The interval of the share is Clopper and Pearson's, which holds for any n and says how little a few "
        "runs can promise. A run that missed the target takes forever in the medians, "
        "so where half of the runs or more missed it there is none. p is the one-sided t test over "
        "seeds; it takes them for normal, and where one seed in ten is a bad one it is fooled in up to 15 of "
        "100 studies: it decides nothing."
    )
    return [Block("text", lead), number_table(header, rows), explained(text)]


def _median(time: TimeToTarget) -> str:
    return "–" if time.median is None else f"{time.median:,.0f}"


# ---- against the baseline -------------------------------------------------------------------------------


def comparisons(results: Results, compared: list[VariantComparison]) -> list[Block]:
    """Every variant against the baseline, or against all others; nothing where there is only one."""
    if not compared:
        return []
    pairwise = results.study.comparisons == "all"
    header: tuple[str, ...] = (
        "variant", "verdict", "difference, points", "95 % interval, points", "test", "n", "p", "p (Holm)",
        "effect size", "Welch p", "permutation p (smallest possible)", "seeds that would tell",
        "failed, of both (p)",
    )  # fmt: skip
    rows = [_comparison(one, pairwise) for one in compared]
    if not any(one.failures for one in compared):
        header, rows = header[:-1], [row[:-1] for row in rows]
    several = sum(one.result is not None for one in compared) > 1
    text = (
        f"Differences are accuracy minus that of {'the second' if pairwise else compared[0].baseline}, last "
        "epoch, over finished runs. The test is named in advance: the paired t test over the seeds that "
        "both have, Welch's where they share fewer than two; the Welch and permutation p beside it are for "
        "comparison and decide nothing. "
        + ("Holm's correction is over all comparisons of the table. " if several else "")
        + "A verdict needs p (Holm) of at most 0.05. The intervals are not corrected. The effect size is the "
        "difference in standard deviations (of the differences, where paired). The seeds that would tell "
        "are those of each recipe that a power of 80 % takes if the difference is as large as it was "
        "measured; from few seeds that is a guess, and more often too few than too many."
    )
    if any(one.failures for one in compared):
        text += (
            " Failed are the runs that their recipe made fail: they diverged, or the network raised an "
            "error. Their numbers are compared by Fisher's exact test. Where one of two variants has no "
            "finished run, that is the comparison; elsewhere it stands beside the accuracies, is not "
            "corrected and decides nothing."
        )
    blocks = [number_table(header, rows, frozenset({0, 1, 4}), "comparisons"), explained(text)]
    if any(one.result is not None and one.result.test == "McNemar" for one in compared):
        blocks.append(
            Block(
                "text",
                "McNemar's test compares two single networks on the same images, with a bootstrap interval "
                "over images. It can tell these two networks apart and never two recipes: another seed may "
                "turn it round.",
            )
        )
    if failed := [
        variant
        for variant in results.variants
        if results.of(variant, "failed") and any(variant in (one.variant, one.baseline) for one in compared)
    ]:
        blocks.append(Block("text", f"Failed runs are in no difference of accuracies: {', '.join(failed)}."))
    return blocks


def _comparison(one: VariantComparison, pairwise: bool) -> list[str]:
    found = one.result
    name = f"{one.variant} against {one.baseline}" if pairwise else one.variant
    failures = one.failures
    failed = "–"
    if failures is not None:
        counts = f"{failures.failed} of {failures.n}, {failures.failed_baseline} of {failures.n_baseline}"
        failed = f"{counts} ({p_text(failures.p)})"
    if found is None:
        return [name, f"not compared: {one.obstacle}", *["–"] * 10, failed]
    estimate, permutation = found.primary, found.permutation
    low, high = estimate.low, estimate.high
    enough = found.verdict != "cannot tell" or found.test == "McNemar" or not estimate.effect_size
    return [
        name,
        f"{found.verdict} with n = {found.n}" if found.verdict == "cannot tell" else found.verdict,
        "–" if found.test == "Fisher" else points_text(estimate.difference),
        "–" if low is None or high is None else f"{points_text(low)} to {points_text(high)}",
        found.test,
        str(found.n) if found.n == found.n_baseline else f"{found.n}, {found.n_baseline}",
        p_text(estimate.p),
        p_text(found.p_holm),
        "–" if estimate.effect_size is None else f"{estimate.effect_size:+.2f}",
        p_text(found.welch_p),
        "–" if permutation is None else f"{p_text(permutation.p)} ({p_text(permutation.smallest_p)})",
        "–" if enough else f"about {found.seeds_needed:,}" if found.seeds_needed else "more than 10,000",
        failed,
    ]


# ---- published numbers ----------------------------------------------------------------------------------


def references(results: Results, held: list[ReferenceComparison]) -> list[Block]:
    """Published numbers against ours."""
    study = results.study
    if not study.references:
        return []
    sources = [
        [
            name,
            "; ".join(claim.text for claim in claims(one)),
            one.variant or "all variants",
            one.source or "–",
        ]
        for name, one in study.references.items()
    ]
    header: tuple[str, ...] = ("published", "what", "recipe of", "source")
    blocks = [number_table(header, sources, frozenset(range(4)), "references")]
    if not held:
        return blocks
    header = (
        "published", "number", "variant", "our n", "published, %", "ours, %", "published - ours, points",
        "of our runs below it, %", "95 % prediction interval, %", "consistent with our runs",
    )  # fmt: skip
    rows = [
        [
            one.name,
            one.claim.text if one.claim.statistic == "share" else one.claim.statistic,
            one.variant,
            str(one.standing.n),
            f"{100 * one.standing.published:.2f}",
            f"{100 * one.standing.measured:.2f}",
            points_text(one.standing.difference),
            "–" if one.standing.percentile is None else f"{100 * one.standing.percentile:.0f}",
            interval_text(one.standing.low, one.standing.high),
            consistent(one.standing, one.evaluated_on),
        ]
        for one in held
    ]
    text = (
        "A published number is compared with what further runs of ours would give: the prediction interval "
        "is where one further run, or the mean, the median or the share of as many runs as were published, "
        "falls in 95 of 100 cases. For a mean or a median it assumes normal seeds and lies around our mean; "
        "for a share it assumes nothing (Fisher's exact test), and a failed run has not reached it. A number "
        "outside the interval is not consistent with our runs. Few runs give wide intervals: consistent "
        "does not mean reproduced."
    )
    return [*blocks, number_table(header, rows, frozenset({0, 1, 2, 9}), "references"), Block("text", text)]
