"""``[search]``: trials as variants, cut short by the median, the same again from what is on disk."""

from __future__ import annotations

import itertools
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.errors import StudyError
from harness.plan import Plan
from harness.search import _identity, _recorded, _run, opening
from harness.store.folders import StudyFolder
from harness.store.sealed import read_sealed, write_sealed
from harness.study_file.config import Study
from harness.study_file.load import load_study
from harness.study_file.search_space import Search
from harness.study_file.seeds import parse_seeds
from tests.conftest import TINY_TOML, Command
from tests.lab import Lab

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


def test_a_search_of_an_earlier_version_has_the_same_identity(searched: Path) -> None:
    later = {"vary", "looks", "margin"}  # without a value they decide nothing, and records do not have them
    identity = _identity(load_study(searched))
    assert not later & set(identity) and not {"cluster", "holdout_draws"} & set(identity["data"])
    assert "averaging" not in identity and set(identity["augment"]) == {"train", "test"}
    assert set(identity["loss"]) == {"label_smoothing", "l1"}
    assert not {"groups", "accumulate", "clip_norm"} & set(identity["optimizer"])
    named = _identity(load_study(searched, settings={"vary": ["order"]}))
    assert named["vary"] == ["order"]


def test_a_search_on_disk_may_have_the_defaults_of_later_keys(searched: Path, tmp_path: Path) -> None:
    study, folder = load_study(searched), StudyFolder(tmp_path, "searched")
    identity = _identity(study)
    written = {**identity, "data": {**identity["data"], "drop_last": False}, "averaging": {"kind": "none"}}
    write_sealed(folder.path / "search.json", {"identity": written, "trials": {}})
    assert _recorded(study, folder) == {}
    averaged = {"averaging": {"kind": "swa", "start_epoch": 1}}
    with pytest.raises(StudyError, match="holds another search"):
        _recorded(load_study(searched, settings=averaged), folder)


def test_a_search_for_another_metric_is_another_search(searched: Path) -> None:
    before = _identity(load_study(searched))
    for same in ({"target.accuracy": 0.9}, {"metrics": ["mine:metric"]}):
        assert _identity(load_study(searched, settings=same)) == before
    assert _identity(load_study(searched, settings={"target.nll": 0.3})) == {**before, "objective": "nll"}


def test_a_trial_is_told_the_targets_metric_turned_so_that_higher_is_better(tmp_path: Path) -> None:
    place = Lab(tmp_path, {"target": {"nll": 0.3}})
    for seed in (0, 1, 2):
        place.finish("base", seed, logits=place.logits(300 + seed))
    losses = [run.number("loss") for run in place.results().of("base")]

    class Runner:
        """Runs nothing: all runs are there."""

        def plan(self, study: Study, folder: StudyFolder, names: list[str]) -> Plan:
            return Plan(study, folder, (), tuple(study.seeds))

        def check_folders(self, plan: Plan) -> None: ...

        def launch(self, plan: Plan) -> list[str]:
            return []

    class Proposal:
        told: list[float] = []

        def report(self, value: float, step: int) -> None:
            self.told.append(value)

        def should_prune(self) -> bool:
            return False

    proposal: Any = Proposal()
    runner: Any = Runner()
    scores, cut = _run(runner, place.study, place.folder, "base", proposal, [])
    assert scores == [-(loss or 0) for loss in losses] and not cut
    assert proposal.told == pytest.approx([np.mean(scores[:n]) for n in (1, 2, 3)])


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    """A study whose search is ranked on held-out images."""
    path, text = tmp_path / "searched.toml", TINY_TOML
    for ours, theirs in (
        ('"tiny"', '"searched"'),
        ('layers = ["layer1", "res2"], images = 4', 'layers = ["res2"], images = 1'),
        ("train_limit = 160", "holdout = 100, train_limit = 160"),
    ):
        assert ours in text
        text = text.replace(ours, theirs)
    path.write_text(text + SEARCH)
    return path


@pytest.mark.slow
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
    named = set()
    for line in (read_sealed(folder / "report.json") or {})["repeat"]:
        words = dict(itertools.pairwise(shlex.split(line)))
        seeds = parse_seeds(words["--seeds"]) if "--seeds" in words else written.seeds
        named |= {(variant, seed) for variant in words["--variants"].split(",") for seed in seeds}
    assert named == set(
        zip(runs.variant, runs.seed, strict=True)
    )  # those that were cut short with fewer seeds
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


