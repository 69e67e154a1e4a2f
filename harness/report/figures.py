"""Figures of what the runs measured: curves over epochs, accuracy against target, classes, confusions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from harness.analysis.numbers import accuracy_text, percent_text
from harness.analysis.references import claims
from harness.analysis.results import Results
from harness.analysis.summary import VariantSummary
from harness.report.style import (
    COLOURS,
    TARGET_COLOUR,
    Picture,
    as_percent,
    as_plain,
    canvas,
    house_style,
    short,
    to_png,
)
from harness.statistics.classification import row_shares
from harness.statistics.distribution import mean_of, std_of
from harness.statistics.target import share

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_SPAN = 0.02  # of the accuracies' axis: two points
MOST_CLASSES = 50  # per figure; more are no longer readable
NUMBERED_CLASSES = 16  # up to here a confusion's cells hold their numbers
PANELS = (
    ("train_loss", "Train loss", "nats per image"),
    ("test_loss", "{} loss", "nats per image"),
    ("train_accuracy", "Train accuracy", "percent"),
    ("test_accuracy", "{} accuracy", "percent"),
)


def curves(results: Results, summaries: list[VariantSummary]) -> Picture | None:
    """Train and test loss and accuracy over the epochs, a line a variant; None without a finished run."""
    chosen = [summary for summary in summaries if summary.finished]
    drawn = chosen[: len(COLOURS)]
    if not drawn:
        return None
    split = "Hold-out" if all(summary.evaluated_on == "holdout" for summary in drawn) else "Test"
    with house_style():
        figure, axes = canvas(5.6, 2, 2, sharex=True, sharey="row")
        for panel, (column, title, unit) in zip(axes, PANELS, strict=True):
            for summary, colour in zip(drawn, COLOURS, strict=False):
                _curve(panel, results, summary.variant, column, colour)
            panel.set_title(title.format(split))
            panel.set_ylabel(unit)
            panel.tick_params(labelleft=True)
            if unit == "percent":
                as_percent("y", panel)
                panel.set_xlabel("epoch")
            if column == "test_accuracy":
                panel.axhline(
                    results.study.target.test_accuracy, color=TARGET_COLOUR, lw=1, ls="--", zorder=1
                )
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _log_where_needed(axes[:2])
        if len(drawn) > 1:
            handles, labels = axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(drawn)))
        png = to_png(figure)
    counts = sorted({summary.finished for summary in drawn})
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if counts[-1] == 1:
        what = "One finished run: no band."
    else:
        what = f"Lines are means, bands ± 1 std over seeds (divisor n - 1), n = {n} finished runs a variant."
    left_out = len(chosen) - len(drawn)
    more = f" The first {len(drawn)} variants of {len(chosen)} are drawn." if left_out else ""
    caption = (
        f"How the training went. {what} Train accuracy is taken over augmented batches while the weights "
        "change, so it can lie below that of the untouched test images. Dashed: the target of "
        f"{percent_text(results.study.target.test_accuracy)}, judged on the last epoch alone.{more}"
    )
    return Picture("curves", None, caption, png, figure)


def _curve(axes: Axes, results: Results, variant: str, column: str, colour: str) -> None:
    by_epoch: dict[float, list[float]] = {}
    for run in results.of(variant, "finished"):
        for row in run.history:
            if (
                row["epoch"] is not None
                and row[column] is not None
                and np.isfinite(value := row[column] or 0.0)
            ):
                by_epoch.setdefault(row["epoch"], []).append(value)
    epochs = sorted(by_epoch)
    means = np.array([mean_of(by_epoch[epoch]) for epoch in epochs])
    stds = np.array([std_of(by_epoch[epoch]) or 0.0 for epoch in epochs])
    marker = "o" if len(epochs) <= 12 else ""
    axes.plot(epochs, means, color=colour, marker=marker, ms=3, label=short(variant, 24))
    axes.fill_between(epochs, means - stds, means + stds, color=colour, alpha=0.2, lw=0)


def _log_where_needed(panels: Sequence[Axes]) -> None:
    """A loss that begins far above where it ends would leave a flat line."""
    values = np.concatenate([line.get_ydata() for panel in panels for line in panel.get_lines()])
    if len(values) and values.min() > 0 and values.max() > 50 * np.median(values):
        for panel in panels:
            panel.set_yscale("log")
            as_plain("y", panel)
            panel.set_ylabel("nats per image (log)")


def accuracy(results: Results, summaries: list[VariantSummary]) -> Picture | None:
    """Each seed's last test accuracy, mean ± std, target and references; None without a finished run."""
    drawn = [summary for summary in summaries if summary.test_accuracy is not None or summary.failed]
    if not any(summary.test_accuracy for summary in drawn):
        return None
    target = results.study.target.test_accuracy
    references = [
        (name, reference.test_accuracy, claims(reference)[0].text)
        for name, reference in results.study.references.items()
        if reference.test_accuracy is not None
    ][:6]
    with house_style():
        legend_rows = (2 + len(references) + 2) // 3
        figure, (axes,) = canvas(1.1 + 0.5 * max(len(drawn), 2) + 0.22 * legend_rows)
        for place, summary in enumerate(drawn):
            values = summary.accuracies
            colour = COLOURS[place % len(COLOURS)]
            spread = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(len(values))
            axes.plot(values, place + spread, "o", ms=6, color=colour, alpha=0.6, mec="none")
            found = summary.test_accuracy
            if found is not None and found.std is not None:
                axes.errorbar(
                    found.mean,
                    place + 0.32,
                    xerr=found.std,
                    fmt="D",
                    ms=4.5,
                    capsize=3.5,
                    color=colour,
                    lw=1.4,
                )
            texts = [accuracy_text(found, target)] if found is not None else []
            if summary.failed:
                texts.append(f"{summary.failed} of {summary.runs} failed")
            axes.annotate(
                "\n".join(texts),
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8,
                annotation_clip=False,
            )
        lines = [(target, f"target {percent_text(target)}", {"color": TARGET_COLOUR, "ls": "--", "lw": 1.2})]
        for number, (name, published, claim) in enumerate(references):
            style = {"color": COLOURS[-1 - number % len(COLOURS)], "ls": ":", "lw": 1.8}
            lines.append((published, f"{short(name, 24)}: {claim}", style))
        far = _lines(axes, drawn, lines)
        axes.set_yticks(range(len(drawn)), [short(summary.variant, 24) for summary in drawn])
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        split = "hold-out" if all(summary.evaluated_on == "holdout" for summary in drawn) else "test"
        axes.set_xlabel(f"{split} accuracy of the last epoch, percent")
        as_percent("x", axes)
        figure.legend(loc="outside lower left", ncols=3)
        png = to_png(figure)
    caption = "Each dot is the run of one seed; those left of the dashed line missed the target."
    if any(summary.finished > 1 for summary in drawn):
        caption += (
            " The diamond below the dots is their mean ± 1 std over seeds (divisor n - 1; n: "
            + ", ".join(f"{summary.variant} {summary.finished}" for summary in drawn[:8])
            + ("" if len(drawn) <= 8 else ", …")
            + "; none from one run)."
        )
    if references:
        caption += " Dotted: published numbers; see whether they fall among the dots."
    if far:
        caption += " A triangle at the border stands for a line far beyond it."
    return Picture("accuracy", None, caption, png, figure)


