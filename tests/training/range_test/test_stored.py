"""A variant's range test: stored once, reused, done again only when it has to be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from harness.data import load_data
from harness.data.arrays import Data
from harness.errors import RunError
from harness.plan import Variant, resolve_variant
from harness.schedule import Rates
from harness.store.folders import StudyFolder
from harness.store.run_files import RANGE_TEST
from harness.store.sealed import read_sealed
from harness.study_file.config import Study
from harness.training.progress import silent
from harness.training.range_test import ensure_range_test, stored_rates

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
    assert choice is not None and rates is not None
    assert tuple(sweep.columns) == RANGE_TEST and list(sweep.iteration) == list(range(1, len(sweep) + 1))
    assert sweep.lr[0] == 1e-3
    assert choice["lr_max"] == rates.lr_max == sweep.lr[sweep.smoothed_accuracy.argmax()]
    assert choice["lr_min"] == rates.lr_max / 8 and choice["seed"] == 0 and choice["used"] is True


def test_a_second_start_reuses_it(tiny: Tiny, data: Data, tmp_path: Path) -> None:
    variant, folder, rates = find(tiny(*FIND), data, tmp_path)
    assert ensure_range_test(variant, folder, never, threads=1, say=silent) == rates


def test_other_epochs_and_seeds_find_the_same_range(tiny: Tiny, data: Data, tmp_path: Path) -> None:
    _, folder, rates = find(tiny(*FIND), data, tmp_path)
    longer = resolve_variant(tiny(*FIND, ("schedule.epochs", 9), ("seeds", [5])), "base", data, device="cpu")
    assert stored_rates(longer, folder) == rates


@pytest.mark.parametrize("change", [("model.width", 3), ("range_test.seed", 1), ("optimizer.momentum", 0.5)])
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
