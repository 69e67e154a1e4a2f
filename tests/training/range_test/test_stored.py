"""A variant's range test: stored once, reused, done again only when it has to be."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.data import load_data
from harness.data.arrays import Data
from harness.errors import RunError
from harness.plan import Variant, resolve_variant
from harness.schedule import Rates
from harness.store.atomic import atomic_write
from harness.store.folders import StudyFolder
from harness.store.published import read_records
from harness.store.run_files import RANGE_TEST
from harness.store.sealed import digest, read_sealed, write_sealed
from harness.study_file.config import Study
from harness.study_file.load import load_study
from harness.training.progress import silent
from harness.training.range_test import ensure_range_test, stored, stored_rates
from harness.training.range_test.sweep import Sweep, sweep_variant

Tiny = Callable[..., Study]
FIND = (
    ("schedule.lr_max", "find"),
    ("schedule.lr_min", "find"),
    ("range_test", {"start_lr": 1e-3, "end_lr": 1.0, "iterations": 20, "lr_min_divisor": 8}),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return load_data("digits", tmp_path_factory.mktemp("data"), train_limit=160, test_limit=60)


def never() -> Data:
    raise AssertionError("the range test was run again")


def find(study: Study, data: Data, out: Path) -> tuple[Variant, StudyFolder, Rates | None]:
    variant, folder = resolve_variant(study, "base", data, device="cpu"), StudyFolder(out, study.name)
    return variant, folder, ensure_range_test(variant, folder, lambda: data, threads=1, say=silent)


def test_it_leaves_a_sweep_and_a_choice(tiny: Tiny, data: Data, tmp_path: Path) -> None:
    _, folder, rates = find(tiny(*FIND), data, tmp_path)
    sweep = pd.read_csv(folder.range_test_csv("base"))
    choice = read_sealed(folder.range_test_json("base"))
    assert choice is not None and rates is not None and tuple(sweep.columns) == RANGE_TEST
    sweeps = [group.reset_index() for _, group in sweep.groupby("repeat")]
    assert [list(one.iteration) == list(range(1, len(one) + 1)) for one in sweeps] == [True] * 3
    assert all(one.lr[0] == 1e-3 for one in sweeps)
    chosen = [one.lr[one.smoothed_accuracy.argmax()] for one in sweeps]
    assert choice["choices"] == chosen and choice["repeats"] == 3 and choice["per"] == "variant"
    assert choice["lr_max"] == rates.lr_max == sorted(chosen)[1]
    assert (choice["lr_max_low"], choice["lr_max_high"]) == (min(chosen), max(chosen))
    assert choice["lr_min"] == rates.lr_max / 8 and choice["seed"] == 0 and choice["used"] is True


def test_each_sweep_draws_for_itself_and_the_first_is_that_of_one_sweep(
    tiny: Tiny, data: Data, tmp_path: Path
) -> None:
    tables = []
    for repeats in (1, 3):
        _, folder, _ = find(tiny(*FIND, ("range_test.repeats", repeats)), data, tmp_path / str(repeats))
        tables.append(folder.range_test_csv("base").read_text())
    one, three = (table.splitlines() for table in tables)
    assert three[: len(one)] == one
    first_losses = pd.read_csv(folder.range_test_csv("base")).groupby("repeat").loss.first()
    assert len(set(first_losses)) == 3


def test_it_says_which_sweep_it_is_at_and_how_far_they_differ(tiny: Tiny, data: Data, tmp_path: Path) -> None:
    variant, folder = (
        resolve_variant(tiny(*FIND), "base", data, device="cpu"),
        StudyFolder(tmp_path, "tiny"),
    )
    said: list[str] = []
    ensure_range_test(variant, folder, lambda: data, threads=1, say=said.append)
    steps = [line.partition("range test: ")[2] for line in said if "range test: " in line]
    assert steps == [f"sweep {at} of 3: 20 steps, 0.001 to 1" for at in (1, 2, 3)]
    assert any("LR range test chose lr_max = " in line and "(its 3 sweeps: " in line for line in said)


def test_nothing_is_written_before_the_last_sweep(
    tiny: Tiny, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends_in_the_third(*given: Any, repeat: int, **named: Any) -> Sweep:
        if repeat == 3:
            raise KeyboardInterrupt
        return sweep_variant(*given, repeat=repeat, **named)

    monkeypatch.setattr(stored, "sweep_variant", ends_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        find(tiny(*FIND), data, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and ".locks" not in path.parts]


def test_a_second_start_reuses_it(tiny: Tiny, data: Data, tmp_path: Path) -> None:
    variant, folder, rates = find(tiny(*FIND), data, tmp_path)
    assert ensure_range_test(variant, folder, never, threads=1, say=silent) == rates


def test_other_epochs_and_seeds_find_the_same_range(tiny: Tiny, data: Data, tmp_path: Path) -> None:
    _, folder, rates = find(tiny(*FIND), data, tmp_path)
    longer = resolve_variant(tiny(*FIND, ("schedule.epochs", 9), ("seeds", [5])), "base", data, device="cpu")
    assert stored_rates(longer, folder) == rates


@pytest.mark.parametrize(
    "change",
    [("model.width", 3), ("range_test.seed", 1), ("optimizer.momentum", 0.5), ("range_test.repeats", 2)],
)
def test_another_configuration_finds_its_own(
    tiny: Tiny, data: Data, tmp_path: Path, change: tuple[str, object]
) -> None:
    _, folder, _ = find(tiny(*FIND), data, tmp_path)
    other = resolve_variant(tiny(*FIND, change), "base", data, device="cpu")
    assert stored_rates(other, folder) is None


@pytest.mark.parametrize("which", ["csv", "json"])
def test_damage_is_noticed_and_the_same_range_found_again(
    tiny: Tiny, data: Data, tmp_path: Path, which: str
) -> None:
    variant, folder, rates = find(tiny(*FIND), data, tmp_path)
    path = folder.range_test_csv("base") if which == "csv" else folder.range_test_json("base")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + b"#" + whole[-19:])
    assert stored_rates(variant, folder) is None
    assert find(tiny(*FIND), data, tmp_path)[2] == rates
    assert path.read_bytes() == whole


def test_without_rates_to_find_and_without_a_section_there_is_none(
    tiny: Tiny, data: Data, tmp_path: Path
) -> None:
    _, folder, rates = find(tiny(), data, tmp_path)
    assert rates is None and not folder.range_test_json("base").exists()


def test_a_section_beside_fixed_rates_is_run_and_marked_unused(
    tiny: Tiny, data: Data, tmp_path: Path
) -> None:
    _, folder, rates = find(tiny(FIND[2]), data, tmp_path)
    choice = read_sealed(folder.range_test_json("base"))
    assert rates is not None and choice is not None and choice["used"] is False


def test_runs_of_one_variant_never_get_two_different_rates(tiny: Tiny, data: Data, tmp_path: Path) -> None:
    variant, folder, rates = find(tiny(*FIND), data, tmp_path)
    assert rates is not None
    folder.range_test_json("base").unlink()
    run = folder.run("base", 0)
    run.write(variant.record(0, "finished", metrics={"lr_max": rates.lr_max * 2}))
    with pytest.raises(RunError, match="was trained with"):
        find(tiny(*FIND), data, tmp_path)


# ---- what version 0.2 left on disk: one sweep, and records that do not say so ------------------------------

LATER = ("repeats", "per", "choices", "lr_max_low", "lr_max_high")


def as_of_version_0_2(study: Study, data: Data, out: Path) -> tuple[StudyFolder, Rates]:
    """A range test as version 0.2 wrote it."""
    variant, folder, rates = find(study, data, out)
    table = pd.read_csv(folder.range_test_csv("base"), dtype=str)
    table = table[table.repeat == "1"].drop(columns="repeat")
    text = table.to_csv(index=False, lineterminator="\n")
    atomic_write(folder.range_test_csv("base"), text)
    record = read_sealed(folder.range_test_json("base"))
    assert record is not None and rates is not None
    first = record["choices"][0]
    old = {key: value for key, value in record.items() if key not in LATER}
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    old |= {"lr_max": first, "lr_min": first / 8, "csv_sha256": sha256}
    write_sealed(folder.range_test_json("base"), old)
    return folder, Rates(first / 8, first)


def test_one_sweep_on_disk_serves_a_study_that_does_not_say_how_many(
    tiny: Tiny, data: Data, tmp_path: Path
) -> None:
    folder, rates = as_of_version_0_2(tiny(*FIND), data, tmp_path)
    before = folder.range_test_json("base").read_bytes()
    variant, said = resolve_variant(tiny(*FIND), "base", data, device="cpu"), []
    assert ensure_range_test(variant, folder, never, threads=1, say=said.append) == rates
    assert folder.range_test_json("base").read_bytes() == before
    assert said == ["tiny/base  keeping the lr_max on disk, from 1 sweep; use another --out to find it again"]


def test_its_runs_go_on_with_the_first_sweeps_rate_if_it_is_lost(
    tiny: Tiny, data: Data, tmp_path: Path
) -> None:
    settings: Any = FIND[2][1]
    wide = (*FIND[:2], ("range_test", {**settings, "seed": 5}))  # its sweeps differ
    folder, rates = as_of_version_0_2(tiny(*wide), data, tmp_path)
    variant = resolve_variant(tiny(*wide), "base", data, device="cpu")
    folder.run("base", 0).write(variant.record(0, "finished", metrics={"lr_max": rates.lr_max}))
    for path in (folder.range_test_json("base"), folder.range_test_csv("base")):
        path.unlink()
    assert find(tiny(*wide), data, tmp_path / "new")[2] != rates
    assert find(tiny(*wide), data, tmp_path)[2] == rates
    record = read_sealed(folder.range_test_json("base"))
    assert record is not None and record["repeats"] == 1 and record["lr_max_low"] == rates.lr_max


def test_a_study_that_says_how_many_sweeps_does_not_take_the_first_ones_rate(
    tiny: Tiny, data: Data, tmp_path: Path
) -> None:
    for seed in range(5, 25):  # until the first sweep chooses another rate than the median: processors differ
        study = tiny(*FIND, ("range_test.seed", seed), ("range_test.repeats", 5))
        place = tmp_path / str(seed)
        variant, folder, rates = find(study, data, place)
        record = read_sealed(folder.range_test_json("base"))
        assert record is not None and rates is not None
        if record["choices"][0] != rates.lr_max:
            break
    folder.run("base", 0).write(variant.record(0, "finished", metrics={"lr_max": record["choices"][0]}))
    folder.range_test_json("base").unlink()
    with pytest.raises(RunError, match="was trained with"):
        find(study, data, place)


def test_the_digest_of_a_published_range_test_is_still_its_own() -> None:
    published = Path(__file__).parents[3] / "docs" / "results" / "onecycle"
    record = read_sealed(published / "range_test" / "base.json")
    settings = load_study("onecycle").range_test
    assert record is not None and settings is not None
    identity = read_records(published / "runs" / "base.json")[0]["identity"]
    assert settings.deciding(finds=True) == identity["recipe"]["range_test"]
    deciding = {**identity, "range_test": settings.deciding(finds=True)}
    deciding["recipe"] = {key: part for key, part in identity["recipe"].items() if key != "schedule"}
    assert digest(deciding) == record["digest"]


# ---- a range test for each run -----------------------------------------------------------------------------


def test_a_run_finds_its_own_rates_by_its_seed_in_its_own_folder(
    tiny: Tiny, data: Data, tmp_path: Path
) -> None:
    variant = resolve_variant(tiny(*FIND, ("range_test.per", "seed")), "base", data, device="cpu")
    folder = StudyFolder(tmp_path, "tiny")
    for seed in (0, 5):
        rates = ensure_range_test(variant, folder, lambda: data, seed=seed, threads=1, say=silent)
        assert rates == stored_rates(variant, folder, seed)
        record = read_sealed(folder.run("base", seed).path / "range_test.json")
        assert record is not None and record["seed"] == seed and record["per"] == "seed"
        assert ensure_range_test(variant, folder, never, seed=seed, threads=1, say=silent) == rates
    assert not (folder.path / "range_test").exists()
    tables = [folder.range_test_csv("base", seed).read_text() for seed in (0, 5)]
    assert tables[0] != tables[1]
    shared = tiny(*FIND, ("range_test.seed", 5))
    _, other, _ = find(shared, data, tmp_path / "shared")
    assert other.range_test_csv("base").read_text() == tables[1]  # the same draws as with range_test.seed


def test_another_runs_range_test_is_not_taken(tiny: Tiny, data: Data, tmp_path: Path) -> None:
    variant = resolve_variant(tiny(*FIND, ("range_test.per", "seed")), "base", data, device="cpu")
    folder = StudyFolder(tmp_path, "tiny")
    ensure_range_test(variant, folder, lambda: data, seed=0, threads=1, say=silent)
    shutil.copytree(folder.run("base", 0).path, folder.run("base", 1).path)
    assert stored_rates(variant, folder, 1) is None
