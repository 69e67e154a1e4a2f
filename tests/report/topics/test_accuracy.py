"""The distribution over seeds."""

from __future__ import annotations

import numpy as np

from harness.analysis.findings import Findings
from harness.report.topics import accuracy
from tests.lab import MakeLab, rows, sections


def test_the_distribution_over_seeds_stands_with_its_n(findings: Findings) -> None:
    _, table, _ = sections(findings, accuracy)
    values = findings.summaries[0].scores
    (row,) = rows([table])
    assert row[:3] == ["base", "3", f"{100 * np.mean(values):.3f}"]
    assert row[3:5] == [f"{100 * np.std(values, ddof=1) / root:.3f}" for root in (1, np.sqrt(3))]
    assert row[6:] == [f"{100 * min(values):.2f}", f"{100 * np.median(values):.2f}",
                       f"{100 * np.mean(values):.3f}", f"{100 * max(values):.2f}"]  # fmt: skip
    assert not any("BCa" in name for name in table.header)


def test_a_bootstrap_interval_is_shown_from_fifty_seeds_on(lab: MakeLab) -> None:
    made = lab(seeds=[*range(50)])
    for seed in made.study.seeds:
        made.finish("base", seed, logits=made.logits(300 + seed % 7))
    _, table, _ = sections(made.findings(), accuracy)
    low, high = map(float, table.rows[0][6].split(" to "))
    assert table.header[6] == "95 % BCa interval, %"
    assert low < 100 * np.mean([300 + seed % 7 for seed in range(50)]) / 360 < high


def test_one_run_has_no_distribution(lab: MakeLab) -> None:
    made = lab(seeds=[0])
    made.finish()
    assert sections(made.findings(), accuracy) == []
