"""The tables of docs/statistics.md on seeds added after looking; simulation_tables.py prints them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from benchmarks import sequential
from benchmarks.simulations import FEW
from harness.statistics.looks import look_bounds

Table = tuple[str, tuple[str, ...], list[list[str]]]

COLUMNS = ("", *(f"by n = {n}" for n in sequential.SIZES))
EFFECTS = (0.0, *sequential.EFFECTS)


def tables(studies: int) -> Iterator[Table]:
    """Give each table's title, header and rows."""
    yield _bounds()
    yield _false_verdicts(studies)
    yield _false_families(min(studies, FEW))
    yield _power(studies)
    yield _all_intervals(studies)
    yield _last_interval(studies)


def _bounds() -> Table:
    rows = []
    for looks in sequential.PLANS:
        for m in (1, 2, 3):
            needed = [f"{bound:.5g}" for bound in look_bounds(looks, sequential.LEVEL / m)]
            missing = [""] * (len(sequential.SIZES) - len(looks))
            rows.append([f"looks {', '.join(map(str, looks))}, {m} not decided", *needed, *missing])
    return "The absolute t that a look needs", ("", *(f"n = {n}" for n in sequential.SIZES)), rows


def _false_verdicts(studies: int) -> Table:
    found = {kind: sequential.false_verdicts(kind, studies) for kind in sequential.KINDS}
    rows = [
        _row(way, kind, rates[way], _too_often(studies))
        for way in sequential.WAYS
        for kind, rates in found.items()
    ]
    title = "Two recipes with the same mean: studies with a false verdict, % (should be at most 5)"
    return title, COLUMNS, rows


def _false_families(studies: int) -> Table:
    found = {kind: sequential.false_families(kind, studies) for kind in sequential.KINDS}
    found["normal, beside a 4th with d = 2"] = sequential.false_families("normal", studies, 2.0)
    rows = [
        _row(way, kind, rates[way], _too_often(studies))
        for way in found["normal"]
        for kind, rates in found.items()
    ]
    title = (
        "Three variants with their baseline's mean: studies with any false verdict, % (should be at most 5)"
    )
    return title, COLUMNS, rows


def _power(studies: int) -> Table:
    rows = []
    for effect in sequential.EFFECTS:
        for kind in ("normal", "both skewed"):
            for way, (rates, seeds) in sequential.power(kind, effect, studies).items():
                rows.append([*_row(way, f"{kind}, d = {effect:g}", rates), f"{seeds:.1f}"])
    title = "A true difference of d stds: studies with the right verdict, %, and the seeds run on average"
    return title, (*COLUMNS, "seeds"), rows


def _all_intervals(studies: int) -> Table:
    rows = [
        _row(name, kind, rates, _too_low)
        for kind in sequential.KINDS
        for name, rates in sequential.simultaneous_coverage(kind, studies).items()
    ]
    title = "All intervals of a study up to n: share of studies in which all hold the truth, % (should be 95)"
    return title, COLUMNS, rows


def _last_interval(studies: int) -> Table:
    rows = []
    for kind in sequential.KINDS:
        found = [sequential.coverage_at_the_stop(kind, effect, studies) for effect in EFFECTS]
        rows += [_row(name, kind, [rates[name] for rates in found], _too_low) for name in found[0]]
    title = "Looks at 3, 5, 10 and 20 until a verdict: coverage of the last interval, % (should be 95)"
    return title, ("", *(f"d = {effect:g}" for effect in EFFECTS)), rows


def _row(
    name: str, kind: str, rates: list[float], fails: Callable[[float], bool] = lambda _: False
) -> list[str]:
    """Percentages; those that fail are bold."""
    texts = [f"**{100 * x:.1f}**" if fails(x) else f"{100 * x:.1f}" for x in rates]
    if name == "looks 3, 5, 10":  # it ends before the last column
        texts[-1] = ""
    return [f"{name}, {kind}", *texts]


def _too_often(studies: int) -> Callable[[float], bool]:
    return lambda rate: rate > sequential.LEVEL + 4 * math.sqrt(sequential.LEVEL * 0.95 / studies)


def _too_low(coverage: float) -> bool:
    return coverage < 0.935
