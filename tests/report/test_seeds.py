"""The report's sentences and tables about the seeds: what is said, and what is left unsaid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.analysis.results import Results, read_results
from harness.analysis.summary import VariantSummary, summarise
from harness.report import seeds
from harness.report.blocks import Block
from harness.statistics.variance import SeedVariance

Lab = Callable[..., Any]


def read(lab: Any) -> tuple[Results, list[VariantSummary]]:
    results = read_results(lab.study, lab.folder, lab.study.seeds, list(lab.study.recipes))
    return results, summarise(results)


def rows(blocks: list[Block]) -> list[list[str]]:
    return [list(row) for block in blocks if block.kind == "table" for row in block.rows]


def text(blocks: list[Block]) -> str:
    return " ".join(block.text for block in blocks)


@pytest.fixture(scope="module")
def place(shared_lab: Lab) -> Any:
    """Three seeds of one variant, one of another and a failed run."""
    made = shared_lab(
        target={"test_accuracy": 0.01},  # reached on any machine, however its sums are rounded
        variants={"no_cutout": {"augment.train": []}},
    )
    for seed in range(3):
        made.finish("base", seed)
    made.finish("no_cutout", 1)
    made.fail("no_cutout", 2)
    return made


def test_the_distribution_over_seeds_stands_with_its_n(place: Any) -> None:
    _, summaries = read(place)
    blocks = seeds.distribution(summaries)
    accuracies = summaries[0].accuracies
    (row,) = rows(blocks)
    assert row[:3] == ["base", "3", f"{100 * np.mean(accuracies):.3f}"]
    assert row[3:5] == [f"{100 * np.std(accuracies, ddof=1) / root:.3f}" for root in (1, np.sqrt(3))]
    assert row[6:] == [f"{100 * min(accuracies):.2f}", f"{100 * np.median(accuracies):.2f}",
                       f"{100 * np.mean(accuracies):.3f}", f"{100 * max(accuracies):.2f}"]  # fmt: skip
    assert not any("BCa" in name for name in blocks[1].header)


def test_a_bootstrap_interval_is_shown_from_fifty_seeds_on(lab: Lab) -> None:
    made = lab(seeds=[*range(50)])
    labels = made.data.evaluation.labels
    for seed in made.study.seeds:
        predicted = np.where(np.arange(360) < 300 + seed % 7, labels, (labels + 1) % 10)
        made.finish("base", seed, logits=np.eye(10)[predicted] * 3)
    (_, table, _) = seeds.distribution(read(made)[1])
    low, high = map(float, table.rows[0][6].split(" to "))
    assert table.header[6] == "95 % BCa interval, %"
    assert low < 100 * np.mean([300 + seed % 7 for seed in range(50)]) / 360 < high


def test_one_run_has_no_distribution(lab: Lab) -> None:
    made = lab(seeds=[0])
    made.finish()
    assert seeds.distribution(read(made)[1]) == []


def test_the_two_noises_stand_in_two_tables(place: Any) -> None:
    tables = [block for block in seeds.spread(read(place)[1]) if block.kind == "table"]
    assert [len(block.rows) for block in tables] == [1, 2]
    assert not any("sampling" in name for name in tables[0].header)
    assert not any("seeds" in name for name in tables[1].header)


def test_of_one_run_no_part_of_the_spread_is_called_luck(place: Any) -> None:
    assert "no_cutout: one run, of which nobody can say" in text(seeds.spread(read(place)[1]))


@pytest.mark.parametrize(
    ("p_luck", "expected"),
    [
        (0.4, "runs are not shown to differ: their own std may be 0.12 to 1.30 points"),
        (
            0.001,
            "the runs differ genuinely, with a std of 0.12 to 1.30 points; "
            "luck on these images is about 25 % of the variance",
        ),
        (None, "every seed is right on the same images"),
    ],
)
def test_which_part_is_luck_is_said(p_luck: float | None, expected: str) -> None:
    found = SeedVariance(5, 10_000, 0.004, 0.002, 0.0018, 0.000012, p_luck, 0.0025, 0.0012, 0.013)
    assert seeds.reading(found) == expected


def test_a_negative_estimate_is_named(lab: Lab) -> None:
    made = lab(seeds=[0, 1])
    labels = made.data.evaluation.labels
    for seed in (0, 1):  # each misses 20 others
        predicted = labels.copy()
        predicted[20 * seed : 20 * seed + 20] = (predicted[20 * seed : 20 * seed + 20] + 1) % 10
        made.finish("base", seed, logits=np.eye(10)[predicted] * 3)
    (first, *_) = rows(seeds.spread(read(made)[1]))
    assert first[5] == "0 (estimate below 0)"


def test_every_plus_minus_has_its_n_beside_it(place: Any) -> None:
    base, other = rows(seeds.calibration(read(place)[1]))
    assert base[1] == "3" and all("±" in cell for cell in base[2:])
    assert other[1] == "1" and not any("±" in cell for cell in other)


def test_what_the_seeds_know_together_needs_several(place: Any) -> None:
    results, summaries = read(place)
    blocks = seeds.together(results, summaries)
    table = blocks[1]
    assert table.rows[0][0] == "base" and len(table.rows) == 1
    assert blocks[-1].title == "base: images that every seed misses, the most agreed on first"


def test_without_a_finished_run_nothing_is_said(lab: Lab) -> None:
    results, summaries = read(lab())
    for blocks in (
        seeds.distribution(summaries),
        seeds.spread(summaries),
        seeds.calibration(summaries),
        seeds.together(results, summaries),
    ):
        assert blocks == []
