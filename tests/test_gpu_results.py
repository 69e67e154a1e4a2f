"""The script that runs the published studies within a given time: what it refuses, and a small whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from harness.study_file import builtin_studies, load_study

SCRIPT = Path("benchmarks/gpu_results.sh")
SMALL = (
    "--set schedule.peak_epoch=1 --set model.width=2 --set data.train_limit=64 --set data.test_limit=40 "
    "--set range_test.iterations=10 --set attribution.images=1"
)


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def names_of(archive: Path) -> list[str]:
    with tarfile.open(archive) as opened:
        return opened.getnames()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seconds", "x"), "--seconds: expected a whole number, got 'x'"),
        ((), "--seconds: expected a whole number, got ''"),
        (("--seconds", "90"), "--reserve 90 of them are for reports and archives"),
        (("--seconds", "100"), "--work and --packs"),
        (("--seconds", "100", "--lanes", "0"), "--lanes: expected at least 1"),
        (("--second", "100"), "--second: no such option"),
        (("--seconds",), "--seconds: expected a value"),
        (("--seconds", "100", "gone.tar.gz"), "gone.tar.gz: no such archive"),
        (
            ("--seconds", "100", "--work", "w", "--packs", "p", "--data", "gone"),
            "--data gone: no such folder",
        ),
    ],
)
def test_a_wrong_call_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    done = call(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and words in done.stderr and done.stderr.count("\n") == 1


def test_its_tasks_are_built_in_studies_with_their_variants() -> None:
    text = SCRIPT.read_text("utf-8").partition('tasks_text="\n')[2].partition('"\n')[0]
    for task in text.splitlines():
        name, *options = task.split()
        assert name in builtin_studies()
        chosen = re.search(r"--variants (\S+)", " ".join(options))
        assert chosen is None or set(chosen[1].split(",")) <= set(load_study(name).recipes)
    assert text.splitlines()[0].startswith("s11_l1 ")


@pytest.mark.slow
def test_what_is_finished_in_time_is_packed_and_not_repeated(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    tasks.write_text(
        f"quickstart --seeds 0-1 --set name=short --set schedule.epochs=2 {SMALL}\n"
        f"quickstart --seeds 0-1 --set name=endless --set schedule.epochs=90000 {SMALL}\n"
    )
    limits = (
        "--seconds",
        60,
        "--reserve",
        35,
        "--tasks",
        tasks,
        "--device",
        "cpu",
        "--python",
        sys.executable,
    )
    done = call(*limits, "--work", tmp_path / "a", "--packs", tmp_path / "packs", "--pack-bytes", 60_000)
    assert done.returncode == 0, done.stderr
    assert "done: quickstart --seeds 0-1 --set name=short" in done.stdout
    assert "stopped, the time is up: quickstart --seeds 0-1 --set name=endless" in done.stdout
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
