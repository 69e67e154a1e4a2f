"""``python -m harness.compare``: two results in, text and a page out, and nothing is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.compare import command, page_name
from tests.analysis.test_side_by_side import RIGHT, fill
from tests.lab import MakeLab, cache_of_this_session, lab

__all__ = ["cache_of_this_session", "lab"]


@pytest.fixture
def out(lab: MakeLab) -> Path:
    """A folder with the results ``first`` and ``second``."""
    fill(lab(name="first"), RIGHT[0])
    return fill(lab(name="second", schedule={"epochs": 8, "peak_epoch": 1}), RIGHT[1]).parent


def contents(out: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its content and time."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("*") if path.is_file()
    }


@pytest.mark.slow  # a process of its own imports for seconds
def test_a_comparison_is_told_and_written_and_changes_no_result(out: Path) -> None:
    before = contents(out)
    environment = {**os.environ, "COLUMNS": "80", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "harness.compare", "first", "second", "--out", str(out)],
        capture_output=True, text=True, env=environment, cwd=out.parent, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "schedule.epochs" in done.stdout and "second is significantly better than first by" in done.stdout
    page = out / "compare-first-second.html"
    assert done.stderr.strip() == f"page: {page}"
    assert (
        "second is significantly better than first" in page.read_text("utf-8")
        and 'href="figures' not in page.read_text()
    )
    page.unlink()
    assert contents(out) == before


def test_json_has_the_tests_of_comparisons_csv(out: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "own.html"
    arguments = ["first", "second", "--out", str(out), "--page", str(page), "--json"]
    before = [contents(out / name) for name in ("first", "second")]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert [contents(out / name) for name in ("first", "second")] == before
    found = json.loads(done.stdout)
    assert found["page"] == str(page) and page.is_file()
    assert found["parameters"] == [{"key": "schedule.epochs", "values": {"first": "4", "second": "8"}}]
    assert [result["mean"] for result in found["results"]] == pytest.approx([sum(r) / 1080 for r in RIGHT])
    assert found["tests"][0]["test"] == "paired t" and found["sentence"].startswith("first reached 91.67 ± ")


def test_a_study_file_names_its_results(out: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text((out / "second" / "study.toml").read_text("utf-8"), "utf-8")
    done = CliRunner().invoke(command, ["first", str(file), "--out", str(out)], catch_exceptions=False)
    assert "second is significantly better than first" in " ".join(done.stdout.split())
    assert "of 2 variants" not in done.stdout  # two are compared, not ranked


def test_one_name_is_too_few_in_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    program = [sys.executable, "-m", "harness.compare", "nowhere"]
    done = subprocess.run(program, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert done.returncode == 2 and done.stdout == "" and not list(tmp_path.iterdir())
    assert done.stderr.startswith("error: name two results") and done.stderr.count("\n") == 1


def test_the_page_is_named_after_the_results() -> None:
    assert page_name(["results/a:base", "b (2)"]) == "compare-results-a-base-b-2.html"
    assert len(page_name(["x" * 300, "y"])) < 200
