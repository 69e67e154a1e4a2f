"""The tables of docs/statistics.md: ``python -m benchmarks.simulation_tables`` prints them."""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable

import numpy as np

from benchmarks import sequential_tables, simulated_comparisons, simulations, simulations_noise
from benchmarks.markdown import table
from harness.console import open_streams


def _print(title: str, header: tuple[str, ...], rows: list[list[str]]) -> None:
    print(f"**{title}**\n\n{table(header, rows)}\n")


def _print_rates(title: str, rows: dict[str, dict[str, float]], fails: Callable[[str, float], bool]) -> None:
    """Print percentages; those that fail are bold."""
    header = ("", *next(iter(rows.values())))
    texts = [[name, *(_cell(x, fails(column, x)) for column, x in row.items())] for name, row in rows.items()]
    _print(title, header, texts)


def _cell(rate: float, fails: bool) -> str:
    if math.isnan(rate):
        return "–"
    return f"**{100 * rate:.1f}**" if fails else f"{100 * rate:.1f}"


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
        "Intervals over seeds: coverage, % (should be 95 ± 1.5)",
        {label(*cell): simulations.interval_rates(*cell, studies) for cell in cells},
        _too_low,
    )
    _print_rates(
        "Tests: how often a true null is rejected, % (should be at most 5)",
        {label(*cell): simulations.test_rates(*cell, studies) for cell in cells},
        too_often,
    )
    _print_rates(
        "The same tests for two recipes with equal means and different spreads, %",
        {f"n = {n}": simulations.unequal_rates(n, studies) for n in simulations.SIZES},
        too_often,
    )
    bootstrap: dict[str, dict[str, float]] = {}
    for n in (3, 5, 10, 20, 30, 50):
        for name in ("normal", "skewed"):
            draw, mean = simulations.DISTRIBUTIONS[name]
            values = draw(np.random.default_rng(5), (studies // 10, n))
            row = bootstrap.setdefault(f"n = {n}", {})
            row[f"BCa, {name}"] = simulations.covers(simulations.bca_intervals(values), mean)
            row[f"t, {name}"] = simulations.covers(simulations.t_intervals(values), mean)
    _print_rates(
        "BCa bootstrap interval of the mean beside the t interval: coverage, %",
        bootstrap,
        _too_low,
    )
    _print_comparisons(studies // 5)
    _of_noise(studies // 25)
    few = studies // 50
    _print("The rest", ("", "measured", "should be"), [*_exact(), *_of_images(few), *_of_luck(few)])
    for found in sequential_tables.tables(studies):
        _print(*found)


def _print_comparisons(studies: int) -> None:
    """Print how several variants are compared: the best of them, false verdicts, power, margin, P(A > B)."""
    many = simulated_comparisons

    def too_often(_: str, rate: float) -> bool:
        return rate > 0.055

    best = {}
    for k, n in itertools.product((3, 10), (3, 5, 10)):
        for kind in ("normal", "normal, ρ = 0.5", "stds 0.1 to 0.4", "bad seeds"):
            cells = many.best_rates(kind, k, n, studies // 2)
            best[f"{kind}, {k} variants, n = {n}"] = cells
    _print_rates("The best of equal variants is excluded, % (should be at most 5)", best, too_often)
    left = [
        [
            f"{kind}, {k} variants, n = {n}",
            *(f"{x:.1f}" for x in many.left_rates(kind, k, n, studies // 4).values()),
        ]
        for k, n in itertools.product((3, 10), (3, 5, 10))
        for kind in ("normal", "normal, ρ = 0.5")
    ]
    title = "How many variants are not significantly below the top, each a std worse than the one before"
    _print(title, ("", "remain", "remain by Games-Howell"), left)
    kinds = {f"{kind}, 4 variants": (kind, 4) for kind in many.KINDS} | {
        f"{kind}, {k} variant{'s' * (k > 1)}": (kind, k)
        for kind in ("only variants bad, baseline std 0.1", "only variants bad, ρ = 0.5")
        for k in (1, 2)
    }
    false = {
        f"{name}, n = {n}": many.family_rates(*cell, n, studies)
        for name, cell in kinds.items()
        for n in many.SIZES
    }
    _print_rates(
        "False verdicts: any of several variants with the baseline's mean is called different, % (at most 5)",
        _filled(false),
        too_often,
    )
    power = {
        f"d = {d:g}, n = {n}": many.power_rates(d, 4, n, studies)
        for d, n in itertools.product((0.5, 1.0, 2.0), many.SIZES)
    }
    for n in (5, 10, 20):
        noisy = many.power_rates(2.0, 4, n, studies, many.NOISY)
        power[f"d = 2, n = {n}, two others with ten times the std"] = noisy
    _print_rates("Power: the one of 4 variants that differs is found, %", _filled(power), lambda *_: False)
    _print_rates(
        "A margin of one std: share of pairs, % (should be at most 5, 2.5 and 2.5; the rest is power)",
        {f"n = {n}": many.margin_rates(n, studies) for n in many.SIZES},
        lambda column, rate: column.endswith("margin") and rate > (0.055 if column[0] == "e" else 0.03),
    )
    _print_rates(
        "Intervals of P(A > B): coverage, % (should be at least 95)",
        {
            f"d = {d:g}, n = {n}": many.superiority_rates(d, n, studies)
            for d, n in itertools.product((0.0, 1.0, 2.0), many.SIZES)
        },
        _too_low,
    )


def _filled(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Give every row all columns; what is not computed at an n is NaN."""
    columns = dict.fromkeys(column for row in rows.values() for column in row)
    return {name: {column: row.get(column, math.nan) for column in columns} for name, row in rows.items()}


def _of_noise(studies: int) -> None:
    """Print the table on other seeds and other images."""
    _print_rates(
        "Other seeds, other images: coverage, %",
        {
            f"{case}, n = {n}": simulations_noise.noise_rates(case, n, studies)
            for case in simulations_noise.CASES
            for n in simulations.SIZES
        }
        | {
            f"{groups} clusters of 5 images, n = 5": simulations_noise.noise_rates(
                "clusters of 5 images", 5, studies, images=5 * groups
            )
            for groups in simulations_noise.FEW_CLUSTERS
        },
        _too_low,
    )


def _exact() -> list[list[str]]:
    """Return rows that need no simulation."""
    grid = np.linspace(0.0005, 0.9995, 2000)
    shares = {n: 100 * simulations.clopper_pearson_coverage(n, grid) for n in simulations.SIZES}
    what = "Clopper-Pearson, lowest and highest coverage, n = {}"
    return [
        [what.format(n), f"{share.min():.1f} to {share.max():.1f} %", "at least 95 %"]
        for n, share in shares.items()
    ]


def _of_images(studies: int) -> list[list[str]]:
    """Return rows on two networks and the images they are tested on."""
    rates = simulations.image_rates(studies)
    texts = {
        name: f"{100 * rate:.1f} ± {100 * math.sqrt(rate * (1 - rate) / studies):.1f} %"
        for name, rate in rates.items()
    }
    return [
        ["McNemar, rejections of a true null", texts["McNemar"], "at most 5 %"],
        ["bootstrap over images, coverage", texts["bootstrap over images"], "95 %"],
    ]


def _of_luck(studies: int) -> list[list[str]]:
    """Return rows on the variance between runs."""
    rows = []
    for between in (0.0, 0.002):
        rates = [simulations.between_rates(n, between, studies) for n in simulations.SIZES]
        true = f"{between**2 * 1e6:.0f}"
        estimates = ", ".join(f"{mean * 1e6:.1f} ± {error * 1e6:.1f}" for mean, error, _ in rates)
        rejected = ", ".join(f"{100 * share:.1f}" for *_, share in rates) + " %"
        should = "(its power: low)" if between else "at most 5 %"
        rows += [
            [f"variance between runs, n = 3, 5, 10, in 10⁻⁶, true {true}", estimates, true],
            ["`p_luck` at most 0.05, n = 3, 5, 10, the same studies", rejected, should],
        ]
    return rows


if __name__ == "__main__":
    main()
