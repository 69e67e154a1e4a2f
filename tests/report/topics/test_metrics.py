"""All metrics over seeds."""

from __future__ import annotations

import numpy as np

from harness.analysis.findings import Findings
from harness.report.topics import metrics
from tests.lab import MakeLab, rows, sections


def test_the_distribution_over_seeds_stands_with_its_n(findings: Findings) -> None:
    _, table, _, *_ = sections(findings, metrics)
    values = findings.summaries[0].scores
    (row,) = rows([table])
    assert row[:2] == ["base", "3"]
    assert row[2:] == [f"{100 * np.median(values):.2f}", f"{100 * np.mean(values):.3f}"]
    assert not any("BCa" in name for name in table.header)


def test_a_bootstrap_interval_is_shown_from_fifty_seeds_on(lab: MakeLab) -> None:
    made = lab(seeds=[*range(50)])
    for seed in made.study.seeds:
        made.finish("base", seed, logits=made.logits(300 + seed % 7))
    _, table, *_ = sections(made.findings(), metrics)
    low, high = map(float, table.rows[0][2].split(" to "))
    assert table.header[2] == "95 % BCa interval, %"
    assert low < 100 * np.mean([300 + seed % 7 for seed in range(50)]) / 360 < high


def test_one_run_has_the_other_metrics_alone(lab: MakeLab) -> None:
    made = lab(seeds=[0])
    made.finish()
    heading, table, _ = sections(made.findings(), metrics)
    assert heading.text.startswith("Other metrics")
    # the target's metric stands in the first table of the page, NLL with the calibration
    assert table.header[1:] == ["Balanced accuracy, %", "Top-5 accuracy, %", "Macro F1, %", "AUROC, %"]
