"""``range_test.per = "seed"``: each run finds its own rates, whatever executes it, killed or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.errors import RunError
from harness.launch import task
from harness.launch.job import Job
from harness.launch.serial import serial
from harness.launch.view import View
from harness.plan import Plan
from harness.store.folders import RunFolder
from harness.study_file.config import Study
from tests.conftest import Command
from tests.launch.conftest import load, planned, same_tables

RANGE_TEST = {"start_lr": 1e-3, "end_lr": 1.0, "iterations": 12, "per": "seed", "repeats": 2}
CHANGES = (("schedule.lr_max", "find"), ("schedule.lr_min", "find"), ("range_test", RANGE_TEST))
TOML = """
[range_test]
start_lr = 1e-3
end_lr = 1.0
iterations = 12
per = "seed"
repeats = 2
"""
Begin = Callable[..., tuple[list[str], Plan]]


@pytest.fixture
def begin(tiny: Callable[..., Study], tmp_path: Path) -> Begin:
    """Execute the study with two seeds; what it said, and its plan."""

    def begin(*changes: tuple[str, Any]) -> tuple[list[str], Plan]:
        said: list[str] = []
        plan = planned(tiny(*CHANGES, ("seeds", [0, 4]), *changes), tmp_path)
        serial(Job(plan, load, 1, View(said.append)), 1)
        return said, plan

    return begin


def contents(run: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.path.iterdir()}


def test_every_run_is_trained_with_the_rate_of_its_own_range_test(begin: Begin) -> None:
    said, plan = begin()
    found = {}
    for _, run in plan.runs():
        record, own = run.verify(), json.loads((run.path / "range_test.json").read_text())
        assert own["seed"] == run.seed and own["lr_max"] == record.metrics["lr_max"]
        assert {"range_test.csv", "range_test.json"} <= set(record.files)
        found[run.seed] = own["lr_max"]
    assert found[0] != found[4]
    assert not (plan.folder.path / "range_test").exists()
    assert sum("range test: sweep" in line for line in said) == 4
    again, _ = begin()
    assert not any("range test" in line or "epoch" in line for line in again)


def test_a_run_killed_after_its_range_test_goes_on_with_it(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(task, "execute", lambda *given, **named: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            begin()
    said, plan = begin()
    assert sum("tiny/base/seed-0  range test: sweep" in line for line in said) == 0
    assert all(run.status() == "finished" for _, run in plan.runs())


def test_a_damaged_range_test_of_a_partial_run_is_kept_and_done_again(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(task, "execute", lambda *given, **named: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            begin()
    table = tmp_path / "tiny/runs/base/seed-0/range_test.csv"
    whole = table.read_bytes()
    table.write_bytes(whole[:-9])
    said, _ = begin()
    assert any("base-seed-0-range-test-1.csv, and repeated" in line for line in said), said
    assert (tmp_path / "tiny/superseded/base-seed-0-range-test-1.csv").read_bytes() == whole[:-9]
    assert table.read_bytes() == whole


def test_a_damaged_range_test_of_a_finished_run_is_noticed_like_any_of_its_files(begin: Begin) -> None:
    _, plan = begin()
    run = plan.folder.run("base", 4)
    before = contents(run)
    file = run.path / "range_test.csv"
    file.write_bytes(before["range_test.csv"].replace(b"0", b"1", 1))
    with pytest.raises(RunError, match="range_test.csv: damaged"):
        run.verify()
    said, _ = begin()
    assert any("range_test.csv: damaged" in line and "started again" in line for line in said), said
    assert {name: contents(run)[name] for name in before if name != "run.json" and "history" not in name} == {
        name: content for name, content in before.items() if name != "run.json" and "history" not in name
    }


def test_a_range_test_that_fails_fails_its_run_alone(begin: Begin) -> None:
    said, plan = begin(("range_test.start_lr", 1e5), ("range_test.end_lr", 1e6))
    for _, run in plan.runs():
        record = run.record()
        assert record is not None and record.error is not None and record.error["kind"] == "range_test"
    assert sum("lower range_test.start_lr" in line for line in said) == 2


@pytest.mark.parametrize("launcher", ["process", pytest.param("ray", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_the_tables_are_serials(tiny_file: Path, tmp_path: Path, command: Command, launcher: str) -> None:
    find = tiny_file.read_text("utf-8").replace("0.005", '"find"').replace("0.05", '"find"')
    tiny_file.write_text(find + TOML, "utf-8")
    one = command(tiny_file, "--seeds", "0-1", "--out", "serial", OMP_NUM_THREADS="1")
    two = command(
        tiny_file,
        "--seeds",
        "0-1",
        "--out",
        "two",
        "--launcher",
        launcher,
        "--workers",
        "2",
        OMP_NUM_THREADS="1",
    )
    assert one.returncode == two.returncode, two.stderr
    same_tables(tmp_path / "two/tiny", tmp_path / "serial/tiny", 2)
    rates = pd.read_csv(tmp_path / "two/tiny/tables/learning_rates.csv")
    assert set(rates.seed) == {0, 1}
    (row,) = pd.read_csv(tmp_path / "two/tiny/tables/summary.csv").to_dict("records")
    runs = pd.read_csv(tmp_path / "two/tiny/tables/runs.csv")
    assert row["lr_max_per"] == "seed"
    assert (row["lr_max_low"], row["lr_max_high"]) == (runs.lr_max.min(), runs.lr_max.max())
    page = (tmp_path / "two/tiny/report.md").read_text("utf-8")
    assert "Each seed has its own LRMAX, so the ± includes the range test." in page
    shown = command(tiny_file, "--seeds", "0-1", "--out", "new", "--dry-run")
    assert "learning rate: from a range test, 2 sweeps of 12 steps for each run" in shown.stdout
