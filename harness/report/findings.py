"""What the seeds say beside their mean, in tables and sentences: target, comparisons, spread, calibration."""

from __future__ import annotations

import math

from harness.report.blocks import Block, explained
from harness.report.comparisons import VariantComparison, compare_variants, p_text, points
from harness.report.evidence import Evidence
from harness.report.references import VariantStanding, hold_references
from harness.report.results import Results
from harness.report.statistics import Spread, TimeToTarget
from harness.report.summary import VariantSummary, minutes_text, percent_text

MOST_IMAGES = 10  # of those that every seed misses; the CSV has all of them

Known = list[tuple[VariantSummary, Evidence]]


def _known(summaries: list[VariantSummary]) -> Known:
    return [(summary, summary.evidence) for summary in summaries if summary.evidence is not None]


def _table(
    header: tuple[str, ...],
    rows: list[list[str]],
    texts: frozenset[int] = frozenset({0}),
    csv: str = "summary",
) -> Block:
    """Of columns that hold numbers, but for ``texts``; ``csv`` has the same unrounded."""
    numeric = frozenset(range(len(header))) - texts
    return Block("table", header=header, rows=rows, numeric=numeric, files=[f"tables/{csv}.csv"])


def interval(low: float | None, high: float | None) -> str:
    """``92.92 to 93.60``, in percent."""
    return "–" if low is None or high is None else f"{100 * low:.2f} to {100 * high:.2f}"


# ---- the target -----------------------------------------------------------------------------------------


def target(summaries: list[VariantSummary]) -> list[Block]:
    """How surely and how soon the target is reached."""
    known = _known(summaries)
    if not known:
        return []
    header = (
        "variant", "reached on the last epoch", "95 % interval of that share, %", "reached at any epoch",
        "median epochs to it", "median steps", "median minutes", "p (mean not above it)",
    )  # fmt: skip
    rows = []
    for summary, found in known:
        seconds = found.seconds.median
        rows.append(
            [
                summary.variant,
                f"{found.reached.count} of {found.reached.n}",
                f"{100 * found.reached.low:.0f} to {100 * found.reached.high:.0f}",
                f"{found.epochs.reached} of {found.epochs.n}",
                _median(found.epochs),
                _median(found.steps),
                minutes_text(seconds),
                p_text(found.p_above),
            ]
        )
    lead = (
        f"How many runs reached the target of {percent_text(known[0][0].target)}, in which share of further "
        "runs that is to be expected, and how soon they did."
    )
    text = (
        "The interval of the share is Clopper and Pearson's, which holds for any n and says how little a few "
        "runs can promise. Medians are Kaplan and Meier's: a run that missed the target counts as one that "
        "takes longer, so where more than half missed it there is none. p is the one-sided t test over "
        "seeds; it takes them for normal, and where one seed in ten is a bad one it is fooled in up to 15 of "
        "100 studies: it decides nothing."
    )
    return [Block("text", lead), _table(header, rows), explained(text)]


def _median(time: TimeToTarget) -> str:
    return "–" if time.median is None else f"{time.median:,.0f}"


# ---- against the baseline -------------------------------------------------------------------------------


def comparisons(results: Results) -> list[Block]:
    """Every variant against the baseline, or against all others; nothing where there is only one."""
    compared = compare_variants(results)
    if not compared:
        return []
    pairwise = results.study.comparisons == "all"
    header = (
        "variant", "verdict", "difference, points", "95 % interval, points", "test", "n", "p", "p (Holm)",
        "effect size", "Welch p", "permutation p (smallest possible)", "seeds that would tell",
    )  # fmt: skip
    rows = [_comparison(one, pairwise) for one in compared]
    several = sum(one.found is not None for one in compared) > 1
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
    blocks = [_table(header, rows, frozenset({0, 1, 4}), "comparisons"), explained(text)]
    if any(one.found is not None and one.found.test == "McNemar" for one in compared):
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
        blocks.append(Block("text", f"Failed runs are in none of these differences: {', '.join(failed)}."))
    return blocks


