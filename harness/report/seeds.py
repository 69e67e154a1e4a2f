"""What the seeds say together, in tables and sentences: distribution, luck, calibration, ensemble."""

from __future__ import annotations

import math

from harness.analysis.numbers import decimals_of, interval_text, p_text, plus_minus, spread_text
from harness.analysis.results import Results
from harness.analysis.summary import Evidence, VariantSummary
from harness.report.blocks import Block, explained
from harness.report.findings import number_table, with_evidence
from harness.statistics.distribution import BOOTSTRAP_FROM
from harness.statistics.variance import SeedVariance

MOST_IMAGES = 10  # of those that every seed misses; the CSV has all of them


def distribution(summaries: list[VariantSummary]) -> list[Block]:
    """The accuracies of several seeds as numbers; nothing where every variant has one."""
    several = [
        (summary, summary.test_accuracy, found)
        for summary, found in with_evidence(summaries)
        if summary.test_accuracy is not None and summary.test_accuracy.n > 1
    ]
    if not several:
        return []
    resampled = any(found.bootstrap for _, _, found in several)
    header = (
        "variant", "n", "mean, %", "std, points", "standard error, points", "95 % t interval, %",
        *(("95 % BCa interval, %",) if resampled else ()), "lowest, %", "median, %",
        "interquartile mean, %", "highest, %",
    )  # fmt: skip
    rows = [
        [
            summary.variant,
            str(one.n),
            f"{100 * one.mean:.{decimals_of(100 * (one.std or 0.0), 3)}f}",
            spread_text(one.std and 100 * one.std, 3),
            spread_text(one.sem and 100 * one.sem, 3),
            interval_text(one.ci_low, one.ci_high),
            *((interval_text(*(found.bootstrap or (None, None))),) if resampled else ()),
            *(f"{100 * value:.2f}" for value in (one.minimum, one.median)),
            f"{100 * one.iqm:.3f}",
            f"{100 * one.maximum:.2f}",
        ]
        for summary, one, found in several
    ]
    text = (
        "Over the n finished runs, one a seed. The standard error is the std divided by sqrt(n). The t "
        "interval takes the seeds for normal; a bootstrap interval (BCa) covers too rarely with few seeds "
        f"and is shown from {BOOTSTRAP_FROM} on. The interquartile mean leaves out the lowest and the "
        "highest quarter (n // 4 runs each)."
    )
    lead = "The same in numbers: the last epoch's accuracies over the seeds."
    return [Block("text", lead), number_table(header, rows), explained(text)]


# ---- which part is luck ---------------------------------------------------------------------------------


def spread(summaries: list[VariantSummary]) -> list[Block]:
    """Two noises, in two tables, so that nobody compares them."""
    known = with_evidence(summaries)
    split = [(summary, found.spread) for summary, found in known if found.spread is not None]
    blocks: list[Block] = []
    if split:
        header = (
            "variant", "seeds", "images", "std over seeds, points", "of independent errors, points",
            "between runs, points", "its 95 % interval, points", "p (luck alone)", "what it says",
        )  # fmt: skip
        rows = [
            [
                summary.variant,
                str(one.n),
                f"{one.images:,}",
                spread_text(100 * one.std, 3),
                spread_text(100 * one.independent_std, 3),
                _between(one),
                "–" if one.low is None or one.high is None else _range(one.low, one.high),
                p_text(one.p_luck),
                reading(one),
            ]
            for summary, one in split
        ]
        lead = (
            "Seeds differ in accuracy. Part of that is chance on these images; what exceeds it, if anything, "
            "is genuine: some runs are better networks than others."
        )
        text = (
            "On these fixed images the accuracies of the seeds differ by their std. Runs whose errors are "
            "independent from image to image would differ too, by chance: sqrt(sum p(1 - p)) / N, with p "
            "the probability that a run is right on an image, estimated from the seeds (divisor n - 1). "
            "What exceeds that is genuine difference between runs, which new images would show as well "
            "(Jordan, arXiv 2304.01910); its variance is estimated without bias, so it can come out "
            "negative. Its interval takes runs for normal (chi-square), and is wide from few seeds. p is the "
            "probability that luck alone gives a std this large; the test finds little with few seeds, so a "
            "large p does not say that all is luck: the interval says how large the difference may be."
        )
        blocks += [Block("text", lead), number_table(header, rows, frozenset({0, 8})), explained(text)]
    if single := [summary.variant for summary, found in known if found.ece.n == 1]:
        text = (
            f"{', '.join(single)}: one run, of which nobody can say how far seeds lie apart or which part of "
            "that is luck; it takes two."
        )
        blocks.append(Block("text", text))
    if known:
        columns = ("variant", "images", "sampling noise of new images, points")
        rows = [
            [summary.variant, f"{found.images:,}", spread_text(100 * found.sampling_std, 3)]
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
        blocks += [Block("text", lead), number_table(columns, rows), explained(text)]
    return blocks


def _between(one: SeedVariance) -> str:
    if one.between_runs <= 0:
        return "0 (estimate below 0)" if one.between_runs else "0"
    return f"{100 * math.sqrt(one.between_runs):.3f}"


def reading(one: SeedVariance) -> str:
    """Say whether runs differ by more than luck, and by how much; a large p is no sign of equality."""
    if one.p_luck is None:
        return "every seed is right on the same images"
    if one.p_luck > 0.05:
        if one.low is None or one.high is None:
            return "seeds differ less than luck on these images alone lets them: runs are not shown to differ"
        return f"runs are not shown to differ: their own std may be {_range(one.low, one.high)} points"
    share = min(1.0, one.independent_std**2 / one.std**2)
    luck = f"luck on these images is about {100 * share:.0f} % of the variance"
    if one.low is None or one.high is None:
        return f"the runs differ genuinely; {luck}"
    return f"the runs differ genuinely, with a std of {_range(one.low, one.high)} points; {luck}"


def _range(low: float, high: float) -> str:
    """``0 to 0.25``, in points."""
    return f"{spread_text(100 * low, 2)} to {spread_text(100 * high, 2)}"


# ---- calibration and ensemble ---------------------------------------------------------------------------


def calibration(summaries: list[VariantSummary]) -> list[Block]:
    """How far the probabilities can be believed."""
    known = with_evidence(summaries)
    if not known:
        return []
    header = ("variant", "n", "ECE, points", "NLL, nats", "Brier score")
    rows = [
        [
            summary.variant,
            str(found.ece.n),
            plus_minus(100 * found.ece.mean, found.ece.std and 100 * found.ece.std, 2),
            "–"
            if summary.test_loss is None
            else plus_minus(summary.test_loss.mean, summary.test_loss.std, 4),
            plus_minus(found.brier.mean, found.brier.std, 4),
        ]
        for summary, found in known
    ]
    lead = "How far the probabilities can be believed: all three numbers are best at 0."
    text = (
        "Expected calibration error in 15 bins of equal width, negative log-likelihood (the loss above) "
        "and Brier score (0 to 2): each is one number a run, mean ± std over the n seeds."
    )
    return [Block("text", lead), number_table(header, rows), explained(text)]


def together(results: Results, summaries: list[VariantSummary]) -> list[Block]:
    """What the networks of several seeds know together, and which images none of them gets right."""
    known = [(summary, found) for summary, found in with_evidence(summaries) if found.missed is not None]
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
        number_table(header, rows),
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
