"""W&B's offline files, read back record by record."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.plan import make_plan
from harness.store.folders import StudyFolder
from harness.study_file.config import Study
from harness.trackers import get_tracker
from tests.conftest import Command
from tests.training.tiny_runs import Killed, assert_same_run, data_of, killed_at, run

wandb = pytest.importorskip("wandb")
LOGGED_OUT = {"WANDB_MODE": "online", "WANDB_API_KEY": "", "NETRC": "/dev/null/none"}


@dataclass
class Shown:
    """What one of W&B's files says."""

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.history if name in row]


def records(path: Path) -> Iterator[Any]:
    """Read the records of a file in LevelDB's log format: blocks of 32 KiB, records split among them."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def values(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def read(path: Path) -> Shown:
    shown = Shown()
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            shown.run, shown.config = record.run, values(record.run.config.update)
        elif kind == "history":
            shown.history.append({**values(record.history.item), "step": record.history.step.num})
        elif kind == "summary":
            shown.summary |= values(record.summary.update)
        elif kind == "exit":
            shown.exit_code = record.exit.exit_code
    return shown


def offline_files(study: Path) -> list[Shown]:
    """Return what is in a study's folder, in order of time."""
    files = sorted((study / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    return [read(path) for path in files]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """W&B reads its variables once a process; it starts anew before and after the test."""
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield
    wandb.teardown()


@pytest.mark.slow
def test_a_resumed_run_keeps_its_id_and_has_all_epochs_and_training_is_unchanged(
    tiny: Callable[..., Study], tmp_path: Path, offline: None
) -> None:
    study = tiny(("data.batch_size", 8))
    _, whole, _ = run(study, tmp_path / "whole")
    folder = StudyFolder(tmp_path, "tiny")
    plan = make_plan(study, folder, lambda recipe: data_of(study), device="cpu")
    said: list[str] = []
    for listener in (killed_at("epoch 2 of 3"), said.append):
        tracker = get_tracker("wandb")
        tracker.begin(plan, said.append)
        try:
            _, again, _ = run(study, tmp_path, say=listener, tracker=tracker)
        except Killed:
            wandb.teardown()
    assert_same_run(again, whole)
    assert not any("warning" in line for line in said), said
    first, last = offline_files(folder.path)
    assert first.run.run_id == last.run.run_id and len(first.history) < len(last.history)
    history = pd.read_csv(again.path / "history.csv")
    for name in ("epoch", "epoch/train_loss", "epoch/eval_accuracy", "epoch/images_per_second"):
        assert last.column(name) == pytest.approx(list(history[name.removeprefix("epoch/")]))
    steps = [row["step"] for row in last.history]
    assert steps == sorted(set(steps)) and steps[-1] == 60
    assert last.summary["accuracy"] == pytest.approx(history.eval_accuracy.iloc[-1])
    assert last.summary["status"] == "finished" and last.exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["serial", "process"])
def test_a_variant_is_a_group_with_a_run_a_seed_and_one_of_mean_and_std(
    tiny_file: Path, command: Command, tmp_path: Path, launcher: str
) -> None:
    tiny_file.write_text(tiny_file.read_text() + "\n[variants.low]\n'schedule.lr_max' = 0.01\n")
    arguments = (tiny_file, "--out", "out", "--tracker", "wandb", "--launcher", launcher)
    for seeds in ("0", "0-1"):  # continued: only the new seeds are shown
        done = command(*arguments, "--seeds", seeds, WANDB_MODE="offline")
        assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
        assert "wandb:" not in done.stderr + done.stdout, done.stderr
    study = tmp_path / "out" / "tiny"
    shown = {one.run.display_name: one for one in offline_files(study)}
    assert len({one.run.run_id for one in shown.values()}) == 6 == len(shown)
    history = pd.read_csv(study / "tables" / "history.csv")
    summary = pd.read_csv(study / "tables" / "summary.csv").set_index("variant")
    for variant, peak in (("base", 0.05), ("low", 0.01)):
        of_all = shown[f"{variant}/summary"]
        for seed in (0, 1):
            one = shown[f"{variant}/seed-{seed}"]
            assert (one.run.project, one.run.run_group, one.run.job_type) == (
                "tiny",
                f"tiny/{variant}",
                "train",
            )
            assert one.config["schedule"]["lr_max"] == peak and one.config["seed"] == seed
            ours = history[(history.variant == variant) & (history.seed == seed)]
            for name in ("train_loss", "eval_loss", "eval_accuracy"):
                assert one.column(f"epoch/{name}") == pytest.approx(list(ours[name]))
        assert (of_all.run.run_group, of_all.run.job_type) == (f"tiny/{variant}", "summary")
        assert not of_all.history and of_all.summary["finished"] == 2
        for name in ("accuracy_mean", "accuracy_std", "metric_mean", "metric_std"):
            assert of_all.summary[name] == pytest.approx(summary.loc[variant, name])


def test_without_a_login_it_is_one_line_before_any_work(
    tiny_file: Path, command: Command, tmp_path: Path
) -> None:
    home = {"HOME": str(tmp_path), "WANDB_CONFIG_DIR": str(tmp_path)}
    done = command(tiny_file, "--out", "out", "--tracker", "wandb", **LOGGED_OUT, **home)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "--tracker wandb: not logged in; run `wandb login`, or set WANDB_MODE=offline" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_said_once_and_the_study_continues(
    tiny_file: Path, command: Command
) -> None:
    server = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}
    done = command(tiny_file, "--out", "out", "--tracker", "wandb", **server)
    assert done.returncode == 0 and done.stderr.count("continues without it") == 1, done.stderr
