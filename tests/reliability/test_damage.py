"""Every artefact truncated and bit-flipped in turn: neither a restart nor a report takes one for whole."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.results import read_results
from harness.data import load_data
from harness.data.arrays import Data
from harness.launch.job import needs_work
from harness.plan import Variant, resolve_variant
from harness.store.folders import ARTEFACTS, StudyFolder
from harness.study_file.config import Recipe, Study
from harness.study_file.load import load_study
from harness.training.range_test import stored_rates

GoOn = Callable[..., Any]
RUN_FILES = ("run.json", *ARTEFACTS)
FLIPS = int(os.environ.get("HARNESS_FLIPS", "2000"))


def damages(content: bytes, flips: int, seed: object) -> Iterator[bytes]:
    """Emptied, cut at three places, lengthened, and with single bits flipped at many places."""
    for length in (0, 1, len(content) // 2, len(content) - 1):
        yield content[:length]
    yield content + b"\n"
    rng, bits = random.Random(str(seed)), 8 * len(content)
    for bit in sorted(rng.sample(range(bits), min(flips, bits))):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def flip_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def load(recipe: Recipe) -> Data:
    data = recipe.data
    return load_data(data.source, Path(), train_limit=data.train_limit, test_limit=data.test_limit)


@pytest.fixture(scope="module")
def planned(fragile: Path) -> tuple[Study, Variant]:
    study = load_study(str(fragile))
    return study, resolve_variant(study, "base", load(study.recipes["base"]), device="cpu")


MANY = pytest.mark.parametrize("flips", [12, pytest.param(FLIPS, marks=pytest.mark.slow)])


@MANY
@pytest.mark.parametrize("name", RUN_FILES)
def test_a_damaged_file_of_a_run_is_named_and_not_used(
    finished: StudyFolder, planned: tuple[Study, Variant], name: str, flips: int
) -> None:
    study, variant = planned
    folder = finished.run("base", 0)
    path, whole = folder.path / name, (folder.path / name).read_bytes()
    for damaged in damages(whole, flips, name):
        path.write_bytes(damaged)
        run = read_results(study, finished, [0], ["base"]).of("base")[0]
        assert run.status == "failed" and run.error.startswith("damaged: ") and name in run.error
        said: list[str] = []
        assert needs_work(variant, folder, said.append) and len(said) == 1
        kept = finished.path / "superseded/base-seed-0-1"
        assert name in said[0] and str(kept) in said[0] and not folder.path.exists()
        assert (kept / name).read_bytes() == damaged
        (kept / name).write_bytes(whole)
        kept.rename(folder.path)


@MANY
@pytest.mark.parametrize("name", ["base.csv", "base.json"])
def test_a_damaged_file_of_a_range_test_is_not_used(
    finished: StudyFolder, planned: tuple[Study, Variant], name: str, flips: int
) -> None:
    study, variant = planned
    path = finished.path / "range_test" / name
    whole = path.read_bytes()
    for damaged in damages(whole, flips, name):
        path.write_bytes(damaged)
        assert stored_rates(variant, finished) is None
        sweep = read_results(study, finished, [0], ["base"]).range_tests["base"]
        assert sweep.error.startswith("damaged: ") and sweep.rows == ()
    path.write_bytes(whole)
    assert stored_rates(variant, finished) is not None


def test_a_report_counts_damaged_runs_as_failed_and_a_restart_does_them_again(
    nursery: Any, fragile: Path, finished: StudyFolder, go_on: GoOn, tmp_path: Path
) -> None:
    runs = ("runs/base/seed-0/model.safetensors", "runs/base/seed-1/predictions.npz")
    for name in (*runs, "range_test/base.csv"):
        flip_the_middle(finished.path / name)
    done = nursery.run(tmp_path, fragile, "--out", "out", "--report-only")
    assert done.status == 1 and "2 of 2 failed" in done.stdout
    assert "fragile/base/seed-0: damaged: model.safetensors" in done.stderr
    assert "fragile/base/seed-1: damaged: predictions.npz" in done.stderr
    assert "damaged: base.csv" in (finished.path / "report.html").read_text()
    said = go_on().stderr
    for name in ("seed-0/model.safetensors", "seed-1/predictions.npz", "range test"):
        assert f"{name}: damaged" in said
    assert said.count("moved to") == 3


@pytest.mark.slow
def test_a_run_copied_to_another_seed_is_not_that_seeds(finished: StudyFolder, go_on: GoOn) -> None:
    first, second = (finished.run("base", seed).path for seed in (0, 1))
    shutil.rmtree(second)
    shutil.copytree(first, second)
    assert "seed-1/run.json: not the record of this run" in go_on().stderr


@pytest.mark.parametrize(
    "damage", ["flipped", *(pytest.param(each, marks=pytest.mark.slow) for each in ("cut", "empty"))]
)
def test_a_damaged_checkpoint_is_named_and_the_run_begins_anew(
    killed_at: Callable[..., None], go_on: GoOn, tmp_path: Path, damage: str
) -> None:
    killed_at("seed-0  epoch 3 of 3")
    path = tmp_path / "out/fragile/runs/base/seed-0/checkpoint.pt"
    content = path.read_bytes()
    path.write_bytes({"flipped": content, "cut": content[:-100], "empty": b""}[damage])
    if damage == "flipped":
        flip_the_middle(path)
    words = "checkpoint.pt: damaged, its checksum does not match: the run restarts"
    assert words in go_on().stderr


def test_a_diverged_runs_history_is_only_shown_when_it_is_whole(
    nursery: Any, fragile: Path, tmp_path: Path
) -> None:
    # The rate rises to a million after the first epoch.
    rates = "{ epochs = 3, peak_epoch = 1, lr_max = 1e-3, lr_min = 1e-4, final = 1e6 }"
    hot = ("--seeds", "0", "--set", f"schedule={rates}", "--set", "loss.l1=1e6")
    done = nursery.run(tmp_path, fragile, "--out", "out", *hot)
    assert done.status == 1 and "diverged" in done.stderr
    table, history = (tmp_path / "out/fragile" / name for name in ("tables/history.csv", "runs/base/seed-0"))
    assert len(table.read_text().splitlines()) > 1
    history /= "history.csv"
    history.write_text(history.read_text().replace("1", "2"))
    nursery.run(tmp_path, fragile, "--out", "out", "--report-only", *hot)
    assert len(table.read_text().splitlines()) == 1


def test_a_damaged_cache_gives_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from harness.data.arrays import split_of
    from harness.data.cache import cached

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "images"
    source.write_text("the original")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    split = split_of(pixels, np.arange(6, dtype=np.int64) % 2, ("a", "b"))

    def read() -> Any:
        return cached("test", "train", ["here"], [source], lambda: split)

    read()
    (entry,) = (tmp_path / "cache").iterdir()
    for damaged in damages(entry.read_bytes(), 200, "cache"):
        entry.write_bytes(damaged)
        again = read()
        assert again.sha256 == split.sha256 and again.classes == split.classes
        assert np.array_equal(again.images, split.images) and np.array_equal(again.labels, split.labels)


def test_a_record_says_what_it_was_written_with(undisturbed: Any) -> None:
    record = json.loads((undisturbed.out / "fragile/runs/base/seed-0/run.json").read_text())
    assert set(record["files"]) == set(ARTEFACTS)
    origin = record["provenance"]
    assert {"git", "harness", "versions", "precision", "threads", "device"} <= set(origin)
    assert origin["data"]["sha256"] == record["identity"]["data"]
