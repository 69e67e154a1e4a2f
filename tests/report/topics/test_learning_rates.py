"""The rates that the range tests chose, how far they are known, and those of the steps."""

from __future__ import annotations

from typing import Any

from harness.analysis.findings import Findings
from harness.report.topics import accuracy, claim, learning_rates
from harness.study_file.vary import DEFAULT
from tests.lab import MakeLab, rows, sections, text

FIND = {"epochs": 4, "peak_epoch": 1, "lr_max": "find", "lr_min": "find"}
ONE = "One LRMAX was found for all seeds, so the ± does not include the range test."
OWN = "Each seed has its own LRMAX, so the ± includes the range test."


def found(findings: Findings) -> Any:
    (row,) = [row for row in findings.summaries if row.variant == "base"]
    return row.found


def test_corners_stand_beside_the_highest_rate_of_a_step(findings: Findings) -> None:
    test, base, other = rows(sections(findings, learning_rates))
    assert test == ["base", "0.01", "0.1", "1", "–", "accuracy", "0", "yes", "–"]
    assert base[1:] == other[1:] == ["0.01", "0.1", "0.1", "10 of 36", "0.01"]


def test_a_damaged_range_test_says_so(lab: MakeLab) -> None:
    made = lab()
    made.sweep()
    made.folder.range_test_csv("base").write_text("damaged")
    (row,) = rows(sections(made.findings(), learning_rates))
    assert row == ["base", *["–"] * 7, "damaged: base.csv (its checksum does not match)"]


def test_the_sweeps_of_a_shared_range_test_have_a_range_in_table_and_words(lab: MakeLab) -> None:
    made = lab(schedule=FIND)
    for seed in (0, 1):
        made.finish(seed=seed)
    made.sweep(peaks=(0.6, 0.7, 0.65))
    findings = made.findings()
    shown = sections(findings, learning_rates)
    assert rows(shown)[0][3:5] == ["3", "0.02512 to 0.0631"]
    assert "base: 3 sweeps chose LRMAX from 0.02512 to 0.0631, a factor of 2.51; all runs use the" in text(
        shown
    )
    assert (found(findings).per, found(findings).count) == ("variant", 3)
    assert ONE in text(sections(findings, claim))


def test_one_sweep_as_version_0_2_left_it_has_no_error_bar(lab: MakeLab) -> None:
    made = lab(schedule=FIND)
    made.finish()
    made.sweep()
    findings = made.findings()
    assert "LRMAX was found by one sweep, so its error is unknown" in text(sections(findings, learning_rates))
    assert found(findings).low is None and ONE in text(sections(findings, claim))


def test_runs_with_rates_of_their_own_are_all_shown(lab: MakeLab) -> None:
    made = lab(schedule=FIND, range_test={"per": "seed"})
    for seed, peak in ((0, 0.6), (2, 0.7)):
        made.sweep(seed=seed, peaks=(peak, peak, peak))
        lr_max = float(10 ** (4 * peak - 4))
        made.finish(seed=seed, metrics={"parameters": 26_010, "lr_min": lr_max / 10, "lr_max": lr_max})
    findings = made.findings()
    shown = sections(findings, learning_rates)
    assert [row[0] for row in rows(shown)] == ["base/seed-0", "base/seed-2"] * 2
    assert (
        "base: each run found its own LRMAX: from 0.02512 to 0.0631, a factor of 2.51, over 2 runs"
        in text(shown)
    )
    assert OWN in text(sections(findings, claim)) and ONE not in text(sections(findings, claim))
    table = learning_rates.RANGE_TEST.csv(findings).splitlines()
    assert len(table) == 1 + 2 * 3 * 60 and table[-1].endswith(",3,2")  # the third sweep of seed 2
    assert {
        line.rsplit(",", 1)[1] for line in learning_rates.LEARNING_RATES.csv(findings).splitlines()[1:]
    } == {"0", "2"}


def test_where_rates_are_given_nothing_is_said_of_a_search(lab: MakeLab) -> None:
    made = lab(schedule={**FIND, "lr_max": 0.1, "lr_min": 0.01})
    for seed in (0, 1):
        made.finish(seed=seed)
    made.sweep(used=False)
    findings = made.findings()
    assert found(findings) is None and "LRMAX was found" not in text(sections(findings, learning_rates))
    assert "LRMAX" not in text(sections(findings, claim, accuracy))


def test_variants_of_both_kinds_are_named(lab: MakeLab) -> None:
    named = {"vary": [*DEFAULT, "range_test"]}
    made = lab(schedule=FIND, variants={"own": {"range_test.per": "seed"}, "named": named})
    for variant in ("base", "own", "named"):
        made.finish(variant)
    said = text(sections(made.findings(), claim))
    assert "For base one LRMAX was found for all seeds" in said
    assert "For own, named each seed has its own" in said
