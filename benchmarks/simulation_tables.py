"""The tables of docs/statistics.md: ``python -m benchmarks.simulation_tables`` prints them, in 15 seconds."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np

from benchmarks import simulations
from harness.console import open_streams


def _print(title: str, header: tuple[str, ...], rows: list[list[str]]) -> None:
    print(f"**{title}**\n\n| {' | '.join(header)} |\n| --- |{' ---: |' * (len(header) - 1)}")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows), end="\n\n")


def _print_rates(title: str, rows: dict[str, dict[str, float]], fails: Callable[[str, float], bool]) -> None:
    """Percentages; those that fail are bold."""
    header = ("", *next(iter(rows.values())))
    texts = [
        [name, *(f"**{100 * x:.1f}**" if fails(column, x) else f"{100 * x:.1f}" for column, x in row.items())]
        for name, row in rows.items()
    ]
    _print(title, header, texts)


def _too_low(_: str, coverage: float) -> bool:
    return coverage < 0.935


def main() -> None:
    open_streams()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100_000, help="simulated studies a cell")
    studies = parser.parse_args().studies
    cells = [(name, n) for name in simulations.DISTRIBUTIONS for n in simulations.SIZES]
    label = "{}, n = {}".format

    def too_often(column: str, rate: float) -> bool:
        drawn = min(studies, simulations.FEW) if column.startswith(("sign", "relabelling")) else studies
        return rate > 0.05 + 4 * math.sqrt(0.05 * 0.95 / drawn)

    _print_rates(
        "Intervals over seeds: share that holds the truth, % (should be 95 ± 1.5)",
        {label(*cell): simulations.interval_rates(*cell, studies) for cell in cells},
        _too_low,
    )
    _print_rates(
        "Tests: how often a true null is rejected, % (should be at most 5)",
        {label(*cell): simulations.test_rates(*cell, studies) for cell in cells},
        too_often,
    )
    _print_rates(
        "The same where two recipes have equal means and different spreads, %",
        {f"n = {n}": simulations.unequal_rates(n, studies) for n in simulations.SIZES},
        too_often,
    )
    bootstrap: dict[str, dict[str, float]] = {}
    for n in (3, 5, 10, 20, 30, 50):
        for name in ("normal", "skewed"):
            draw, mean = simulations.DISTRIBUTIONS[name]
            values = draw(np.random.default_rng(5), (studies // 10, n))
            both = {
                "BCa": simulations.covers(simulations.bca_intervals(values), mean),
                "t": simulations.covers(simulations.t_intervals(values), mean),
            }
            bootstrap.setdefault(f"n = {n}", {}).update(
                {f"{key}, {name}": rate for key, rate in both.items()}
            )
    _print_rates(
        "BCa bootstrap interval of the mean beside the t interval: share that holds the truth, %",
        bootstrap,
        _too_low,
    )
    few = studies // 50
    _print("The rest", ("", "measured", "should be"), [*_exact(), *_of_images(few), *_of_luck(few)])


def _exact() -> list[list[str]]:
    grid = np.linspace(0.0005, 0.9995, 2000)
    found = {n: 100 * simulations.clopper_pearson_coverage(n, grid) for n in simulations.SIZES}
    return [
        [
            f"Clopper-Pearson, lowest and highest coverage, n = {n}",
            f"{one.min():.1f} to {one.max():.1f} %",
            "at least 95 %",
        ]
        for n, one in found.items()
    ]


def _of_images(studies: int) -> list[list[str]]:
    wanted = {"McNemar": "at most 5 %", "bootstrap over images": "95 %"}
    what = {"McNemar": "rejections of a true null", "bootstrap over images": "coverage"}
    return [
        [
            f"{name}, {what[name]}",
            f"{100 * rate:.1f} ± {100 * math.sqrt(rate * (1 - rate) / studies):.1f} %",
            wanted[name],
        ]
        for name, rate in simulations.image_rates(studies).items()
    ]


def _of_luck(studies: int) -> list[list[str]]:
    rows = []
    for between in (0.0, 0.002):
        found = [simulations.between_rates(n, between, studies) for n in simulations.SIZES]
        rows += [
            [
                f"variance between runs, n = 3, 5, 10, in 10⁻⁶, true {between**2 * 1e6:.0f}",
                ", ".join(f"{mean * 1e6:.1f} ± {error * 1e6:.1f}" for mean, error, _ in found),
                f"{between**2 * 1e6:.0f}",
            ],
            [
                "`p_luck` at most 0.05, n = 3, 5, 10, the same studies",
                ", ".join(f"{100 * rejected:.1f}" for *_, rejected in found) + " %",
                "(its power: low)" if between else "at most 5 %",
            ],
        ]
    return rows


if __name__ == "__main__":
    main()
