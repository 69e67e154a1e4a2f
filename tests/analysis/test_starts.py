"""Which seeds were planned together, by the runs' records: the kind of answer that a comparison gives."""

from __future__ import annotations

from typing import Any

import pytest

from harness.analysis.starts import LONGEST, Answer, answers, plan_of
from harness.store.sealed import write_sealed
from harness.study_file.seeds import seeds_text
from tests.lab import Lab, MakeLab

PAIR = ("wide", "base")
WIDE = {"wide": {"optimizer.momentum": 0.5}}
SEEDS = list(range(10))


@pytest.fixture
def place(lab: MakeLab) -> Lab:
    """A study of two variants and ten seeds; nothing has been run."""
    return lab(variants=WIDE, seeds=SEEDS)


def moment(minute: int) -> str:
    return f"2026-01-02T03:{minute:02}:00+00:00"


def start(place: Lab, at: int, planned: list[int], done: list[int] | None = None, **more: Any) -> None:
    """A start at a minute, which has run some of its planned seeds of both variants, a minute each."""
    variants = more.pop("variants", ("base", "wide"))
    record = {"seeds": seeds_text(planned), "at": moment(at), **more}
    for minute, seed in enumerate(planned if done is None else done, at):
        for variant in variants:
            dates = {"started": moment(minute), "finished": moment(minute + 1)}
            place.finish(variant, seed, planned=record, provenance=dates)


def answer(place: Lab, pair: tuple[str, str] = PAIR) -> Answer:
    return answers(place.results([]), [pair])[pair]


def test_seeds_of_one_start_are_a_fixed_number(place: Lab) -> None:
    start(place, 0, [0, 1, 2])
    assert answer(place) == Answer("fixed", 3, 3) and answer(place).text == "fixed n"


def test_seeds_that_follow_a_comparison_were_added(place: Lab) -> None:
    start(place, 0, [0, 1, 2])
    start(place, 10, SEEDS, SEEDS[3:])
    assert answer(place).kind == "added" and answer(place).text == "seeds were added after looking"


def test_a_trial_of_one_seed_cannot_be_compared_and_spoils_nothing(place: Lab) -> None:
    start(place, 0, [0])
    start(place, 10, [0, 1, 2, 3], [1, 2, 3])
    assert answer(place).kind == "fixed"


def test_seeds_that_follow_one_by_one_were_added(place: Lab) -> None:
    for seed in range(3):
        start(place, 10 * seed, [seed])
    assert answer(place).kind == "added"


def test_slices_that_began_before_the_others_had_ended_are_one_plan(place: Lab) -> None:
    start(place, 0, [0, 1, 2])
    start(place, 1, [3, 4, 5])  # one run of each variant has finished
    assert answer(place).kind == "fixed"


def test_tasks_of_a_job_array_are_one_plan_whenever_they_begin(place: Lab) -> None:
    for seed in range(4):
        start(place, 10 * seed, [seed], array="4711")
    assert answer(place).kind == "fixed"
    start(place, 50, [4], array="4712")
    assert answer(place).kind == "added"


def test_a_variant_that_is_added_with_the_same_seeds_adds_no_seeds(lab: MakeLab) -> None:
    place = lab(variants={**WIDE, "late": {"optimizer.momentum": 0.1}}, seeds=SEEDS)
    start(place, 0, [0, 1, 2])
    start(place, 10, [0, 1, 2], variants=["late"])
    start(place, 20, [0, 1, 2, 3, 4], [], variants=["late"])
    assert answer(place).kind == answer(place, ("late", "base")).kind == "fixed"


def test_seeds_of_the_baseline_alone_do_not_plan_those_of_a_variant(place: Lab) -> None:
    start(place, 0, SEEDS, variants=["base"])
    start(place, 20, [0, 1, 2], variants=["wide"])
    assert answer(place).kind == "fixed"
    start(place, 30, SEEDS, SEEDS[3:], variants=["wide"])
    assert answer(place).kind == "added"


def test_a_third_variant_that_began_earlier_does_not_plan_the_seeds_of_two_others(lab: MakeLab) -> None:
    place = lab(variants={**WIDE, "early": {"optimizer.momentum": 0.1}}, seeds=SEEDS)
    start(place, 0, SEEDS, variants=["early"])
    start(place, 20, [0, 1, 2])
    start(place, 30, SEEDS, SEEDS[3:])
    assert answer(place).kind == "added"


def test_a_start_that_was_killed_between_two_variants_goes_on_with_its_plan(place: Lab) -> None:
    start(place, 0, SEEDS, variants=["base"])
    start(place, 20, SEEDS, [0, 1, 2, 3], variants=["wide"])
    start(place, 30, SEEDS, SEEDS[4:], variants=["wide"])
    assert answer(place) == Answer("fixed", 10, 10)