def _comparison(one: VariantComparison, pairwise: bool) -> list[str]:
    found = one.found
    name = f"{one.variant} against {one.baseline}" if pairwise else one.variant
    if found is None:
        return [name, f"not compared: {one.obstacle}", *["–"] * 10]
    estimate, permutation = found.primary, found.permutation
    low, high = estimate.low, estimate.high
    enough = found.verdict != "cannot tell" or found.test == "McNemar" or not estimate.effect_size
    return [
        name,
        f"{found.verdict} with n = {found.n}" if found.verdict == "cannot tell" else found.verdict,
        points(estimate.difference),
        "–" if low is None or high is None else f"{points(low)} to {points(high)}",
        found.test,
        str(found.n) if found.n == found.n_baseline else f"{found.n}, {found.n_baseline}",
        p_text(estimate.p),
        p_text(found.p_holm),
        "–" if estimate.effect_size is None else f"{estimate.effect_size:+.2f}",
        p_text(found.welch_p),
        "–" if permutation is None else f"{p_text(permutation.p)} ({p_text(permutation.smallest_p)})",
        "–" if enough else f"about {found.seeds_needed:,}" if found.seeds_needed else "more than 10,000",
    ]


# ---- published numbers ----------------------------------------------------------------------------------


def references(results: Results, summaries: list[VariantSummary]) -> list[Block]:
    """Published numbers against ours."""
    study = results.study
    if not study.references:
        return []
    sources = [
        [name, percent_text(one.test_accuracy), str(one.runs), one.source or "–"]
        for name, one in study.references.items()
    ]
    blocks = [_table(("published", "accuracy", "runs", "source"), sources, frozenset({0, 3}), "references")]
    held = hold_references(study, summaries)
    if not held:
        return blocks
    header = (
        "published", "variant", "our n", "published - our mean, points", "of our runs below it, %",
        "95 % prediction interval, %", "such a number from this recipe is",
    )  # fmt: skip
    rows = [
        [
            one.name,
            one.variant,
            str(one.standing.n),
            points(one.standing.difference),
            "–" if one.standing.percentile is None else f"{100 * one.standing.percentile:.0f}",
            interval(one.standing.low, one.standing.high),
            _plausible(one),
        ]
        for one in held
    ]
    text = (
        "A published run is held against the runs, not against their mean: the prediction interval is "
        "where one further run (or the mean of as many as were published) would fall in 95 of 100 cases, "
        "for normal seeds. A number outside it is not plausible as a result of this recipe."
    )
    return [*blocks, _table(header, rows, frozenset({0, 1, 6}), "references"), Block("text", text)]


def _plausible(one: VariantStanding) -> str:
    if one.evaluated_on != "test":
        return "not judged: ours are on held-out images"
    if one.standing.plausible is None:
        return "not judged: one seed" if one.standing.n == 1 else "not judged: our seeds do not differ"
    return "plausible" if one.standing.plausible else "not plausible"


# ---- which part is luck ---------------------------------------------------------------------------------


def spread(summaries: list[VariantSummary]) -> list[Block]:
    """Two noises, in two tables, so that nobody compares them."""
    known = _known(summaries)
    split = [(summary, found.spread) for summary, found in known if found.spread is not None]
    blocks: list[Block] = []
    if split:
        header = (
            "variant", "seeds", "images", "std over seeds, points", "of independent errors, points",
            "between runs, points", "p (luck alone)", "what it says",
        )  # fmt: skip
        rows = [
            [
                summary.variant,
                str(one.n),
                f"{one.images:,}",
                f"{100 * one.std:.3f}",
                f"{100 * one.independent_std:.3f}",
                _between(one),
                p_text(one.p_luck),
                reading(one),
            ]
            for summary, one in split
        ]
        lead = (
            "Seeds differ in accuracy. Part of that is chance on these images, the rest is genuine: some "
            "runs are better networks than others."
        )
        text = (
            "On these fixed images the accuracies of the seeds differ by their std. Runs whose errors are "
            "independent from image to image would differ too, by chance: sqrt(sum p(1 - p)) / N, with p "
            "the probability that a run is right on an image, estimated from the seeds (divisor n - 1). "
            "What exceeds that is genuine difference between runs, which new images would show as well "
            "(Jordan, arXiv 2304.01910); its variance is estimated without bias, so it can come out "
            "negative. p is the probability that luck alone gives a std this large."
        )
        blocks += [Block("text", lead), _table(header, rows, frozenset({0, 7})), explained(text)]
    if single := [summary.variant for summary, found in known if found.ece.n == 1]:
        text = (
            f"{', '.join(single)}: one run, of which nobody can say how far seeds lie apart or which part of "
            "that is luck; it takes two."
        )
        blocks.append(Block("text", text))
    if known:
        columns = ("variant", "images", "sampling noise of new images, points")
        rows = [
            [summary.variant, f"{found.images:,}", f"{100 * found.sampling_std:.3f}"]
            for summary, found in known
        ]
        lead = (
            "The images are a sample themselves: on as many others, one network's accuracy would differ by "
            "this std."
        )
        text = (
            "It is sqrt(p(1 - p) / N), p being the mean accuracy on the N images. It belongs to claims about "
            "new images and to nothing above: the seeds and the variants share these images, so it is "
            "neither in the ± over seeds nor in a comparison."
        )
        blocks += [Block("text", lead), _table(columns, rows), explained(text)]
    return blocks


