"""Figures of how sure one can be: differences from the baseline, and reliability diagrams."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import FuncFormatter

from harness.analysis.comparisons import VariantComparison, compare_variants
from harness.analysis.numbers import p_equals
from harness.analysis.results import Results
from harness.report.style import (
    COLOURS,
    FAINT,
    INK,
    TARGET_COLOUR,
    Picture,
    as_percent,
    canvas,
    house_style,
    short,
    to_png,
)
from harness.statistics.target import clopper_pearson

MOST_COMPARISONS = 30  # per figure
VERDICT_COLOURS = {"better": COLOURS[2], "worse": COLOURS[1], "cannot tell": FAINT}
FEW_IMAGES = 10  # a run's bin of fewer has an accuracy of chance


def _signed(value: float, _: int) -> str:
    percent = round(100 * value, 6)
    return f"{percent:+g}".replace("-", "−") if percent else "0"


def _label(one: VariantComparison, pairwise: bool) -> str:
    return f"{short(one.variant, 18)}\n− {short(one.baseline, 18)}" if pairwise else short(one.variant, 24)


def comparisons(results: Results) -> Picture | None:
    """Draw each comparison's difference with its interval; None where no accuracies are compared."""
    compared = [one for one in compare_variants(results) if one.result is not None]
    drawn = compared[:MOST_COMPARISONS]
    if all(one.result is not None and one.result.test == "Fisher" for one in drawn):
        return None
    pairwise, baseline = results.study.comparisons == "all", drawn[0].baseline
    with house_style():
        figure, (axes,) = canvas(1.0 + 0.45 * max(len(drawn), 2))
        for place, one in enumerate(drawn):
            found = one.result
            assert found is not None
            estimate, colour = found.primary, VERDICT_COLOURS[found.verdict]
            if found.test == "paired t":
                ours = {run.seed: run.number("test_accuracy") for run in results.of(one.variant, "finished")}
                theirs = {
                    run.seed: run.number("test_accuracy") for run in results.of(one.baseline, "finished")
                }
                shared = [seed for seed in ours if seed in theirs]
                single = [(ours[seed] or 0.0) - (theirs[seed] or 0.0) for seed in shared]
                axes.plot(single, [place + 0.2] * len(single), "o", ms=4, color=COLOURS[5], mec="none")
            if estimate.low is not None and estimate.high is not None:
                axes.plot([estimate.low, estimate.high], [place, place], color=colour, lw=2.2)
            if found.test != "Fisher":
                axes.plot([estimate.difference], [place], "D", ms=6, color=colour)
            seeds = f"n = {found.n}" if found.n == found.n_baseline else f"n = {found.n}, {found.n_baseline}"
            test = f"{found.test} " if found.test in ("McNemar", "Fisher") else ""
            text = f"{found.verdict}, {seeds}\n{test}{p_equals(found.p_holm)}"
            if found.test == "Fisher" and one.failures is not None:
                text = f"{one.failures.failed} of {one.failures.n} failed: {text}"
            axes.annotate(
                text,
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8,
                color=INK,
                annotation_clip=False,
            )
        axes.axvline(0, color=TARGET_COLOUR, ls="--", lw=1.2)
        axes.set_yticks(range(len(drawn)), [_label(one, pairwise) for one in drawn])
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.08)
        other = "the second" if pairwise else short(baseline, 24)
        axes.set_xlabel(f"accuracy minus that of {other}, percentage points")
        axes.xaxis.set_major_formatter(FuncFormatter(_signed))
        png = to_png(figure)
    caption = (
        f"Right of the dashed line a variant is better than {'the second' if pairwise else baseline}, left "
        "of it worse; where its bar crosses the line, these runs cannot tell. Diamonds: difference of the "
        "means; bars: its 95 % interval (t over seeds; over images where each has one run). Small dots: "
        "single seeds, where they are paired. Green: better, orange: worse, grey: cannot tell."
    )
    if len(compared) > 1:
        caption += f" p is corrected by Holm over {len(compared)} comparisons; the intervals are not."
    if any(one.result is not None and one.result.test == "Fisher" for one in drawn):
        caption += (
            " Where one of the two has no finished run, the numbers of failed runs are compared (Fisher)."
        )
    if len(compared) > len(drawn):
        caption += f" The first {len(drawn)} of {len(compared)}."
    return Picture("comparisons", None, caption, png, figure)


def calibration(results: Results, variant: str) -> Picture:
    """Reliability diagram over the variant's finished runs (there is at least one), and its counts."""
    runs = results.of(variant, "finished")
    diagrams = [run.predictions.reliability for run in runs if run.predictions is not None]
    edges = diagrams[0].edges
    counts = np.array([one.counts for one in diagrams])  # (runs, bins)
    confidences = np.array([one.confidence for one in diagrams])
    accuracies = np.array([one.accuracy for one in diagrams])
    pooled = counts.sum(axis=0)
    filled = pooled > 0
    confidence = (counts * confidences).sum(axis=0)[filled] / pooled[filled]
    accuracy = (counts * accuracies).sum(axis=0)[filled] / pooled[filled]
    with house_style():
        figure, (top, below) = canvas(5.6, 2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
        top.plot([0, 1], [0, 1], color=TARGET_COLOUR, ls="--", lw=1.2)
        if len(runs) > 1:
            enough = counts >= FEW_IMAGES
            top.plot(
                confidences[enough], accuracies[enough], "_", ms=9, mew=1.3, color=COLOURS[4], zorder=1.5
            )
        n = np.maximum(np.rint(pooled[filled] / len(runs)), 1)
        low, high = clopper_pearson(np.rint(accuracy * n), n)
        # of a whole number of images, which is not quite the share that is drawn
        whiskers = np.maximum([accuracy - low, high - accuracy], 0)
        top.errorbar(confidence, accuracy, whiskers, fmt="o", ms=5.5, capsize=3, lw=1.4, color=COLOURS[0])
        top.set_ylabel("accuracy, percent")
        top.set_ylim(-0.03, 1.03)
        as_percent("y", top)
        means = pooled / len(runs)
        below.bar(edges[:-1], means, np.diff(edges), align="edge", color=COLOURS[5], edgecolor="white")
        below.set_yscale("log")
        below.set_ylim(bottom=min(0.5, means[filled].min() / 2))
        below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        below.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
        below.set_ylabel("images a run (log)" if len(runs) > 1 else "images (log)")
        below.set_xlabel("confidence: softmax probability of the predicted class, percent")
        below.set_xlim(0, 1.012)  # the whole of a marker at 100 %
        as_percent("x", below)
        png = to_png(figure)
    gap = float(((confidence - accuracy) * pooled[filled]).sum() / pooled.sum())
    word = "above" if gap > 0 else "below"
    dots = " Dashes: single runs, bins of at least 10 images." if len(runs) > 1 else ""
    whose = f"Pooled over {len(runs)} seeds" if len(runs) > 1 else f"One run (seed {runs[0].seed})"
    caption = (
        "On the dashed line the network is right as often as it says; below it, it is too sure. "
        f"{whose}: accuracy of the images in each of 15 bins of confidence.{dots} Confidence is on average "
        f"{abs(100 * gap):.2f} points {word} accuracy. Whiskers: 95 % Clopper-Pearson interval for as many "
        "images as one run has in the bin (lower panel)."
    )
    return Picture("calibration", variant, caption, png, figure)
