"""How many runs at once, with how many threads: by the time of a step, the free cores and the memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness import device
from harness.compute import Compute
from harness.data import load_data
from harness.errors import StudyError
from harness.launch import auto, parse_workers
from harness.launch.auto import Team, choose_team
from harness.plan import Plan, make_plan
from harness.store.folders import StudyFolder
from harness.store.sealed import write_sealed
from harness.study_file.config import Study

GIGABYTE = 10**9


@pytest.fixture
def plan(tiny: Callable[..., Study], tmp_path: Path) -> Callable[..., Plan]:
    """A plan of so many runs, each of 3 epochs of 5 steps, or as changed."""
    data = load_data("digits", tmp_path, train_limit=160, test_limit=60)

    def make(runs: int, *changes: tuple[str, Any], on: str = "cpu") -> Plan:
        study = tiny(("precision", "float32"), ("seeds", list(range(runs))), *changes)
        made = make_plan(study, StudyFolder(tmp_path / "out", "tiny"), lambda recipe: data, device="cpu")
        compute = Compute("float32", "channels_last")
        return replace(
            made, variants=tuple(replace(each, device=on, compute=compute) for each in made.variants)
        )

    return make


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[int]]]:
    """Say what a step takes by threads (seconds), how many cores there are and are free, and the memory."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    asked: list[list[int]] = []

    def be(
        times: dict[int, float], cores: int = 2, free: float = 0.0, memory: float = 100
    ) -> list[list[int]]:
        class Steps:
            def __init__(self, variant: Any) -> None:
                pass

            def seconds(self, counts: list[int]) -> dict[int, float]:
                asked.append(counts)
                return {count: times[count] for count in counts}

        monkeypatch.setattr(auto, "_Steps", Steps)
        for place in (auto, device):
            monkeypatch.setattr(place, "usable_cores", lambda: cores)
        monkeypatch.setattr(auto, "_free_cores", lambda: free or float(cores))
        psutil = SimpleNamespace(
            virtual_memory=lambda: SimpleNamespace(available=memory * GIGABYTE),
        )
        monkeypatch.setattr(auto, "psutil", psutil)
        return asked

    return be


LONG = ("schedule.epochs", 1000), ("schedule.peak_epoch", 5)
SIXTEEN = {16: 0.03, 8: 0.03, 4: 0.03, 2: 0.04, 1: 0.06}


@pytest.mark.parametrize(
    ("runs", "times", "options", "expected"),
    [
        (3, {2: 0.031, 1: 0.057}, {}, (1, 2)),  # two rounds of two would take longer than three of one
        (20, {2: 0.031, 1: 0.057}, {}, (1, 2)),  # a tenth faster at best: not worth it
        (20, {2: 0.045, 1: 0.057}, {}, (2, 1)),
        (1, {2: 0.045, 1: 0.057}, {}, (1, 2)),
        (3, {2: 0.5, 1: 0.057}, {"free": 1.0}, (1, 1)),  # beside a busy program
        (20, {2: 0.5, 1: 0.057}, {"free": 1.0}, (1, 1)),  # a second run would only take from the first
        (16, SIXTEEN, {"cores": 16}, (16, 1)),
        (4, SIXTEEN, {"cores": 16}, (4, 4)),
        (16, SIXTEEN, {"cores": 16, "free": 4.0}, (16, 1)),
        (16, SIXTEEN, {"cores": 16, "memory": 5}, (4, 4)),
        (16, SIXTEEN, {"cores": 16, "memory": 1}, (1, 16)),
        (9, {1: 0.06}, {"cores": 1}, (1, 1)),
    ],
)
def test_the_fastest_team_is_chosen(
    plan: Callable[..., Plan],
    machine: Any,
    runs: int,
    times: dict[int, float],
    options: dict[str, Any],
    expected: tuple[int, int],
) -> None:
    machine(times, **options)
    team = choose_team(plan(runs, *LONG))
    assert (team.workers, team.threads) == expected
    assert team.launcher == ("serial" if expected[0] == 1 else "process")
    usual = expected == (1, options.get("cores", 2))
    assert (team.reason == "") == usual, "what is unusual is explained"


def test_short_work_begins_at_once_without_timing_more(plan: Callable[..., Plan], machine: Any) -> None:
    asked = machine({2: 0.01, 1: 0.001})
    assert choose_team(plan(3)) == Team(1, 2)
    assert asked == [[2]]


def test_only_what_is_left_to_do_counts(plan: Callable[..., Plan], machine: Any) -> None:
    machine({2: 0.045, 1: 0.057})
    made = plan(4, *LONG)
    for variant, folder in made.runs()[:3]:
        content = {
            "variant": variant.name, "seed": folder.seed, "status": "finished", "error": None, "digest": "",
            "identity": {}, "metrics": {},
        }  # fmt: skip
        write_sealed(folder.record_file, content)
    assert choose_team(made) == Team(1, 2), "one run is left"