def test_a_run_that_is_done_again_by_another_start_adds_no_seed(place: Lab) -> None:
    start(place, 0, [0, 1, 2])
    start(place, 10, [1])  # it was damaged
    assert answer(place).kind == "fixed"


def test_records_without_a_plan_count_as_planned_together(place: Lab) -> None:
    for seed in range(3):
        for variant in PAIR:
            place.finish(variant, seed)
    assert answer(place) == Answer("fixed")


def test_a_verdict_before_all_planned_seeds_have_ended_is_interim(place: Lab) -> None:
    start(place, 0, [0, 1, 2, 3, 4], [0, 1, 2])
    assert answer(place) == Answer("interim", 3, 5) and answer(place).text == "3 of 5 planned seeds"
    place.fail("base", 3)
    place.finish("wide", 3)
    assert answer(place) == Answer("interim", 4, 5)  # a failed run has ended
    start(place, 20, [4])
    assert answer(place).kind == "fixed"


def test_a_run_that_the_machine_made_fail_is_waited_for(place: Lab) -> None:
    start(place, 0, [0, 1, 2, 3], [0, 1, 2])
    for variant in PAIR:
        place.fail(variant, 3, {"seeds": "0-3", "at": moment(0)}, kind="out_of_memory")
    assert answer(place) == Answer("interim", 3, 4)


def test_seeds_of_one_variant_alone_are_not_waited_for(place: Lab) -> None:
    start(place, 0, SEEDS, variants=["base"])
    start(place, 20, [0, 1, 2], variants=["wide"])
    assert answer(place) == Answer("fixed", 3, 3)


@pytest.mark.parametrize(
    ("before", "now", "kind"),
    [
        ([3, 10], [3, 10], "looks"),
        ([3, 10], [5, 10], "added"),
        ([3, 10], None, "added"),
        (None, [3, 10], "added"),
    ],
)
def test_looks_are_planned_only_if_the_runs_were_started_with_them(
    lab: MakeLab, before: list[int] | None, now: list[int] | None, kind: str
) -> None:
    place = lab(variants=WIDE, seeds=SEEDS, **({} if now is None else {"looks": now}))
    start(place, 0, SEEDS, SEEDS[:3], **({} if before is None else {"looks": before}))
    assert answer(place).kind == kind and answer(place).late == ("looks" if kind == "added" else "")


def test_looks_that_are_planned_after_a_trial_of_one_seed_are_planned(lab: MakeLab) -> None:
    place = lab(variants=WIDE, seeds=SEEDS, looks=[3, 10])
    start(place, 0, [0])
    assert answers(place.results([]), [PAIR], starting=True)[PAIR].kind == "looks"
    start(place, 10, SEEDS, [1, 2], looks=[3, 10])
    assert answer(place).kind == "looks"


def test_looks_that_a_start_now_would_plan_too_late_are_told_before_it(lab: MakeLab) -> None:
    place = lab(variants=WIDE, seeds=SEEDS, looks=[3, 10])
    assert answers(place.results([]), [PAIR], starting=True)[PAIR].kind == "looks"  # nothing has been run
    start(place, 0, [0, 1])
    assert answers(place.results([]), [PAIR], starting=True)[PAIR].kind == "added"


def test_another_order_of_the_seeds_makes_other_looks(lab: MakeLab) -> None:
    place = lab(variants=WIDE, seeds=SEEDS, looks=[3, 10])
    start(place, 0, SEEDS[::-1], SEEDS, looks=[3, 10])
    assert answer(place).late == "looks"


def test_a_plan_of_many_seeds_is_short_in_the_record(lab: MakeLab) -> None:
    assert plan_of(lab(seeds=list(range(10_000))).study)["seeds"] == "0-9999"
    scattered = plan_of(lab(seeds=list(range(0, 20_000, 2))).study)["seeds"]
    assert scattered.startswith("10000 seeds, SHA-256") and len(scattered) < LONGEST
    assert plan_of(lab(seeds=list(range(20_000, 0, -2))).study)["seeds"] != scattered


@pytest.mark.parametrize(
    "planned", [{"seeds": 7, "looks": "x", "at": []}, {"looks": [True]}, {"seeds": "a-b"}]
)
def test_a_plan_that_is_not_well_formed_counts_as_unknown(place: Lab, planned: dict[str, Any]) -> None:
    for seed in range(2):
        for variant in PAIR:
            place.finish(variant, seed, planned=planned)
    assert answer(place) == Answer("fixed")
    write_sealed(place.folder.run("base", 2).record_file, place.record("base", 2, planned=planned))
    assert answer(place) == Answer("fixed")


def test_a_start_records_its_job_array(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    assert "array" not in plan_of(lab().study)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "4711")
    assert plan_of(lab().study)["array"] == "4711"
