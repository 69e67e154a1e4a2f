"""``--plan``: seeds before the first run, from a given std and from finished runs."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from harness.outline import Outline
from harness.planning.forecast import _with_sweeps
from harness.planning.needs import Spread, StudyPlan, _needs
from harness.planning.states import VariantState
from harness.planning.words import as_text
from harness.statistics.power import Correlation
from harness.study_file.config import Study
from tests.conftest import Command

ASKED = ("--plan", "--difference", "0.003", "--std", "0.0017")


def only(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    (study,) = json.loads(done.stdout)
    return dict(study)


def variants(file: Path, **labels: float) -> Path:
    """Add variants to the tiny study."""
    text = "".join(f'[variants.{name}]\n"loss.label_smoothing" = {value}\n' for name, value in labels.items())
    file.write_text(file.read_text() + text)
    return file


def test_a_given_std_tells_the_seeds_of_every_test_and_nothing_is_written(
    command: Command, tiny_file: Path, tmp_path: Path
) -> None:
    study = only(command(variants(tiny_file, a=0.1, b=0.2), *ASKED, "--json"))
    assert (study["comparisons"], study["variants"], study["planned"]) == (2, 3, 2)
    paired, welch = study["needs"]
    of_differences = 0.0017 * math.sqrt(2)
    seeds = math.ceil(TTestPower().solve_power(0.003 / of_differences, power=0.8, alpha=0.025))
    assert (paired["test"], paired["correlation"], paired["seeds"]) == ("paired t", 0.0, seeds)
    assert paired["runs"] == 3 * seeds
    seeds = math.ceil(TTestIndPower().solve_power(0.003 / 0.0017, power=0.8, alpha=0.025))
    assert (welch["test"], welch["correlation"], welch["seeds"]) == ("Welch t", None, seeds)
    shown = TTestIndPower().power(welch["shown"] / 0.0017, 2, 0.025)
    assert shown == pytest.approx(0.8, abs=1e-6)  # what two seeds show
    # nothing has run: a step was timed
    assert study["seconds"] > 0 and "timed steps" in study["time_from"]
    assert paired["hours"] == pytest.approx(paired["runs"] * study["seconds"] / 3600)
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_finished_runs_tell_a_std_with_its_upper_bound_the_correlation_and_the_time(
    command: Command, tiny_file: Path, tmp_path: Path
) -> None:
    variants(tiny_file, a=0.1)
    assert command(tiny_file, "--seeds", "0-4", "--quiet").returncode == 0
    study = only(command(tiny_file, "--seeds", "0-4", "--plan", "--difference", "0.05", "--json"))
    runs = tmp_path / "results/tiny/runs"
    records = {
        name: [json.loads((runs / name / f"seed-{seed}/run.json").read_text()) for seed in range(5)]
        for name in ("base", "a")
    }
    accuracy = {name: [one["metrics"]["accuracy"] for one in found] for name, found in records.items()}
    pooled = math.sqrt(statistics.fmean(statistics.variance(values) for values in accuracy.values()))
    spread = study["spread"]
    assert (spread["runs"], spread["freedom"]) == (10, 8)
    assert spread["estimate"] == pytest.approx(pooled)
    assert spread["std"] == pytest.approx(pooled * math.sqrt(8 / stats.chi2.ppf(0.2, 8)))
    r = stats.pearsonr(accuracy["base"], accuracy["a"]).statistic
    low = math.tanh(math.atanh(r) - stats.norm.ppf(0.8) / math.sqrt(2))
    assert study["correlation"] == pytest.approx({"value": r, "low": low, "n": 5})
    assert [need["correlation"] for need in study["needs"]] == [0.0, pytest.approx(low), None]
    of_differences = spread["std"] * math.sqrt(2 * (1 - low))
    seeds = math.ceil(TTestPower().solve_power(0.05 / of_differences, power=0.8, alpha=0.05))
    assert study["needs"][1]["seeds"] == max(2, seeds)
    each = [
        one["timings"]["seconds"] / statistics.fmean(one["timings"].get("runs_at_once", [1]))
        for found in records.values()
        for one in found
    ]
    assert study["seconds"] == pytest.approx(statistics.fmean(each))
    assert study["time_from"] == "mean of 10 finished runs"
    # a std that is given takes the place of the measured one, beside the measured correlation
    given = only(command(tiny_file, *ASKED, "--json"))
    assert given["spread"]["std"] == 0.0017 and given["spread"]["estimate"] is None


@pytest.mark.slow
def test_runs_of_another_configuration_tell_nothing(command: Command, tiny_file: Path) -> None:
    assert command(tiny_file, "--set", "schedule.epochs=2", "--out", "results", "--quiet").returncode == 0
    done = command(tiny_file, "--plan", "--difference", "0.01")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "error: --plan: tiny: the std over seeds needs two finished runs of a variant; "
        "give it, such as --std 0.0017, or run some seeds first\n"
    )


def test_without_the_data_time_is_told_from_random_images(command: Command, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    study = only(command("onecycle", *ASKED, "--json", "--data", empty, "--device", "cpu"))
    assert study["seconds"] > 0 and study["needs"][0]["hours"] > 0
    assert study["time_from"] == "a few timed steps on random images (no data here)"
    assert study["needs"][0]["seeds"] == 8 and list(empty.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--plan"], "--plan: give --difference"),
        (["--plan", "--difference", "0.5"], "--difference 0.5: expected a fraction below 0.5"),
        (["--plan", "--difference", "-0.003"], "--difference -0.003: expected a number above 0"),
        (["--plan", "--difference", "nan"], "--difference nan: expected a number above 0"),
        (["--plan", "--difference", "0.003", "--std", "17"], "--std 17: expected a fraction below 0.5"),
        (["--plan", "--difference", "0.003", "--std", "0"], "--std 0: expected a number above 0"),
        (["--difference", "0.003"], "--difference and --std: add --plan"),
        (["--dry-run", "--std", "0.003"], "--difference and --std: add --plan"),
    ],
)
def test_a_wrong_question_is_refused_in_a_line(
    command: Command, tiny_file: Path, options: list[str], said: str
) -> None:
    done = command(tiny_file, *options)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {said}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "study",
    [
        pytest.param("search", marks=pytest.mark.slow),
        pytest.param("quickstart", marks=pytest.mark.slow),
        pytest.param("ablations", marks=pytest.mark.slow),
    ],
)
def test_the_text_repeats_points_and_fits_a_terminal(command: Command, study: str, tmp_path: Path) -> None:
    done = command(study, *ASKED, "--data", tmp_path, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert f"{study}: to detect a difference of 0.3 points with 80 % power\n" in done.stdout
    assert "std over seeds: 0.17 points, as given" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "values are fractions" not in done.stdout
    large = command(study, "--plan", "--difference", "0.3", "--std", "0.17", "--data", tmp_path)
    assert "a difference of 30 points" in large.stdout and "0.003 is 0.3 points" in large.stdout


def planned(**changes: Any) -> StudyPlan:
    values: dict[str, Any] = {
        "name": "mine", "difference": 0.003, "comparisons": 1, "variants": 2, "planned": 5, "margin": 0.002,
        "spread": Spread(0.0017), "correlation": None, "seconds": 7200.0, "time_from": "", "needs": (),
    }  # fmt: skip
    return StudyPlan(**values | changes)


@pytest.mark.parametrize(("margin", "seeds"), [(0.001, 51), (0.002, 14), (0.003, 8), (0.005, 4)])
def test_a_margin_needs_the_seeds_of_two_one_sided_tests(margin: float, seeds: int) -> None:
    need = _needs(planned(margin=margin))[-1]
    assert (need.test, need.seeds, need.runs, need.hours) == ("equivalence", seeds, 2 * seeds, 4 * seeds)
    enough = _needs(planned(margin=margin, planned=seeds))[-1]
    fewer = _needs(planned(margin=margin, planned=seeds - 1))[-1]
    assert enough.shown is not None and fewer.shown is not None and enough.shown <= margin < fewer.shown


def test_a_measured_correlation_stands_beside_none() -> None:
    needs = _needs(planned(correlation=Correlation(0.8, 0.5, 10)))
    tests = [(need.test, need.correlation) for need in needs]
    assert tests == [("paired t", 0.0), ("paired t", 0.5), ("Welch t", None),
                     ("equivalence", 0.0), ("equivalence", 0.5)]  # fmt: skip
    assert (needs[1].seeds or 0) < (needs[0].seeds or 0)


def test_one_seed_shows_nothing_and_endless_seeds_are_no_number() -> None:
    plan = planned(planned=1, difference=1e-6, seconds=None, margin=None)
    needs = _needs(plan)
    assert {(need.seeds, need.runs, need.shown) for need in needs} == {(None, None, None)}
    said = as_text([StudyPlan(**{**vars(plan), "needs": tuple(needs)})])
    assert "> 10,000" in said and "nothing" in said and "1 seed detects" in said


def test_runs_that_are_not_independent_are_said_to_tell_less(
    command: Command, tiny_file: Path, tmp_path: Path
) -> None:
    levels = ("--set", "vary={order=2, dropout=2}")
    done = command(tiny_file, *ASKED, *levels)
    assert "its runs share levels or images" in done.stdout, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert not only(command(tiny_file, *ASKED, *levels, "--json"))["independent"]
    assert "its runs share" not in command(tiny_file, *ASKED).stdout


def test_the_range_test_that_each_run_makes_is_part_of_its_time(tiny: Callable[..., Study]) -> None:
    find, own = ("schedule", {"epochs": 2, "peak_epoch": 1}), {"iterations": 40, "repeats": 2}
    shared, each = (
        tiny(find, ("range_test", {**own, "per": per})).recipes["base"] for per in ("variant", "seed")
    )
    assert (shared.own_sweep_steps, each.own_sweep_steps) == (0, 80)
    outline = Outline((3, 32, 32), 5, 1, 1, ())
    states = [VariantState("base", recipe, None, outline, None, []) for recipe in (shared, each)]
    assert [_with_sweeps(state) for state in states] == [1, 9]  # 10 steps of training, 80 of sweeps


def test_planned_looks_say_what_the_last_one_shows() -> None:
    said = as_text([planned(looks=(3, 5, 10, 20), planned=20, shown_at_last_look=0.00123)])
    assert "the last look, at 20 seeds, detects 0.123 points (paired, correlation 0),\n" in said
    assert max(map(len, said.splitlines())) <= 80