def test_omp_num_threads_is_kept_and_leaves_the_rest_to_more_runs(
    plan: Callable[..., Plan], machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = machine(SIXTEEN, cores=16)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    team = choose_team(plan(16, *LONG))
    assert (team.workers, team.threads) == (4, 4) and asked[-1] == [4]


def test_a_study_goes_on_with_the_threads_it_was_begun_with(plan: Callable[..., Plan], machine: Any) -> None:
    machine(SIXTEEN, cores=16)
    made = plan(2, *LONG)
    content = {
        "variant": "base", "seed": 7, "status": "running", "error": None, "digest": "", "identity": {},
        "metrics": {}, "provenance": {"threads": 2},
    }  # fmt: skip
    write_sealed(made.folder.run("base", 7).record_file, content)
    team = choose_team(made)
    assert (team.workers, team.threads) == (2, 2)
    assert choose_team(made, workers=1) == Team(1, 2)
    assert choose_team(made, workers=8) == Team(8, 2), "who asks for eight at once shares the cores"


@pytest.mark.parametrize("setting", ["0", "", "abc", " ", "-1"])
def test_odd_omp_num_threads_are_as_none(
    plan: Callable[..., Plan], machine: Any, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    machine(SIXTEEN, cores=16)
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert choose_team(plan(16, *LONG)).workers == 16


def test_more_threads_than_cores_run_one_at_a_time(
    plan: Callable[..., Plan], machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine({4: 0.1})
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert choose_team(plan(9, *LONG)) == Team(1, 4)


def test_a_study_killed_after_its_range_test_keeps_the_threads_of_that(
    plan: Callable[..., Plan], machine: Any
) -> None:
    machine({2: 0.031, 1: 0.057})
    made = plan(3, *LONG)
    write_sealed(made.folder.range_test_json("base"), {"threads": 1})
    assert choose_team(made).threads == 1


def test_runs_that_diverged_are_not_left_to_do(plan: Callable[..., Plan], machine: Any) -> None:
    asked = machine(SIXTEEN, cores=16)
    made = plan(1, *LONG)
    variant, folder = made.runs()[0]
    content = {
        "variant": variant.name, "seed": folder.seed, "status": "failed", "error": {"kind": "diverged"},
        "digest": "", "identity": {}, "metrics": {},
    }  # fmt: skip
    write_sealed(folder.record_file, content)
    assert choose_team(made) == Team(1, 16) and asked == []


def test_free_cores_are_those_of_this_process_that_others_leave() -> None:
    assert 1 <= auto._free_cores() <= auto.usable_cores()


def test_whoever_says_how_many_is_obeyed_without_timing(plan: Callable[..., Plan], machine: Any) -> None:
    asked = machine(SIXTEEN, cores=16)
    assert choose_team(plan(3, *LONG), workers=3) == Team(3, 5) and asked == []


def test_a_network_that_cannot_take_the_timed_step_runs_alone(
    plan: Callable[..., Plan], machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(SIXTEEN, cores=16)

    def broken(variant: Any) -> None:
        raise RuntimeError("one image too few")

    monkeypatch.setattr(auto, "_Steps", broken)
    assert choose_team(plan(3, *LONG)) == Team(1, 16)


@pytest.mark.parametrize(
    ("runs", "on", "gpus", "gigabytes", "expected"),
    [
        (1, "cuda", 1, 80, 1), (3, "cuda", 1, 80, 1), (4, "cuda", 1, 80, 2), (50, "cuda", 1, 80, 2),
        (50, "cuda", 1, 3, 1), (50, "cuda", 4, 80, 8), (2, "cuda", 4, 80, 2), (50, "cuda:1", 4, 80, 2),
        (50, "mps", 0, 0, 1),
    ],
)  # fmt: skip
def test_runs_share_a_gpu_as_far_as_its_memory_goes(
    plan: Callable[..., Plan],
    machine: Any,
    monkeypatch: pytest.MonkeyPatch,
    runs: int,
    on: str,
    gpus: int,
    gigabytes: float,
    expected: int,
) -> None:
    machine(SIXTEEN, cores=16)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda at: (gigabytes * GIGABYTE, 80 * GIGABYTE))
    assert choose_team(plan(runs, on=on)).workers == expected


def test_timing_for_real_leaves_the_number_of_threads(plan: Callable[..., Plan]) -> None:
    before = torch.get_num_threads()
    times = auto._Steps(plan(1).variants[0]).seconds([2, 1])
    assert list(times) == [2, 1] and all(seconds > 0 for seconds in times.values())
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("text", "workers"), [("4", 4), (4, 4), ("auto", None), (None, None)])
def test_workers_are_a_number_or_auto(text: Any, workers: int | None) -> None:
    assert parse_workers(text) == workers


@pytest.mark.parametrize("text", ["0", "-1", 0, "two", "1.5", "", "4,4", "٣", "9" * 30, "automatic"])
def test_other_numbers_of_workers_are_refused_in_a_line(text: Any) -> None:
    with pytest.raises(StudyError, match=r"^--workers .*: expected ") as caught:
        parse_workers(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_runs_at_once_by_default_leave_the_tables_of_one_after_another(
    command: Any, tiny_file: Path, tmp_path: Path
) -> None:
    for out, options in (
        ("serial", ["--launcher", "serial"]),
        ("auto", ["--launcher", "auto", "--workers", "2"]),
    ):
        done = command(tiny_file, "--out", out, *options, OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
    for name in ("per_class", "misclassified", "learning_rates"):
        one, other = (tmp_path / out / "tiny/tables" / f"{name}.csv" for out in ("serial", "auto"))
        assert one.read_bytes() == other.read_bytes()
    record = json.loads((tmp_path / "auto/tiny/runs/base/seed-1/run.json").read_text())
    assert record["status"] == "finished" and record["provenance"]["threads"] == 1
