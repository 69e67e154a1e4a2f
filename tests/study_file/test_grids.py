"""``[grid]`` and ``[random]``: the variants they stand for, and what is refused."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from harness.errors import StudyError
from harness.study_file.config import Study
from harness.study_file.load import load_study, resolve
from tests.conftest import TINY, Command

PAGE = Path("docs/sweeps.md").resolve()


def study(**tables: Any) -> Study:
    return resolve({**TINY, **tables})


def test_a_grid_is_every_combination_named_after_its_values() -> None:
    made = study(grid={"schedule.lr_max": [0.1, 0.2], "optimizer.momentum": [0.5, 0.8]})
    assert made == study(grid={"schedule": {"lr_max": [0.1, 0.2]}, "optimizer.momentum": [0.5, 0.8]})
    assert list(made.recipes) == [
        "base",
        "lr_max-0.1_momentum-0.5",
        "lr_max-0.1_momentum-0.8",
        "lr_max-0.2_momentum-0.5",
        "lr_max-0.2_momentum-0.8",
    ]
    recipe = made.recipes["lr_max-0.2_momentum-0.5"]
    assert recipe.schedule.model_dump()["lr_max"] == 0.2 and recipe.optimizer.options["momentum"] == 0.5


def test_the_cell_that_is_the_file_itself_is_base() -> None:
    assert list(study(grid={"schedule.lr_max": [0.05, 0.1]}).recipes) == ["base", "lr_max-0.1"]


def test_tables_are_named_by_their_name_and_lists_by_their_place() -> None:
    optimizers = [{"name": "AdamW"}, {"name": "RMSprop", "momentum": 0.9}]
    made = study(grid={"optimizer": optimizers, "augment.train": [[], [{"transform": "HorizontalFlip"}]]})
    assert list(made.recipes)[1:] == [
        "optimizer-AdamW_train-0",
        "optimizer-AdamW_train-1",
        "optimizer-RMSprop_train-0",
        "optimizer-RMSprop_train-1",
    ]
    assert made.recipes["optimizer-AdamW_train-1"].optimizer.options == {}


def test_names_that_no_variant_may_have_become_numbers() -> None:
    flips = [{"name": "AdamW", "weight_decay": decay} for decay in (0.0, 0.1)]
    assert list(study(grid={"optimizer": flips}).recipes) == ["base", "cell-000", "cell-001"]


def test_draws_are_the_seeds_and_lie_in_their_ranges() -> None:
    values = {
        "schedule.lr_max": {"low": 0.01, "high": 1.0, "log": True},
        "optimizer.momentum": {"low": 0.0, "high": 0.9},
        "model.width": {"low": 1, "high": 3},
        "precision": ["float32", "bfloat16"],
    }
    draws = {"draws": 200, "seed": 1, "values": values}
    made = study(random=draws)
    assert list(made.recipes)[1:3] == ["draw-000", "draw-001"] and len(made.recipes) == 201
    assert made == study(random=draws) != study(random={**draws, "seed": 8})
    recipes = list(made.recipes.values())[1:]
    rates = [math.log10(recipe.schedule.model_dump()["lr_max"]) for recipe in recipes]
    assert -2 <= min(rates) < -1.9 and -0.1 < max(rates) <= 0
    assert 75 < sum(rate < -1 for rate in rates) < 125  # as many in each decade
    assert {recipe.model.options["width"] for recipe in recipes} == {1, 2, 3}
    assert {recipe.precision for recipe in recipes} == {"float32", "bfloat16"}


def test_more_draws_begin_with_the_same_ones() -> None:
    values = {"optimizer.momentum": {"low": 0.0, "high": 0.9}}
    few = study(random={"draws": 3, "values": values}).variants
    more = study(random={"draws": 9, "values": values}).variants
    assert list(more.values())[:3] == list(few.values())


def test_the_written_study_has_the_variants_and_no_rule(tmp_path: Path) -> None:
    made = study(grid={"schedule.lr_max": [0.1, 0.2]}, random={"draws": 2, "values": {"model.width": [1, 3]}})
    (tmp_path / "again.toml").write_text(made.to_toml())
    again = load_study(str(tmp_path / "again.toml"))
    assert again == made and again.recipes == made.recipes and "[random]" not in made.to_toml()


@pytest.mark.parametrize(
    ("table", "content", "said"),
    [
        ("grid", {"schedule.lr_mx": [0.1]}, "unknown key, did you mean 'lr_max'"),
        ("grid", {"seeds": [[1], [2]]}, "a variant cannot change this"),
        ("grid", {"schedule.lr_max": 0.1}, "grid.schedule.lr_max: expected a list of values, got 0.1"),
        ("grid", {"schedule": {"lr_max": 0.1}}, "grid.schedule.lr_max: expected a list of values, got 0.1"),
        ("grid", {"schedule.lr_max": []}, "expected a list of values"),
        ("grid", {"schedule.lr_max": [0.1, 0.1]}, "0.1 is named twice"),
        ("grid", {f"optimizer.o{at}": [1, 2] for at in range(10)}, "1024 cells; 1000 is the most"),
        ("grid", {"schedule.lr_max": [0.1, -1.0]}, "variants.lr_max--1.0: schedule.lr_max"),
        ("random", {"draws": 2}, "random.values: missing"),
        ("random", {"draws": 0, "values": {"a": [1]}}, "random.draws"),
        ("random", {"draws": 1, "values": {"a": {"low": 1, "high": 1}}}, "low must be below high"),
        ("random", {"draws": 1, "values": {"a": {"low": 1, "hgh": 2}}}, "did you mean 'high'"),
        ("random", {"draws": 1, "values": {"a": {"low": 0.0, "high": 1.0, "log": True}}}, "low above 0"),
        ("random", {"draws": 1, "values": {"a": 3}}, "expected a list of values, or a table"),
        ("random", {"draws": 1, "values": {"model.width": [3]}}, "[random] makes one of this name"),
    ],
)
def test_what_is_refused_in_one_line(table: str, content: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError) as error:
        study(**{table: content}, variants={"draw-000": {}})
    assert said in str(error.value) and "\n" not in str(error.value)


def test_an_override_of_what_is_tried_is_refused() -> None:
    with pytest.raises(StudyError, match=r"--set schedule.lr_max: \[grid\] tries values of schedule.lr_max"):
        resolve({**TINY, "grid": {"schedule.lr_max": [0.1, 0.2]}}, [("schedule.lr_max", 0.3)])


@pytest.mark.slow
def test_the_page_runs_and_is_ranked(tmp_path: Path, command: Command) -> None:
    page = PAGE.read_text("utf-8")
    grid, draws, search = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "sweep.toml").write_text(grid + draws + search)
    names = list(load_study(str(tmp_path / "sweep.toml")).recipes)
    assert len(names) == 6 + 20 and {"base", "lr_max-0.3_momentum-0.5", "draw-019"} <= set(names)
    (tmp_path / "sweep.toml").write_text(grid)
    done = command("sweep.toml", "--seeds", "0,1")
    assert done.returncode == 0, done.stderr
    assert " variants are not significantly below any other: " in done.stdout.splitlines()[-2]
    ranking = (tmp_path / "results" / "sweep" / "tables" / "ranking.csv").read_text().splitlines()
    assert ranking[0] == "rank,variant,n,mean,std,behind,p,possible,changes,failed,worse_than"
    assert sorted(row.split(",")[1] for row in ranking[1:]) == sorted(names[:6])
    report = (tmp_path / "results" / "sweep" / "report.html").read_text("utf-8")
    assert "Decision rule" in report and "momentum = 0.5, lr_max = 0.03" in report
    assert "These are test images" not in report
