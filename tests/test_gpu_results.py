"""The script that runs the published studies within a given time: what it refuses, and a small whole."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from harness.study_file.builtin import builtin_studies
from harness.study_file.load import load_study

SCRIPT = Path("benchmarks/gpu_results.sh")
NAMED = ("--work", "w", "--packs", "p")
SMALL = (
    "--set schedule.peak_epoch=1 --set model.width=2 --set data.batch_size=16 --set data.train_limit=64 "
    "--set data.test_limit=40 --set range_test.iterations=10 --set attribution.images=1"
)


def call(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(SCRIPT.resolve()), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)


def program(file: Path, text: str) -> Path:
    """Write a program that stands for python."""
    file.write_text(f"#!/bin/bash\n{text}\n")
    file.chmod(0o755)
    return file


def names_of(archive: Path) -> list[str]:
    with tarfile.open(archive) as opened:
        return opened.getnames()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--seconds, --work and --packs are needed"),
        (("--seconds", "100"), "--seconds, --work and --packs are needed"),
        ((*NAMED, "--seconds", "x"), "--seconds: expected a whole number, got 'x'"),
        ((*NAMED, "--seconds", "90"), "--seconds 90: must be more than --reserve, 90 seconds"),
        ((*NAMED, "--seconds", "100", "--lanes", "0"), "--lanes: expected at least 1"),
        ((*NAMED, "--seconds", "100", "--data", "gone"), "--data gone: no such folder"),
        ((*NAMED, "--seconds", "100", "--tasks", "gone"), "--tasks gone: no such file"),
        (("--second", "100"), "--second: no such option"),
        (("--seconds",), "--seconds: expected a value"),
        (("--seconds", "100", "gone.tar.gz"), "gone.tar.gz: no such archive"),
    ],
)
def test_a_wrong_call_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    done = call(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and words in done.stderr and done.stderr.count("\n") == 1


def test_a_python_without_the_packages_is_refused_before_any_work(tmp_path: Path) -> None:
    stub = program(tmp_path / "python", "exit 1")
    done = call("--seconds", 100, "--work", tmp_path / "w", "--packs", tmp_path / "p", "--python", stub)
    assert done.returncode == 2 and "has not the packages of this project" in done.stderr


def test_each_task_is_done_once_whichever_lane_is_free(tmp_path: Path) -> None:
    """A failed one is reported, in the exit status too; paths may be relative and have spaces."""
    place, tasks = tmp_path / "a place", [f"task{number}" for number in range(40)]
    place.mkdir()
    note = '[[ $1 != -c ]] || exit 0\n[[ $2 != harness.study ]] || echo "$3" >>"$LIST"\n[[ $3 != task13 ]]'
    stub = program(tmp_path / "a python", note)
    (place / "tasks").write_text("# a comment\n" + "".join(f"{task} --seeds 0\n\n" for task in tasks))
    options = ("--seconds", 100, *NAMED, "--tasks", "tasks", "--lanes", 4, "--python", stub)
    done = call(*options, cwd=place, env={**os.environ, "LIST": str(place / "list")})
    assert done.returncode == 1, done.stderr
    assert sorted((place / "list").read_text().split()) == sorted(tasks)
    assert "FAILED with status 1: task13 --seeds 0; see " in done.stdout
    assert done.stdout.count("done: ") == 39 and "finished runs: 0" in done.stdout
    assert (place / "p" / "published.tar.gz").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_runs_and_packs_what_is_finished(tmp_path: Path, number: int) -> None:
    stub = program(
        tmp_path / "python",
        '[[ $2 == harness.study ]] || exit 0\ntrap "echo $3 >>$LIST; exit 130" TERM\n'
        'echo begun >>"$LIST"\nfor at in {1..300}; do sleep 0.1; done',
    )
    run = tmp_path / "w" / "study" / "runs" / "base" / "seed-0"
    run.mkdir(parents=True)
    (run / "run.json").write_text('{\n  "status": "finished"\n}\n')
    (tmp_path / "w" / "study" / "report.json").write_text("{}")
    (tmp_path / "tasks").write_text("first\nsecond\nthird\n")
    begun = subprocess.Popen(
        ["bash", SCRIPT, "--seconds", "100", "--work", tmp_path / "w", "--packs", tmp_path / "p", "--tasks",
         tmp_path / "tasks", "--lanes", "2", "--python", stub],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "LIST": str(tmp_path / "list")},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while not (tmp_path / "list").exists() or (tmp_path / "list").read_text().count("begun") < 2:
        time.sleep(0.05)
    begun.send_signal(number)
    said, _ = begun.communicate(timeout=30)
    assert sorted((tmp_path / "list").read_text().split()) == ["begun", "begun", "first", "second"]
    assert "stopping" in said and said.count("stopped before its end") == 2 and "finished runs: 1" in said
    assert begun.returncode == 0
    assert "study/runs/base/seed-0/run.json" in names_of(tmp_path / "p" / "runs-1.tar.gz")


def test_its_tasks_are_built_in_studies_with_their_variants() -> None:
    text = SCRIPT.read_text("utf-8").partition('tasks_text="\n')[2].partition('"\n')[0]
    for task in text.splitlines():
        name, *options = task.split()
        assert name in builtin_studies()
        chosen = re.search(r"--variants (\S+)", " ".join(options))
        assert chosen is None or set(chosen[1].split(",")) <= set(load_study(name).recipes)


@pytest.mark.slow
def test_what_is_finished_in_time_is_packed_and_not_repeated(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    tasks.write_text(
        f"quickstart --seeds 0-1 --set name=short --set schedule.epochs=2 {SMALL}\n"
        f"quickstart --seeds 0-1 --set name=endless --set schedule.epochs=90000 {SMALL}\n"
    )
    limits: list[object] = ["--seconds", 60, "--reserve", 35, "--tasks", tasks]
    limits += ["--device", "cpu", "--python", sys.executable]
    done = call(*limits, "--work", tmp_path / "a", "--packs", tmp_path / "packs", "--pack-bytes", 60_000)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "done: quickstart --seeds 0-1 --set name=short" in done.stdout
    assert "stopped before its end: quickstart --seeds 0-1 --set name=endless" in done.stdout
    assert "finished runs: 2" in done.stdout
    packs = sorted((tmp_path / "packs").glob("runs-*.tar.gz"))
    assert len(packs) > 1 and all(pack.stat().st_size <= 60_000 for pack in packs)
    names = [name for pack in packs for name in names_of(pack)]
    assert "short/runs/base/seed-1/predictions.npz" in names and "short/study.toml" in names
    assert not any(name.endswith((".safetensors", "checkpoint.pt", ".lock")) for name in names)
    published = names_of(tmp_path / "packs" / "published.tar.gz")
    assert "published/short/report.md" in published and "published/results.json" in published
    assert not any(name.startswith("published/endless") for name in published)

    before = (tmp_path / "a" / "short/runs/base/seed-0/run.json").read_text()
    done = call(*limits, "--work", tmp_path / "b", "--packs", tmp_path / "more", *packs)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "b" / "short/runs/base/seed-0/run.json").read_text() == before
    report = json.loads((tmp_path / "b" / "short" / "report.json").read_text())
    assert report["variants"][0]["finished"] == 2
