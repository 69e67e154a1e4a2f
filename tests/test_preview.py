"""``--dry-run``: what would be done, without doing it."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest

from harness.planning.forecast import REPORT_BYTES
from tests.conftest import Command


def test_json_is_one_object_a_study_with_everything_that_scripts_need(
    command: Command, tiny_file: Path, tmp_path: Path
) -> None:
    done = command(tiny_file, "quickstart", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    tiny, quickstart = json.loads(done.stdout)
    assert tiny["name"] == "tiny" and tiny["target"] == 0.2
    (variant,) = tiny["variants"]
    assert set(variant) == {
        *("variant", "digest", "parameters", "flops_per_image", "steps_per_epoch", "epochs"),
        *("learning_rates", "seeds"),
    }
    assert variant["steps_per_epoch"] == 5 and variant["epochs"] == 3
    assert variant["learning_rates"][:2] == [0.005, 0.05]
    assert variant["seeds"] == [{"seed": 0, "status": "missing"}, {"seed": 1, "status": "missing"}]
    assert quickstart["variants"][0]["learning_rates"] == [None] * 8
    forecast = tiny["forecast"]
    assert set(forecast) == {
        *("runs", "seconds", "source", "runs_at_once", "disk_bytes", "memory_bytes"),
    }
    assert (forecast["runs"], quickstart["forecast"]["runs"], forecast["runs_at_once"]) == (2, 3, 1)
    assert 0 < forecast["seconds"] < quickstart["forecast"]["seconds"]
    assert forecast["source"] == "a few timed steps"
    assert not (tmp_path / "results").exists()


def test_the_digest_and_states_are_those_of_the_real_runs(
    command: Command, tiny_file: Path, tmp_path: Path
) -> None:
    assert command(tiny_file, "--seeds", "1", "--quiet").returncode == 0
    done = command(tiny_file, "--dry-run", "--json")
    (variant,) = json.loads(done.stdout)[0]["variants"]
    record = json.loads((tmp_path / "results/tiny/runs/base/seed-1/run.json").read_text())
    assert variant["digest"] == record["digest"] and variant["parameters"] == record["metrics"]["parameters"]
    assert [seed["status"] for seed in variant["seeds"]] == ["missing", "finished"]
    forecast = json.loads(done.stdout)[0]["forecast"]
    assert forecast["runs"] == 1 and forecast["source"] == "mean of 1 finished run"
    seconds = record["timings"]["seconds"] / statistics.fmean(record["timings"].get("runs_at_once", [1]))
    assert forecast["seconds"] == pytest.approx(seconds)
    files = [path for path in (tmp_path / "results/tiny/runs/base/seed-1").iterdir() if path.is_file()]
    run = sum(path.stat().st_size for path in files)
    assert run / 2 < forecast["disk_bytes"] - REPORT_BYTES < 2 * run
    assert command(tiny_file, "--seeds", "1", "--dry-run").stdout.endswith("  all runs have finished\n")


def test_the_transforms_are_named_with_their_library_and_what_mixes_the_batches(
    command: Command, tiny_file: Path
) -> None:
    batch = '[{ transform = "MixUp", p = 0.2 }, { transform = "CutMix" }]'
    text = tiny_file.read_text("utf-8").replace("[augment]\n", f"[augment]\nbatch = {batch}\n")
    text += '[variants.plain]\n"augment.train" = []\n"augment.batch" = []\n'
    tiny_file.write_text(text, "utf-8")
    done = command(tiny_file, "--dry-run")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "train images:" in line]
    assert line.endswith("PadIfNeeded, RandomCrop by albumentations; batches: 20% MixUp, 80% CutMix")


def test_without_the_data_the_digest_is_null_and_nothing_is_downloaded(
    command: Command, tiny_file: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = command("onecycle", "--dry-run", "--json", "--data", empty)
    assert done.returncode == 0, done.stderr
    (variant,) = json.loads(done.stdout)[0]["variants"]
    assert variant["digest"] is None and variant["epochs"] == 24
    assert variant["parameters"] == 6_573_120 and variant["steps_per_epoch"] == 98
    forecast = json.loads(done.stdout)[0]["forecast"]
    assert forecast["seconds"] > 0 and forecast["source"].endswith("on random images (no data here)")
    assert forecast["disk_bytes"] > 5 * 4 * 6_573_120
    assert variant["flops_per_image"] == 2_272_032_768 and variant["learning_rates"] == [None] * 24
    assert list(empty.iterdir()) == []


def test_data_that_is_no_use_is_refused_as_by_a_start(
    command: Command, tiny_file: Path, tmp_path: Path
) -> None:
    for place in ("train/a", "train/b", "test/a", "test/b"):
        folder = tmp_path / "data" / "mine" / place
        folder.mkdir(parents=True)
        (folder / "0.png").write_text("no image")
    arguments = [tiny_file, "--data", tmp_path / "data", "--set", "data.path=mine"]
    arguments += ["--set", "data.source=image_folder"]
    start, dry_run = command(*arguments), command(*arguments, "--dry-run")
    assert start.returncode == dry_run.returncode == 2 and dry_run.stdout == ""
    assert start.stderr == dry_run.stderr and "0.png: not an image" in start.stderr
    # no folder is named: the study's images may well be elsewhere
    home = {"XDG_CACHE_HOME": str(tmp_path / "home"), "HARNESS_DATA": ""}
    done = command(tiny_file, *arguments[3:], "--dry-run", **home)
    assert done.returncode == 0 and "data not found: set --data DIR" in done.stdout


def test_the_text_names_the_peak_of_the_learning_rate_where_it_lies_within_an_epoch(
    command: Command, tiny_file: Path
) -> None:
    text = tiny_file.read_text()
    assert "peak_epoch = 1," in text
    tiny_file.write_text(text.replace("peak_epoch = 1,", "peak_epoch = 1.4,"))
    assert "learning rate 0.005 to 0.05\n" in command(tiny_file, "--dry-run").stdout


def test_the_text_names_cost_and_state(command: Command, tiny_file: Path) -> None:
    done = command(tiny_file, "--dry-run")
    assert "FLOP a run" in done.stdout and "missing: seeds 0, 1" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["prep", "2x32x32", "58", "0.000"] in lines and ["part", "output", "parameters", "MB"] in lines
    *_, runs, source, needs = done.stdout.splitlines()
    assert re.fullmatch("  2 runs to do: about .+ (s|min) on this machine, one run at a time", runs)
    assert source == "    (a few timed steps)"
    assert re.fullmatch(r"    \d+ MB on disk in results/tiny, peak memory about \d+ MB", needs)


def test_a_large_network_is_shown_by_its_parts_on_one_screen(command: Command) -> None:
    lines = command("quickstart", "--dry-run").stdout.splitlines()
    assert len(lines) <= 23 and lines[-3].startswith("  3 runs to do: about ")


def test_a_study_that_could_not_run_is_refused(command: Command, tiny_file: Path) -> None:
    done = command(tiny_file, "--dry-run", "--set", "optimizer.momentun=0.9")
    assert done.returncode == 2 and "SGD has no such argument" in done.stderr and done.stderr.count("\n") == 1


def test_more_images_than_there_are_is_refused(command: Command, tiny_file: Path) -> None:
    done = command(tiny_file, "--dry-run", "--set", "data.holdout=50")  # of which test_limit takes 60
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "error: data.test_limit = 60: expected 1 to 50, the number of images in the split\n"


@pytest.mark.slow
def test_runs_of_another_configuration_are_named(command: Command, tiny_file: Path) -> None:
    two = ("--set", "schedule.epochs=2", "--out", "results")
    assert command(tiny_file, "--seeds", "0", *two).returncode == 0
    done = command(tiny_file, "--dry-run")
    assert done.returncode == 0
    assert "a run would stop: " in done.stdout and "schedule.epochs: 3 planned, 2 on disk" in done.stdout
    assert "refuses" not in command(tiny_file, "--dry-run", *two).stdout
