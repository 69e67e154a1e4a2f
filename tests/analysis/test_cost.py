"""When runs were made and what they cost: sums over all runs, from what each recorded."""

from __future__ import annotations

from typing import Any

import pytest

from harness.analysis.cost import cost, times
from harness.analysis.networks import training_flops
from harness.models import build_model
from harness.models.summary import flops_per_image
from tests.lab import EPOCHS, MODEL, MakeLab


def test_times_reach_from_the_first_start_to_the_last_end(lab: MakeLab) -> None:
    place = lab()
    place.finish("base", 0)
    later = {"started": "2026-01-02T04:00:00+00:00", "finished": "2026-01-02T05:34:05+00:00"}
    place.finish("base", 1, provenance=later)
    assert times(place.results()) == [
        ("first run started", "2026-01-02 03:04:05 UTC"),
        ("last run finished", "2026-01-02 05:34:05 UTC"),
        ("wall-clock time, first start to last end", "2.5 h"),
    ]


def test_cost_is_summed_over_finished_and_failed_runs(lab: MakeLab) -> None:
    place = lab()
    place.finish("base", 0, provenance={"threads": 3})
    place.finish("base", 1, provenance={"device": "cuda"})
    place.fail("base", 2)
    found = dict(cost(place.results()))
    assert (
        found["total time of training and evaluation, 2 finished runs"] == "16 s"
    )  # the failed one recorded none
    assert found["CPU time (hours x threads)"] == f"{8 * 3 / 3600:.3g} CPU-hours"
    assert found["accelerator time"] == f"{8 / 3600:.3g} GPU-hours"


def test_arithmetic_is_that_of_every_image_and_epoch(lab: MakeLab) -> None:
    place = lab()
    place.finish("base", 0)
    results = place.results()
    each = flops_per_image(build_model("custom_resnet", MODEL, 10), (3, 32, 32))
    assert training_flops(results.runs[0]) == each * 1437 * EPOCHS
    assert dict(cost(results))["training compute (forward and backward)"] == (
        f"{each * 1437 * EPOCHS / 1e12:.3g} TFLOP"
    )


@pytest.mark.parametrize("change", [{"recipe": {"model": {"name": "someone_elses"}}}, {"image_shape": None}])
def test_an_unknown_network_leaves_the_arithmetic_out(lab: MakeLab, change: dict[str, Any]) -> None:
    place = lab()
    place.finish("base", 0, **change)
    assert not any("compute" in name for name, _ in cost(place.results()))


def test_before_the_first_run_there_is_nothing_to_say(lab: MakeLab) -> None:
    results = lab().results()
    assert (times(results), cost(results)) == ([], [])
