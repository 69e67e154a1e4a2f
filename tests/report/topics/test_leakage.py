"""The page and leakage.csv say which images are in both splits, as the runs recorded it."""

from __future__ import annotations

from typing import Any

import pytest

from harness.report.topics import csv_tables, leakage
from tests.lab import Lab, MakeLab, rows, sections, text

NONE = {"identical": 0, "identical_other_class": 0, "near": 0, "near_other_class": 0, "pairs": 0}
SOME = {
    **NONE,
    "identical": 2,
    "identical_other_class": 1,
    "near": 1,
    "pairs": 3,
    "first_pairs": ["3,0,5,0,identical,0,1.0", "20,1,7,0,identical,0,1.0", "24,1,49,1,near,2,0.9999"],
}


def finish(place: Lab, seed: int, record: dict[str, Any] | None, **data: Any) -> None:
    own = place.record("base", seed)["provenance"]["data"]
    recorded = {} if record is None else {"leakage": record}
    place.finish("base", seed, provenance={"data": {**own, **recorded, **data}})


def test_runs_of_earlier_versions_have_no_section(lab: MakeLab) -> None:
    place = lab(seeds=[0])
    finish(place, 0, None)
    findings = place.findings()
    assert sections(findings, leakage) == []
    assert csv_tables(findings)["leakage"].count("\n") == 1


def test_that_nothing_was_found_is_said(lab: MakeLab) -> None:
    place = lab(seeds=[0])
    finish(place, 0, {**NONE, "first_pairs": []})
    findings = place.findings()
    assert text(sections(findings, leakage)).startswith("No evaluation image is identical")
    assert findings.warnings == []


def test_pairs_are_listed_with_their_classes_once_for_all_runs(lab: MakeLab) -> None:
    place = lab(seeds=[0, 1])
    for seed in (0, 1):
        finish(place, seed, SOME)
    findings = place.findings()
    blocks = sections(findings, leakage)
    assert rows(blocks) == [
        ["5", "0", "3", "0", "identical", "0", "1.0"],
        ["7", "0", "20", "1", "identical", "0", "1.0"],
        ["49", "1", "24", "1", "near", "2", "0.9999"],
    ]
    lines = csv_tables(findings)["leakage"].splitlines()
    assert lines[1:] == [
        f"{place.data.sha256},train,5,0,test,3,0,identical,0,1.0",
        f"{place.data.sha256},train,7,0,test,20,1,identical,0,1.0",
        f"{place.data.sha256},train,49,1,test,24,1,near,2,0.9999",
    ]
    said = text(blocks)
    assert "2 of 360 test images are also among the train images" in said
    assert "1 of 360 test images (0.28 %) nearly equal a train image." in said
    assert "1 of them with another class" in said


def test_identical_images_are_a_warning_and_nearly_equal_ones_are_not(lab: MakeLab) -> None:
    place = lab(seeds=[0])
    finish(place, 0, {**SOME, "identical": 0, "identical_other_class": 0})
    assert place.findings().warnings == []
    other = lab(seeds=[0])
    finish(other, 0, SOME)
    (warning,) = other.findings().warnings
    assert warning.startswith("2 of 360 test images are also") and warning.endswith(".")


def test_hold_outs_that_vary_have_one_warning_and_pairs_of_their_own(lab: MakeLab) -> None:
    place = lab(seeds=[0, 1, 2])
    for seed in (0, 1, 2):
        finish(place, seed, SOME, sha256=f"{seed}" * 64, evaluated_on="holdout")
    findings = place.findings()
    warnings = [warning for warning in findings.warnings if "images" in warning]
    assert len(warnings) == 2 and warnings[0].startswith("2 of 360 hold-out images")
    assert warnings[1].startswith("2 more data sets or hold-outs")
    assert csv_tables(findings)["leakage"].count("\n") == 1 + 3 * 3


@pytest.mark.parametrize("pairs", [61, 1000])
def test_a_long_list_is_cut_on_the_page_and_says_so(lab: MakeLab, pairs: int) -> None:
    place = lab(seeds=[0])
    lines = [f"{at % 360},0,{at},1,near,4,0.95" for at in range(pairs)]
    finish(place, 0, {**NONE, "near": 61, "pairs": 5000, "first_pairs": lines})
    blocks = sections(place.findings(), leakage)
    assert len(rows(blocks)) == 60
    assert [block.title for block in blocks if block.kind == "table"] == ["The first 60 of 5,000 pairs"]