def _lines(
    axes: Axes, drawn: Sequence[VariantSummary], lines: Sequence[tuple[float, str, dict[str, Any]]]
) -> bool:
    """Draw target and references where they leave the dots readable, else a triangle at the border.

    Returns:
        Whether a line lies beyond the border.
    """
    accuracies = [value for summary in drawn for value in summary.accuracies]
    for found in (summary.test_accuracy for summary in drawn):
        if found is not None and found.std is not None:
            accuracies += [found.mean - found.std, found.mean + found.std]
    low, high = min(accuracies), max(accuracies)
    reach = max(high - low, LEAST_SPAN)
    near = [at for at, _, _ in lines if low - reach <= at <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.08 * max(high - low, LEAST_SPAN)
    axes.set_xlim(max(low - margin, -margin / 2), min(high + margin, 1 + margin / 2))
    for number, (at, label, style) in enumerate(lines):
        if at in near:
            axes.axvline(at, label=label, **style)
            continue
        right = at > high
        axes.plot(
            float(right), 0.92 - 0.14 * number, ">" if right else "<", ms=8, color=style["color"],
            clip_on=False, transform=axes.transAxes, label=f"{label}, far {'right' if right else 'left'}",
        )  # fmt: skip
    return len(near) < len(lines)


def per_class(results: Results, variant: str) -> Picture:
    """Accuracy of each class over the variant's finished runs (there is at least one)."""
    runs = results.of(variant, "finished")
    names = runs[0].classes
    matrices = [run.confusion for run in runs]
    shares = np.array([row_shares(matrix).diagonal() for matrix in matrices])  # (runs, classes)
    images = matrices[0].sum(axis=1)
    means = shares.mean(axis=0)
    chosen = np.flatnonzero(images)
    if len(chosen) > MOST_CLASSES:
        chosen = np.sort(chosen[np.argsort(means[chosen], kind="stable")[:MOST_CLASSES]])
    with house_style():
        figure, (axes,) = canvas(1.0 + 0.24 * len(chosen))
        for place, index in enumerate(chosen):
            values = shares[:, index]
            if len(values) > 1:
                below = np.full(len(values), place + 0.3)
                axes.plot(values, below, "o", ms=3.5, color=COLOURS[5], alpha=0.7, mec="none")
            axes.errorbar(
                means[index],
                place,
                xerr=_whiskers(values, int(matrices[0][index, index]), int(images[index])),
                fmt="D",
                ms=4,
                capsize=3,
                color=COLOURS[0],
            )
        axes.axvline(
            float(np.mean([run.number("test_accuracy") for run in runs])), color=TARGET_COLOUR, ls="--", lw=1
        )
        axes.set_yticks(range(len(chosen)), [f"{short(names[index])} ({images[index]})" for index in chosen])
        axes.set_ylim(len(chosen) - 0.4, -0.5)
        axes.margins(x=0.05)
        low, high = axes.get_xlim()
        axes.set_xlim(max(low, -0.02), min(high, 1.02))
        axes.set_xlabel("accuracy, percent of the class's images")
        as_percent("x", axes)
        png = to_png(figure)
    worst = chosen[np.argmin(means[chosen])]
    spread = (
        f"Diamonds: mean ± 1 std over {len(runs)} seeds (divisor n - 1); dots below: single runs."
        if len(runs) > 1
        else f"One run (seed {runs[0].seed}): no ± over seeds; whiskers: 95 % Clopper-Pearson interval over "
        "the class's images."
    )
    limit = (
        f" The {MOST_CLASSES} classes of lowest accuracy of {len(names)}."
        if len(names) > MOST_CLASSES
        else ""
    )
    caption = (
        "Classes left of the dashed line (all classes together) are harder than the average. "
        f"{spread} In brackets: images of the class. "
        f"Lowest: {short(names[worst], 40)}, {100 * means[worst]:.1f} %.{limit}"
    )
    return Picture("per_class", variant, caption, png, figure)


def _whiskers(shares: NDArray[np.float64], correct: int, images: int) -> Any:
    """1 std over several runs; of one run, the ends of the exact interval over the class's images."""
    if len(shares) > 1:
        return std_of(shares.tolist()) or None
    found = share(correct, images)
    return [[shares[0] - found.low], [found.high - shares[0]]]


def confusion(results: Results, variant: str) -> Picture:
    """What each class was taken for, pooled over the variant's finished runs (there is at least one)."""
    runs = results.of(variant, "finished")
    names = runs[0].classes
    counts = sum((run.confusion for run in runs), np.zeros((len(names), len(names)), dtype=np.int64))
    percent = 100 * row_shares(counts)
    numbered = len(names) <= NUMBERED_CLASSES
    texts = np.vectorize(lambda value: "" if value == 0 else f"{value:.1f}" if value < 99.95 else "100")(
        percent
    )
    ticks = [short(name, 14) for name in names] if len(names) <= MOST_CLASSES else []
    with house_style():
        figure, (axes,) = canvas(6.6)
        # The square root shows errors of one percent beside a diagonal of ninety.
        sns.heatmap(
            percent,
            ax=axes,
            cmap="Blues",
            norm=PowerNorm(0.5, vmin=0, vmax=100),
            square=True,
            annot=texts if numbered else False,
            fmt="",
            annot_kws={"fontsize": 8 if len(names) <= 10 else 6.5},
            linewidths=0.6 if numbered else 0,
            linecolor="white",
            cbar_kws={"label": "percent of the row's images (colour: square root)", "shrink": 0.8},
        )
        axes.set_xticks([])
        axes.set_yticks([])
        if ticks:
            size = 9 if numbered else 6
            middle = np.arange(len(names)) + 0.5
            axes.set_xticks(middle, ticks, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
            axes.set_yticks(middle, ticks, rotation=0, fontsize=size)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("actual class")
        png = to_png(figure)
    errors = np.array(percent)
    np.fill_diagonal(errors, 0)
    actual, predicted = np.unravel_index(int(errors.argmax()), errors.shape)
    most = ""
    if errors.max():
        most = (
            f" Most frequent error: {short(names[actual], 40)} taken for {short(names[predicted], 40)}, "
            f"{percent[actual, predicted]:.1f} % of its images."
        )
    pooled = f"Pooled over {len(runs)} seeds" if len(runs) > 1 else f"One run (seed {runs[0].seed})"
    caption = (
        "Each row is an actual class, and where its images went; what is off the diagonal are errors. "
        f"{pooled}; each row adds up to 100 %; empty cells are zero.{most}"
    )
    return Picture("confusion", variant, caption, png, figure)