@pytest.mark.slow
def test_a_search_goes_on_with_its_trials_whatever_stopped_it(
    searched: Path, tmp_path: Path, command: Command
) -> None:
    searched.write_text(searched.read_text().replace("trials = 8", "trials = 5"))
    whole = command(searched, "--out", "whole", OMP_NUM_THREADS="1")
    assert whole.returncode == 0, whole.stderr
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    half = tmp_path / "half" / "searched"
    record = read_sealed(half / "search.json")
    assert record is not None
    # killed in its fourth trial, and a run lost before
    for name in ("trial-002", "trial-003", "trial-004"):
        shutil.rmtree(half / "runs" / name, ignore_errors=True)
    kept = {name: trial for name, trial in record["trials"].items() if name < "trial-003"}
    write_sealed(half / "search.json", {**record, "trials": kept})
    done = command(searched, "--out", "half", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        (tmp_path / out / "searched" / "tables" / "ranking.csv").read_bytes() for out in ("half", "whole")
    )
    assert ours == theirs
    assert read_sealed(half / "search.json") == record

    seeds = command(searched, "--out", "half", "--variants", "base,trial-001", "--seeds", "0-2")
    assert seeds.returncode == 0, seeds.stderr
    trained = {line.split()[0] for line in seeds.stderr.splitlines() if " epoch 1 of " in line}
    assert trained == {"searched/base/seed-2", "searched/trial-001/seed-2"}


@pytest.mark.slow
def test_another_search_in_the_same_folder_is_refused_or_put_aside(
    searched: Path, tmp_path: Path, command: Command
) -> None:
    few = ("--seeds", "0", "--set", "search.trials=2")
    assert command(searched, *few).returncode == 0
    before = (tmp_path / "results" / "searched" / "tables" / "ranking.csv").read_bytes()
    searched.write_text(searched.read_text().replace("high = 0.2", "high = 0.1"))
    done = command(searched, *few)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "search.json: holds another search (search.values.schedule.lr_max.high: 0.1 planned" in done.stderr
    assert command(searched, *few, "--report-only").returncode == 2
    assert (tmp_path / "results" / "searched" / "tables" / "ranking.csv").read_bytes() == before
    forced = command(searched, *few, "--force")
    assert forced.returncode == 0 and forced.stderr.count("moved to") == 2, forced.stderr


@pytest.mark.slow
def test_values_that_cannot_go_together_fail_their_trial_alone(
    searched: Path, tmp_path: Path, command: Command
) -> None:
    text = (
        searched.read_text()
        .replace("trials = 8", "trials = 6")
        .replace("peak_epoch = 1,", "peak_epoch = 1.5,")
    )
    epochs = '"schedule.epochs" = [2, 3]\n"schedule.peak_epoch" = [1.0, 2.5, 2.6, 2.7]'
    searched.write_text(text.replace('"model.width" = { low = 2, high = 3 }', epochs))
    done = command(searched, "--seeds", "0")
    assert done.returncode == 0, done.stderr
    impossible = done.stderr.count("cannot be: ")
    runs = pd.read_csv(tmp_path / "results" / "searched" / "tables" / "runs.csv")
    assert 0 < impossible < 6 and len(runs) == 1 + 6 - impossible and set(runs.status) == {"finished"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "data={source='digits'}"), "it would choose by the test images; set data.holdout"),
        (("--devices", "2"), "one device each, not --devices 2"),
        (("--set", "search.trials=0"), "search.trials: expected at least"),
        (("--set", "search.values={'schedule.lr_mx'=[1,2]}"), "did you mean 'lr_max'"),
        (("--set", "model.width=3"), "[search] tries values of model.width"),
        (("--set", "variants.Trial-1={}"), "its trials are variants named trial-"),
        (("--set", "search.values={'data.batch_size'=[32,1]}"), "batch_size: expected at least"),
        (("--set", "search.values={'optimizer.name'=['SGD','SGDD']}"), "did you mean 'SGD'"),
        (("--set", "search.values={'loss.l1'={low=1e400,high=2.0}}"), "expected a finite number, got inf"),
        (("--set", "search.values={'loss.l1'=[0.1],loss={l1=[0.2]}}"), "loss.l1 is named twice"),
    ],
)
def test_what_cannot_be_is_one_line_before_any_work(
    searched: Path, tmp_path: Path, command: Command, arguments: tuple[str, ...], said: str
) -> None:
    done = command(searched, *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and said in done.stderr, done.stderr
    assert not (tmp_path / "results" / "searched" / "runs").exists()


@pytest.mark.parametrize(
    ("trials", "early", "said"),
    [
        (40, 10, "a search of 40 trials, the first 10 of them drawn at random"),
        (4, 10, "a search of 4 trials, drawn at random"),
        (10, 10, "a search of 10 trials, drawn at random"),
        (1, 10, "a search of 1 trial, drawn at random"),
    ],
)
def test_no_more_trials_are_random_than_there_are(trials: int, early: int, said: str) -> None:
    values = {"schedule.lr_max": [0.1, 0.2]}
    assert opening(Search(trials=trials, random_trials=early, values=values)) == said
