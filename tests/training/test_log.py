"""The log of a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ignite.engine import Engine

from harness.plan import resolve_variant
from harness.store.run_files import OLD_HISTORY
from harness.study_file.config import Study
from harness.training.log import Log
from tests.training.tiny_runs import data_of

ORIGIN = {"threads": 1}


@pytest.fixture
def log(tiny: Callable[..., Study]) -> Log:
    """A log whose process is the second one, after one epoch of 5 steps in each."""
    variant = resolve_variant(tiny(), "base", data_of(tiny()), device="cpu")
    logs = [Log(variant, seed=3), Log(variant, seed=3)]
    logs[0].origin, logs[1].origin = {"threads": 2}, ORIGIN
    for epoch, each in enumerate(logs, 1):
        if epoch == 2:
            each.load_state_dict(logs[0].state_dict())
        each.rates += [0.1 * epoch] * 5
        each.count_runs = lambda epoch=epoch: epoch  # type: ignore[misc]
        trainer = Engine(lambda engine, batch: None)
        trainer.state.epoch, trainer.state.metrics = epoch, {"loss": 2.0 / epoch, "accuracy": 0.25}
        each.start_clock()
        each.stop_clock(trainer)
        trainer.state.metrics |= {"train_seconds": 4.0 * epoch, "eval_seconds": 1.0}
        trainer.state.metrics |= {"eval_loss": 1.5, "eval_accuracy": 0.5}
        each.end_epoch(trainer)
    return logs[1]


def test_its_tables_have_the_epochs_and_steps_of_all_processes(log: Log) -> None:
    assert log.history().splitlines()[1:] == [
        "base,3,1,0.1,2.0,0.25,1.5,0.5,4.0,1.0,40.0,,,1.5,0.5",  # no raw_...; eval_... again, as test_...
        "base,3,2,0.2,1.0,0.25,1.5,0.5,8.0,1.0,20.0,,,1.5,0.5",
    ]
    steps = log.learning_rates().splitlines()
    assert len(steps) == 11 and (steps[5], steps[6]) == ("base,5,1,0.1", "base,6,2,0.2")


def test_it_reads_a_checkpoint_of_version_2(log: Log) -> None:
    state = log.state_dict()
    for row in state["rows"]:
        for new, old in OLD_HISTORY.items():
            row[old] = row.pop(new)
    history, again = log.history(), Log(log.variant, log.seed)
    again.load_state_dict(state)
    assert again.history() == history


def test_its_timings_are_those_of_all_processes(log: Log) -> None:
    assert log.timings() == {
        "seconds": 14.0,
        "train_seconds": 12.0,
        "eval_seconds": 2.0,
        "runs_at_once": [1, 2],
        "images_per_second": 30.0,
    }


def test_it_names_the_processes_before_where_they_differ(log: Log) -> None:
    assert log.earlier_origins == [{"threads": 2}]
    log.load_state_dict({**log.state_dict(), "origins": [ORIGIN]})
    assert log.earlier_origins == []
