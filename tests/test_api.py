"""The package in Python: what a notebook does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import harness
from harness.errors import RunError, StudyError


def test_a_study_is_run_and_its_results_are_frames_and_figures(
    tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    results = harness.run(tiny_file, settings={"schedule.epochs": 2}, seeds=[0, 1], out=out, device="cpu")
    assert capsys.readouterr().out == ""
    assert list(results.runs.status) == ["finished"] * 2 and len(results.history) == 4
    assert results.summary.test_accuracy_mean[0] == pytest.approx(results.runs.test_accuracy.mean())
    assert results.verdict in (out / "tiny" / "report.md").read_text("utf-8")
    assert results.met == bool((results.runs.test_accuracy >= 0.2).all())
    assert results.figure("curves").size[0] > 500
    shown = results._repr_html_()
    assert "<table" in shown and "tiny" in shown and "accuracy, %" in shown
    pd.testing.assert_frame_equal(harness.Results(out / "tiny").runs, results.runs)


def test_a_loaded_study_is_run_as_it_is(tiny_file: Path, tmp_path: Path) -> None:
    study = harness.load_study(str(tiny_file), settings=["schedule.epochs=2"], seeds=[3])
    results = harness.run(study, out=tmp_path / "out", quiet=True)
    assert list(results.runs.seed) == [3] and list(results.history.epoch) == [1, 2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"worker": 2}, "no option 'worker', did you mean 'workers'"),
        ({"launcher": "serail"}, "did you mean 'serial'"),
        ({"settings": {"schedule.epoch": 2}}, "schedule.epoch"),
        ({"dry_run": True}, "no option 'dry_run'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(options: dict[str, object], said: str, tiny_file: Path) -> None:
    with pytest.raises(StudyError, match=said):
        harness.run(tiny_file, **options)  # type: ignore[arg-type]


def test_a_table_that_is_not_there_is_named(tiny_file: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no report"):
        harness.Results(tmp_path)
    results = harness.run(tiny_file, out=tmp_path / "out", quiet=True)
    with pytest.raises(StudyError, match="did you mean 'curves'"):
        results.figure("curve")


def test_the_package_costs_nothing_until_it_is_used() -> None:
    code = "import harness, sys; harness.__all__; assert not {'torch', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(getattr(harness, name).__doc__ for name in harness.__all__)
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        harness.nothing_of_ours  # noqa: B018