def _between(one: Spread) -> str:
    if one.between_runs <= 0:
        return "0 (estimate below 0)" if one.between_runs else "0"
    return f"{100 * math.sqrt(one.between_runs):.3f}"


def reading(one: Spread) -> str:
    """Which part of the spread over seeds is luck."""
    if one.p_luck is None:
        return "every seed is right on the same images"
    if one.p_luck > 0.05:
        return "luck on these images can explain all of it: no seed is shown to be better than another"
    share = min(1.0, one.independent_std**2 / one.std**2)
    return f"the runs differ genuinely; luck on these images is {100 * share:.0f} % of the variance"


# ---- calibration and ensemble ---------------------------------------------------------------------------


def calibration(summaries: list[VariantSummary]) -> list[Block]:
    """How far the probabilities can be believed."""
    known = _known(summaries)
    if not known:
        return []
    header = ("variant", "n", "ECE, points", "NLL, nats", "Brier score")
    rows = [
        [
            summary.variant,
            str(found.ece.n),
            _plus_minus(100 * found.ece.mean, found.ece.std and 100 * found.ece.std, 2),
            "–"
            if summary.test_loss is None
            else _plus_minus(summary.test_loss.mean, summary.test_loss.std, 4),
            _plus_minus(found.brier.mean, found.brier.std, 4),
        ]
        for summary, found in known
    ]
    lead = "How far the probabilities can be believed: all three numbers are best at 0."
    text = (
        "Expected calibration error in 15 bins of equal width, negative log-likelihood (the loss above) "
        "and Brier score (0 to 2): each is one number a run, mean ± std over the n seeds."
    )
    return [Block("text", lead), _table(header, rows), explained(text)]


def _plus_minus(mean: float, std: float | None, decimals: int) -> str:
    return f"{mean:.{decimals}f}" + ("" if std is None else f" ± {std:.{decimals}f}")


def together(results: Results, summaries: list[VariantSummary]) -> list[Block]:
    """What the networks of several seeds know together, and which images none of them gets right."""
    known = [(summary, found) for summary, found in _known(summaries) if found.missed is not None]
    if not known:
        return []
    header = (
        "variant", "n", "mean accuracy, %", "ensemble accuracy, %", "error consistency (kappa)",
        "images that every seed misses",
    )  # fmt: skip
    rows = []
    for summary, found in known:
        mean, ensemble, kappa = summary.test_accuracy, found.ensemble_accuracy, found.error_consistency
        missed = len(found.missed or ())
        rows.append(
            [
                summary.variant,
                str(summary.finished),
                "–" if mean is None else f"{100 * mean.mean:.2f}",
                "–" if ensemble is None else f"{100 * ensemble:.2f}",
                "–" if kappa is None else f"{kappa:.3f}",
                f"{missed:,} ({100 * missed / found.images:.2f} %)",
            ]
        )
    text = (
        "The ensemble averages the seeds' probabilities. Error consistency is Cohen's kappa of being "
        "right, the mean over all pairs of seeds: 0 where they err on unrelated images, 1 where on the same."
    )
    lead = (
        "Whether several networks are better than one, and whether they err on the same images. Images that "
        "every seed misses, most of all with the same answer, are where to look for wrong labels."
    )
    return [
        Block("text", lead),
        _table(header, rows),
        explained(text),
        *(_hardest(results, *one) for one in known[:1] if one[1].missed),
    ]


def _hardest(results: Results, summary: VariantSummary, found: Evidence) -> Block:
    """The images on whose wrong class most seeds agree."""
    classes = results.of(summary.variant, "finished")[0].classes
    rows = [
        [str(one.index), classes[one.label], classes[one.predicted], f"{one.votes} of {summary.finished}"]
        for one in (found.missed or ())[:MOST_IMAGES]
    ]
    header = ("image (its place in the split, from 0)", "label", "most seeds say", "seeds that do")
    title = f"{summary.variant}: images that every seed misses, the most agreed on first"
    files = ["tables/always_missed.csv"]
    return Block("table", header=header, rows=rows, numeric=frozenset({0, 3}), title=title, files=files)
