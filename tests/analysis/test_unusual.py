"""What a reader has to know before the numbers."""

from __future__ import annotations

from harness.analysis.unusual import unusual
from tests.lab import Lab, MakeLab

LIMITED = {"source": "digits", "batch_size": 160, "train_limit": 1000}


def planned(place: Lab, seeds: list[int], text: str, began: str, ended: str) -> None:
    for seed in seeds:
        place.finish("base", seed, planned={"seeds": text, "at": began}, provenance={"finished": ended})


def test_nothing_is_said_of_a_usual_study(lab: MakeLab) -> None:
    place = lab()
    planned(place, [0, 1, 2], "0-2", "2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+00:00")
    assert unusual(place.results()) == []


def test_seeds_that_were_added_after_results_are_named(lab: MakeLab) -> None:
    place = lab()
    planned(place, [0, 1], "0-1", "2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+00:00")
    planned(place, [2, 3], "2-3", "2026-01-02T00:00:00+00:00", "2026-01-02T01:00:00+00:00")
    assert unusual(place.results()) == ["Seeds 2-3 were added after results of earlier seeds were known."]


def test_seeds_that_one_start_planned_and_another_ran_are_not_added(lab: MakeLab) -> None:
    place = lab()
    planned(place, [0, 1], "0-3", "2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+00:00")
    planned(place, [2, 3], "2-3", "2026-01-02T00:00:00+00:00", "2026-01-02T01:00:00+00:00")
    assert unusual(place.results()) == []


def test_limits_hold_outs_and_trials_are_named(lab: MakeLab) -> None:
    trial = {"of": "digits", "changes": [{"key": "schedule.epochs", "value": 4, "before": 24}]}
    place = lab(data=LIMITED, variants={"held": {"data.holdout": 100}}, trial=trial)
    place.finish("base", 0)
    assert unusual(place.results()) == [
        "This is a trial of digits, not the study itself. Changes to the study file: "
        "schedule.epochs = 4 (study file: 24).",
        "Trained on 1,000 images only (data.train_limit); results on all images differ.",
        "held: evaluated on 100 images held out of the train split; the test split was not used.",
    ]
