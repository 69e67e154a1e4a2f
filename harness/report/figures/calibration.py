"""A variant's reliability diagram: accuracy against confidence, and the number of images."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import FuncFormatter

from harness.analysis.findings import Findings
from harness.report.figures import style
from harness.report.figures.classes import of_runs
from harness.report.figures.style import Picture
from harness.statistics.target import clopper_pearson

FEW_IMAGES = 10  # with fewer, the accuracy of a run's bin is mostly chance


@style.house_style()
def draw(findings: Findings, variant: str) -> Picture | None:
    """Draw the reliability diagram of the variant's finished runs, and its counts; None without one."""
    runs = findings.results.of(variant, "finished")
    diagrams = [run.predictions.reliability for run in runs if run.predictions is not None]
    if not diagrams:
        return None
    edges = diagrams[0].edges
    counts = np.array([diagram.counts for diagram in diagrams])  # (runs, bins)
    confidences = np.array([diagram.confidence for diagram in diagrams])
    accuracies = np.array([diagram.accuracy for diagram in diagrams])
    pooled = counts.sum(axis=0)
    filled = pooled > 0
    confidence = (counts * confidences).sum(axis=0)[filled] / pooled[filled]
    accuracy = (counts * accuracies).sum(axis=0)[filled] / pooled[filled]
    figure, (top, below) = style.canvas(5.6, 2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    top.plot([0, 1], [0, 1], color=style.TARGET_COLOUR, ls="--", lw=1.2)
    if len(runs) > 1:
        enough = counts >= FEW_IMAGES
        top.plot(
            confidences[enough], accuracies[enough], "_", ms=9, mew=1.3, color=style.COLOURS[4], zorder=1.5
        )
    n = np.maximum(np.rint(pooled[filled] / len(runs)), 1)
    low, high = clopper_pearson(np.rint(accuracy * n), n)
    # the interval is that of a rounded number of images, so a whisker could be slightly negative
    whiskers = np.maximum([accuracy - low, high - accuracy], 0)
    top.errorbar(confidence, accuracy, whiskers, fmt="o", ms=5.5, capsize=3, lw=1.4, color=style.COLOURS[0])
    top.set_ylabel("accuracy, percent")
    top.set_ylim(-0.03, 1.03)
    style.as_percent(top.yaxis)
    means = pooled / len(runs)
    below.bar(edges[:-1], means, np.diff(edges), align="edge", color=style.COLOURS[5], edgecolor="white")
    below.set_yscale("log")
    below.set_ylim(bottom=min(0.5, means[filled].min() / 2))
    style.as_plain(below.yaxis)
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    below.set_ylabel("images a run (log)" if len(runs) > 1 else "images (log)")
    below.set_xlabel("confidence: softmax probability of the predicted class, percent")
    below.set_xlim(0, 1.012)  # leaves room for a marker at 100 %
    style.as_percent(below.xaxis)
    gap = float(((confidence - accuracy) * pooled[filled]).sum() / pooled.sum())
    dots = f" Dashes: single runs, bins of at least {FEW_IMAGES} images." if len(runs) > 1 else ""
    caption = (
        "On the dashed line the network is right as often as it says; below it, it is too sure. "
        f"{of_runs(runs)}: accuracy of the images in each of 15 bins of confidence.{dots} Confidence is on "
        f"average {abs(100 * gap):.2f} points {'above' if gap > 0 else 'below'} accuracy. Whiskers: 95 % "
        "Clopper-Pearson interval for as many images as one run has in the bin (lower panel)."
    )
    return style.to_picture(figure, "calibration", variant, caption)
