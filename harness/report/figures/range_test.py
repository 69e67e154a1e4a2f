"""A variant's learning-rate range test: its losses and accuracies, and the chosen rates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from harness.analysis.findings import Findings
from harness.analysis.runs import RangeTestResult, Row
from harness.report.figures import style
from harness.report.figures.style import Picture, Value
from harness.schedule import Rates

MIN_COLOUR, MAX_COLOUR = style.COLOURS[2], style.COLOURS[1]


@style.house_style()
def draw(findings: Findings, variant: str) -> Picture | None:
    """Draw loss and accuracy against the learning rate; None without a range test.

    One sweep is drawn raw and smoothed; of several, each smoothed and thin, their median thick. A point is
    what a sweep chose, a band the range of these.
    """
    tests = [test for test in findings.results.range_tests_of(variant) if test.rows]
    if not tests:
        return None
    record, sweeps = tests[0].record, [sweep for test in tests for sweep in test.sweeps]
    first = next(iter(findings.results.of(variant, "finished")), None)
    exponential = record.get("mode") == "exponential"
    chosen, band = _chosen(tests)
    figure, panels = style.canvas(3.6, 1, 2)
    values: list[Value] = []
    for axes, name in zip(panels, ("loss", "accuracy"), strict=True):
        _draw_sweeps(axes, sweeps, name)
        if exponential:
            axes.set_xscale("log")
        style.as_plain(axes.xaxis)
        axes.set_xlabel("learning rate" + (" (log)" if exponential else ""))
        values += _draw_choices(axes, tests, name)
        if band is not None:
            axes.axvspan(*band, color=MAX_COLOUR, alpha=0.12, lw=0, label="range of the choices")
        given = None if first is None or record.get("used") else first.number("lr_max")
        if given is not None:
            axes.axvline(given, color=style.COLOURS[6], ls=":", label=f"used: {given:.3g}")
    panels[0].set_title("Loss", pad=26)
    panels[0].set_ylabel("nats per image")
    panels[1].set_title("Accuracy", pad=26)
    panels[1].set_ylabel("percent of the batch")
    style.as_percent(panels[1].yaxis)
    cut = _cut_explosion(panels[0], [column(sweep, "smoothed_loss") for sweep in sweeps])
    for axes in panels:
        _name(axes, chosen.lr_min, f"LRMIN\n{chosen.lr_min:.3g}", MIN_COLOUR, "right")
        _name(axes, chosen.lr_max, f"LRMAX\n{chosen.lr_max:.3g}", MAX_COLOUR, "left")
    rule = f"criterion: {record.get('criterion', '')}; LRMIN = LRMAX / {record.get('lr_min_divisor', 1):g}"
    style.legend(figure, panels[0], 2, rule)
    role = "used by the runs" if record.get("used") else "not used: the study gives its own rates"
    caption = (
        f"{_steps(sweeps)}, with {record.get('mode', '')} rates. LRMAX is chosen by the criterion "
        f"“{record.get('criterion', '')}”{_of_several(tests)}; it should lie just before the loss rises and "
        f"the accuracy falls. These rates are {role}."
    )
    if cut:
        caption += " Losses above the frame are cut off."
    return style.to_picture(figure, "range_test", variant, caption, values)


def _name(axes: Axes, rate: float, text: str, colour: str, side: str) -> None:
    """Draw a chosen rate as a line, and write its name and value above it, aligned at this side."""
    axes.axvline(rate, color=colour, ls="--", lw=1.3)
    axes.text(
        rate, 1.01, text, transform=axes.get_xaxis_transform(), ha=side,
        va="bottom", fontsize=8, color=colour, weight="bold",
    )  # fmt: skip


def _draw_choices(axes: Axes, tests: Sequence[RangeTestResult], name: str) -> list[Value]:
    """Draw what each sweep chose as a point of its smoothed curve; return these values."""
    chosen = []
    for test in tests:
        rates = test.record.get("choices") or [test.record["lr_max"]] * len(test.sweeps)
        for sweep, rate in zip(test.sweeps, rates, strict=False):
            at = int(np.nanargmin(np.abs(column(sweep, "lr") - rate)))
            chosen.append((rate, float(column(sweep, f"smoothed_{name}")[at])))
    label = "chosen by each sweep" if len(chosen) > 1 else "chosen"
    axes.plot(*zip(*chosen, strict=True), "o", ms=5.5, color=MAX_COLOUR, mec="white", ls="", label=label)
    scale, unit = (100, " %") if name == "accuracy" else (1, "")
    return [Value(axes, x, y, f"chosen: {x:.4g}, {name} {scale * y:.3g}{unit}") for x, y in chosen]


def _draw_sweeps(axes: Axes, sweeps: Sequence[Sequence[Row]], name: str) -> None:
    """Draw one sweep raw and smoothed; of several, each smoothed, and their median."""
    if len(sweeps) == 1:
        lr = column(sweeps[0], "lr")
        raw = column(sweeps[0], name)
        axes.plot(lr, raw, color=style.COLOURS[5], lw=0.8, alpha=0.7, label="each batch")
        axes.plot(lr, column(sweeps[0], f"smoothed_{name}"), color=style.COLOURS[0], label="smoothed")
        return
    curves = [column(sweep, f"smoothed_{name}") for sweep in sweeps]
    for at, (sweep, curve) in enumerate(zip(sweeps, curves, strict=True)):
        label = None if at else f"each of the {len(sweeps)} sweeps, smoothed"
        axes.plot(column(sweep, "lr"), curve, color=style.COLOURS[5], lw=0.8, alpha=0.7, label=label)
    # The steps that at least half of the sweeps have: a sweep ends where its loss runs away.
    steps = sorted(map(len, curves))[len(curves) // 2]
    padded = np.full((len(curves), steps), np.nan)
    for row, curve in zip(padded, curves, strict=True):
        row[: len(curve)] = curve[:steps]
    longest = max(sweeps, key=len)
    axes.plot(
        column(longest, "lr")[:steps],
        np.nanmedian(padded, axis=0),
        color=style.COLOURS[0],
        label="median of the sweeps",
    )


def _chosen(tests: Sequence[RangeTestResult]) -> tuple[Rates, tuple[float, float] | None]:
    """Return the rates to mark, and the range of what was chosen; None where one sweep chose."""
    if len(tests) == 1:
        record = tests[0].record
        return Rates(record["lr_min"], record["lr_max"]), tests[0].spread
    peaks = [test.record["lr_max"] for test in tests]
    lr_max = float(np.exp(np.median(np.log(peaks))))
    return Rates(lr_max / tests[0].record.get("lr_min_divisor", 1), lr_max), (min(peaks), max(peaks))


def _of_several(tests: Sequence[RangeTestResult]) -> str:
    """Say of what LRMAX is the median, and what the band is."""
    if len(tests) > 1:
        return f", for each run by itself: the line is the median of {len(tests)} runs, the band their range"
    if tests[0].repeats > 1:
        return f" (line: the median of {tests[0].repeats} sweeps; points and band: their choices)"
    return ""


def _steps(sweeps: Sequence[Sequence[Row]]) -> str:
    longest = max(map(len, sweeps))
    if len(sweeps) == 1:
        return f"{longest} training batches"
    return f"{len(sweeps)} sweeps of up to {longest} training batches"


def _cut_explosion(axes: Axes, curves: Sequence[np.ndarray]) -> bool:
    """Cut the loss axis where a sweep diverges, so that the part before it is readable."""
    finite = np.concatenate([curve[np.isfinite(curve)] for curve in curves])
    if not len(finite) or finite.max() <= 3 * finite[0]:
        return False
    low = float(finite.min())
    axes.set_ylim(low - 0.1 * (finite[0] - low) - 0.02, 2 * float(finite[0]))
    return True


def column(rows: Sequence[Row], name: str) -> np.ndarray:
    """Return one column, (N,) float64, NaN where it is empty."""
    return np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)
