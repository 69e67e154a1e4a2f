"""A variant's reliability diagram: accuracy against confidence, and the number of images."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from harness.analysis.findings import Findings
from harness.analysis.numbers import plus_minus
from harness.report.figures import style
from harness.report.figures.style import Picture, Value
from harness.statistics.classification import BINS, Reliability, merged
from harness.statistics.distribution import Distribution, describe
from harness.statistics.target import clopper_pearson

FEWEST_IMAGES = 10  # of a bin, on average over the runs


@style.house_style()
def draw(findings: Findings, variant: str) -> Picture | None:
    """Draw the reliability diagram of the variant's finished runs, and its counts; None without one."""
    runs = findings.results.of(variant, "finished")
    recorded = [run.predictions.reliability for run in runs if run.predictions is not None]
    if not recorded:
        return None
    ece = describe([diagram.ece for diagram in recorded])
    assert ece is not None
    diagrams = merged(recorded, FEWEST_IMAGES)
    edges = diagrams[0].edges
    figure, (top, below) = style.canvas(5.0, 2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    top.plot([0, 1], [0, 1], color=style.TARGET_COLOUR, ls="--", lw=1.2)
    values = _draw_bins(top, diagrams, style.colour_of(findings.results, variant))
    images = int(recorded[0].counts.sum())
    n = f"n = {len(runs)} runs of {images:,} images" if len(runs) > 1 else f"one run, {images:,} images"
    top.text(0.02, 0.97, f"ECE = {_points(ece)} points\n{n}", va="top", transform=top.transAxes)
    top.set_ylabel("accuracy, percent")
    top.set_ylim(-0.03, 1.03)
    style.as_percent(top.yaxis)
    means = np.mean([diagram.counts for diagram in diagrams], axis=0)
    below.bar(edges[:-1], means, np.diff(edges), align="edge", color=style.FILL, edgecolor="white")
    below.set_yscale("log")
    below.set_ylim(bottom=min(0.5, means[means > 0].min() / 2))
    style.as_plain(below.yaxis)
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    below.set_ylabel("images a run\n(log)" if len(runs) > 1 else "images\n(log)")
    below.set_xlabel("confidence: softmax probability of the predicted class, percent")
    below.set_xlim(0, 1.012)  # leaves room for a marker at 100 %
    style.as_percent(below.xaxis)
    values += [
        Value(below, middle, mean, f"confidence near {100 * middle:.0f} %: {mean:,.0f} images a run")
        for middle, mean in zip(((edges[:-1] + edges[1:]) / 2).tolist(), means.tolist(), strict=True)
    ]
    return style.to_picture(
        figure, "calibration", variant, _caption(len(runs), runs[0].seed, recorded), values
    )


def _draw_bins(axes: Axes, diagrams: list[Reliability], colour: str) -> list[Value]:
    """Draw each bin's accuracy with its whiskers; return the values."""
    counts = np.array([diagram.counts for diagram in diagrams])  # (runs, bins)
    known = np.where(counts > 0, 1.0, np.nan)
    confidences = known * np.array([diagram.confidence for diagram in diagrams])
    accuracies = known * np.array([diagram.accuracy for diagram in diagrams])
    filled = counts.sum(axis=0) > 0
    counts, confidences, accuracies = counts[:, filled], confidences[:, filled], accuracies[:, filled]
    confidence, accuracy = np.nanmean(confidences, axis=0), np.nanmean(accuracies, axis=0)
    if len(diagrams) > 1:
        axes.plot(confidences, accuracies, "_", ms=8, mew=1.2, color=style.FILL, zorder=1.5)
    low, high = _whiskers(counts, accuracies)
    whiskers = np.maximum([accuracy - low, high - accuracy], 0)
    axes.errorbar(confidence, accuracy, whiskers, fmt="o", ms=5.5, capsize=3, lw=1.4, color=colour)
    return [
        Value(axes, x, y, f"confidence {x:.1%}: accuracy {y:.1%}, whiskers {a:.1%} to {b:.1%}")
        for x, y, a, b in zip(*(part.tolist() for part in (confidence, accuracy, low, high)), strict=True)
    ]


def _whiskers(
    counts: NDArray[np.int64], accuracies: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends (bins,): mean ± 1 std over the runs, or one run's 95 % interval; in [0, 1]."""
    if len(counts) == 1:
        low, high = clopper_pearson(np.rint(accuracies[0] * counts[0]), counts[0])
        return low, high
    mean, runs = np.nanmean(accuracies, axis=0), (counts > 0).sum(axis=0)
    squares = np.nansum((accuracies - mean) ** 2, axis=0)
    std = np.sqrt(squares / np.maximum(runs - 1, 1))
    return np.maximum(mean - std, 0), np.minimum(mean + std, 1)


def _points(ece: Distribution) -> str:
    return plus_minus(100 * ece.mean, ece.std and 100 * ece.std, 2)


def _caption(n: int, seed: int, recorded: list[Reliability]) -> str:
    """Say what dots and whiskers are, how bins are merged, and what ECE is."""
    gap = float(np.mean([diagram.gap for diagram in recorded]))
    if n > 1:
        what = (
            f"Dots and whiskers: mean ± 1 std over the {n} seeds (divisor n - 1) of the accuracy in a bin of "
            "confidence, cut at 0 and 100 %. Dashes: single runs."
        )
    else:
        what = (
            f"Dots: accuracy of the run with seed {seed} in a bin of confidence. Whiskers: 95 % "
            "Clopper-Pearson interval over the bin's images."
        )
    return (
        "On the dashed line, confidence equals accuracy; below it, the network is overconfident. "
        f"{what} Bins: {BINS} of equal width; neighbours are merged, from low confidence up, until each "
        f"holds {FEWEST_IMAGES} images or more{' a run on average' * (n > 1)}. ECE, the expected calibration "
        "error: mean over the images of |accuracy - confidence| of their bin, before merging"
        f"{'; ± std over seeds' * (n > 1)}. Mean confidence is {abs(100 * gap):.2f} points "
        f"{'above' if gap > 0 else 'below'} accuracy."
    )
