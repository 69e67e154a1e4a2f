"""``[search]``: trials as variants, cut short by the median, the same again from what is on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from harness.study_file import load_study
from tests.conftest import TINY_TOML, Command

SEARCH = """
[search]
trials = 8
random_trials = 2

[search.values]
"schedule.lr_max" = { low = 1e-6, high = 0.2, log = true }
"optimizer.momentum" = { low = 0.0, high = 0.9 }
"model.width" = { low = 2, high = 3 }
"augment.train" = [[], [{ transform = "HorizontalFlip" }]]
"""


def with_holdout(text: str) -> str:
    return text.replace("train_limit = 160", "holdout = 100, train_limit = 160")


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    path = tmp_path / "searched.toml"
    path.write_text(with_holdout(TINY_TOML.replace('"tiny"', '"searched"')) + SEARCH)
    return path


def test_trials_are_variants_ranked_on_the_holdout(searched: Path, tmp_path: Path, command: Command) -> None:
    done = command(searched, "--seeds", "0-2")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "searched"
    runs = pd.read_csv(folder / "tables" / "runs.csv")
    assert sorted(runs.variant.unique()) == ["base", *(f"trial-{at:03d}" for at in range(8))]
    cut = done.stderr.count("cut short after")
    finished = runs[runs.status == "finished"].groupby("variant").size()
    assert 0 < cut == (finished < 3).sum() and (runs.status == "finished").all()
    assert set(pd.read_csv(folder / "tables" / "summary.csv").evaluated_on) == {"holdout"}
    written = load_study(str(folder / "study.toml"))
    assert written.search is None and len(written.recipes) == 9
    rates = [recipe.schedule.model_dump()["lr_max"] for recipe in written.recipes.values()][1:]
    assert len(set(rates)) == 8 and all(rate == float(f"{rate:.4g}") for rate in rates)

    more = command(searched, "--seeds", "0-2", "--set", "search.trials=9")
    assert more.returncode == 0
    trained = {line.split()[0] for line in more.stderr.splitlines() if " epoch " in line}
    assert trained and all(name.startswith("searched/trial-008/") for name in trained)
    report = command(searched, "--seeds", "0-2", "--report-only")
    assert report.stdout.count("trial-008") == more.stdout.count("trial-008") > 0


def test_a_dry_run_says_what_the_search_costs_at_most(searched: Path, command: Command) -> None:
    assert "a search of 8 trials, at most 2 runs each" in command(searched, "--dry-run").stdout


def test_a_search_that_was_killed_goes_on_to_the_same_tables(
    searched: Path, tmp_path: Path, command: Command
) -> None:
    whole = command(searched, "--out", "whole", OMP_NUM_THREADS="1")
    assert whole.returncode == 0, whole.stderr
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    for trial in ("trial-001", "trial-002", "trial-004"):
        shutil.rmtree(tmp_path / "half" / "searched" / "runs" / trial)
    assert command(searched, "--out", "half", OMP_NUM_THREADS="1").returncode == 0
    tables = [
        pd.read_csv(tmp_path / out / "searched" / "tables" / "ranking.csv") for out in ("whole", "half")
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "data={source='digits'}"), "it would choose by the test images; set data.holdout"),
        (("--devices", "2"), "one device each, not --devices 2"),
        (("--set", "search.trials=0"), "search.trials: input should be greater"),
        (("--set", "search.values={'schedule.lr_mx'=[1,2]}"), "did you mean 'lr_max'"),
        (("--set", "model.width=3"), "[search] tries values of model.width"),
        (("--set", "variants.trial-1={}"), "its trials are variants named trial-"),
    ],
)
def test_what_cannot_be_is_one_line_before_any_work(
    searched: Path, tmp_path: Path, command: Command, arguments: tuple[str, ...], said: str
) -> None:
    done = command(searched, *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and said in done.stderr, done.stderr
    assert not (tmp_path / "results" / "searched" / "runs").exists()
