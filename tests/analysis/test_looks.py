"""Verdicts at planned looks: which runs count at a look, what is decided there, which runs it spares."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness.analysis.looks import Look, PairLooks, judge_looks, look_sentence, without_unneeded
from harness.analysis.starts import plan_of
from harness.statistics.looks import LookDecision, look_bounds
from tests.lab import Lab, MakeLab

VARIANTS = {"wide": {"optimizer.momentum": 0.5}, "alike": {"optimizer.momentum": 0.4}}
RIGHT = [300, 302, 304, 301, 303, 305]  # of 360 images, by seed


@pytest.fixture
def place(lab: MakeLab) -> Lab:
    """Six seeds and looks after three, five and six."""
    return lab(variants=VARIANTS, seeds=list(range(6)), looks=[3, 5, 6], range_test=None, augment={})


def finish(place: Lab, variant: str, more: list[int]) -> None:
    """Finish a variant's first seeds, so many images better than the baseline's each."""
    for seed, images in enumerate(more):
        logits = place.logits(RIGHT[seed] + images)
        place.finish(variant, seed, logits=logits, planned=plan_of(place.study))


def judged(place: Lab, most: int | None = None) -> dict[str, PairLooks]:
    return {looks.variant: looks for looks in judge_looks(place.results(), most)}


def t(more: list[int]) -> float:
    return float(np.mean(more) / (np.std(more, ddof=1) / math.sqrt(len(more))))


def test_a_study_without_looks_has_none(lab: MakeLab) -> None:
    assert judge_looks(lab(variants=VARIANTS).results()) == []


def test_a_look_is_reached_when_all_of_its_runs_have_ended(place: Lab) -> None:
    finish(place, "base", [0] * 6)
    finish(place, "wide", [5, 6, 7, 5])
    finish(place, "alike", [1, 0])
    looks = judged(place)
    (first,) = looks["wide"].reached
    assert (first.seeds, first.pairs) == (3, 3) and looks["alike"].reached == ()
    assert first.t == pytest.approx(t([5, 6, 7]))
    assert looks["alike"].text == "before look 1 of 3" and looks["wide"].text == "look 1 of 3 as planned"


def test_runs_beyond_a_look_count_nothing_at_it(place: Lab) -> None:
    finish(place, "base", [0] * 6)
    finish(place, "wide", [20, 21, 22, 20, 21, -40])
    look = judged(place)["wide"].reached
    assert [one.t for one in look] == pytest.approx([t([20, 21, 22]), t([20, 21, 22, 20, 21]), look[2].t])
    assert judged(place, 1)["wide"].reached == look[:1]


def test_the_bounds_are_those_of_all_comparisons_that_the_study_plans(place: Lab) -> None:
    finish(place, "base", [0] * 3)
    finish(place, "wide", [20, 21, 23])
    two = look_bounds([3, 5, 6], 0.05 / 2)[0]
    decided = judged(place)["wide"]
    assert decided.decision.needed == two and (decided.decided, decided.verdict) == (1, "better")
    assert judged(place)["alike"].decided is None


def test_a_verdict_stays_whatever_later_seeds_say(place: Lab) -> None:
    finish(place, "base", [0] * 6)
    finish(place, "wide", [-40, -41, -42, 30, 30, 30])
    assert (judged(place)["wide"].decided, judged(place)["wide"].verdict) == (1, "worse")
    assert judged(place)["wide"].needed == 3


def test_a_seed_with_a_failed_run_is_no_pair_and_no_obstacle(place: Lab) -> None:
    finish(place, "base", [0] * 3)
    finish(place, "wide", [20, 21, 23])
    place.fail("wide", 1, planned=plan_of(place.study))
    (look,) = judged(place)["wide"].reached
    assert look.pairs == 2 and look.t == pytest.approx(t([20, 23]))
    place.fail("wide", 1, kind="out_of_memory")  # tried again: it has not ended
    assert judged(place)["wide"].reached == ()


def test_runs_that_were_not_planned_with_these_looks_decide_nothing_at_them(place: Lab) -> None:
    finish(place, "base", [0] * 3)
    finish(place, "wide", [20, 21, 23])
    other = place.under(looks=[2, 3, 6])
    assert judged(other)["wide"].reached == () and judged(other)["wide"].decided is None
    assert any("so they count as unplanned" in line for line in other.findings().warnings)
    assert place.findings().warnings == []


def test_runs_that_a_verdict_spares_are_not_missing(place: Lab) -> None:
    finish(place, "base", [0] * 5)
    finish(place, "wide", [20, 21, 23])
    finish(place, "alike", [0, 1, -1, 0, 1])
    findings = place.findings()
    status = {(run.variant, run.seed): run.status for run in findings.results.runs}
    assert [status["wide", seed] for seed in (3, 4, 5)] == ["not needed"] * 3
    assert status["alike", 5] == status["base", 5] == "missing"  # this one is not decided
    assert {summary.variant: summary.missing for summary in findings.summaries} == {
        "base": 1, "wide": 0, "alike": 1,
    }  # fmt: skip
    assert "2 not finished yet" in findings.verdict and not findings.met
    assert findings.verdicts[-1] == "digits: continued to look 3 of 3: 3 of 18 runs not needed"


def test_a_study_that_has_stopped_is_complete(place: Lab) -> None:
    finish(place, "base", [0] * 3)
    finish(place, "wide", [20, 21, 23])
    finish(place, "alike", [-20, -21, -23])
    findings = place.findings()
    assert findings.met and "not finished" not in findings.verdict
    assert findings.verdicts[-1] == "digits: stopped at look 1 of 3: 9 of 18 runs not needed"
    sparing = without_unneeded(place.results(), judge_looks(place.results()), ["base", "wide", "alike"])
    assert [run.status for run in sparing.runs] == [run.status for run in findings.results.runs]


def test_a_line_says_what_a_look_has_decided_and_what_goes_on(place: Lab) -> None:
    finish(place, "base", [0] * 5)
    finish(place, "wide", [20, 21, 23])
    finish(place, "alike", [0, 1, -1, 0, 1])
    looks = judge_looks(place.results(), 1)
    needed = look_bounds([3, 5, 6], 0.05 / 2)[0]
    assert look_sentence(looks, 1) == (
        f"look 1 of 3, after 3 seeds; wide is better than base (t = {t([20, 21, 23]):.2f}, "
        f"{needed:.2f} needed); "
        "continuing to 5 seeds: alike against base"
    )
    again = look_sentence(judge_looks(place.results()), 2, [("wide", "base")])
    assert again == "look 2 of 3, after 5 seeds; continuing to 6 seeds: alike against base"


def test_comparisons_of_all_pairs_go_on_while_one_is_open(lab: MakeLab) -> None:
    changes: dict[str, Any] = {"range_test": None, "augment": {}, "comparisons": "all"}
    place = lab(variants=VARIANTS, seeds=list(range(6)), looks=[3, 5, 6], **changes)
    finish(place, "base", [0] * 3)
    finish(place, "wide", [20, 21, 23])
    finish(place, "alike", [20, 22, 22])
    findings = place.findings()
    assert [(looks.pair, looks.decided) for looks in findings.looks] == [
        (("wide", "base"), 1), (("alike", "base"), 1), (("alike", "wide"), None),
    ]  # fmt: skip
    status = {(run.variant, run.seed): run.status for run in findings.results.runs}
    assert status["base", 3] == "not needed" and status["wide", 3] == status["alike", 3] == "missing"


def test_a_verdict_that_an_earlier_look_has_crossed_has_the_interval_of_that_look() -> None:
    reached = Look(3, 3, 0.01, 0.0005), Look(5, 5, 0.008, 0.004)
    looks = PairLooks("wide", "base", (3, 5, 10), reached, LookDecision(1, 1, 0, 14.857))
    assert looks.t == pytest.approx(20) and (looks.interval[0] or 0.0) > 0
