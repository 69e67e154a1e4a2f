"""The package in Python: what a notebook does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import harness
from harness.errors import RunError, StudyError
from harness.request import make_request


def test_a_study_is_run_and_its_results_are_frames_and_figures(
    tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    changes = {"schedule.epochs": 2, "attribution.layers": ("layer1", "res2")}
    results = harness.run(
        tiny_file, settings=changes, seeds=[0, 1], out=out, device="cpu", export=["safetensors"]
    )
    assert capsys.readouterr().out == "" and results.status == 0
    assert list(results.runs.status) == ["finished"] * 2 and len(results.history) == 4
    assert results.summary.test_accuracy_mean[0] == pytest.approx(results.runs.test_accuracy.mean())
    assert results.sentence.startswith("tiny (trial: schedule.epochs = 2")
    texts = (results.to_latex(), results.to_markdown(), results.to_typst())
    assert all("base" in text for text in texts) and "\\toprule" in texts[0]
    assert results.verdict in (out / "tiny" / "report.md").read_text("utf-8")
    assert results.met == bool((results.runs.test_accuracy >= 0.2).all())
    assert results.figure("curves").size[0] > 500
    assert (out / "tiny" / "exports" / "base" / "seed-1" / "model.safetensors").is_file()
    shown = results._repr_markdown_()
    assert results.to_markdown() in shown and "**tiny**" in shown and "accuracy, mean ± std, %" in shown
    again = harness.Results(out / "tiny")
    assert again.status is None
    pd.testing.assert_frame_equal(again.runs, results.runs)
    with pytest.raises(StudyError, match="did you mean 'curves'"):
        results.figure("curve")
    compared = results.compare(again, out / "tiny:base")
    assert list(compared.tests.baseline) == ["tiny"] * 2 and compared.parameters.empty
    assert "tiny, tiny (2) and tiny (3) are identical" in compared.sentence == repr(compared)
    assert (
        compared.sentence
        in compared.to_html(tmp_path / "page.html")
        == (tmp_path / "page.html").read_text("utf-8")
    )
    assert "are identical" in compared._repr_html_()


def test_texts_of_the_shell_are_understood(tiny_file: Path, tmp_path: Path) -> None:
    request = make_request([tiny_file], {"seeds": "0-1", "allow": "my_nets, my_losses"})
    assert request.seeds == (0, 1) and request.allow == ("my_nets", "my_losses")
    arrays = {"seeds": np.arange(2), "variants": {"base"}, "n_seeds": None, "figures": np.array(["svg"])}
    request = make_request([tiny_file], {**arrays, "settings": {"data.batch_size": np.int64(64)}})
    assert (request.seeds, request.variants, request.figures) == ((0, 1), ("base",), ("svg",))
    assert request.load()[0].data.batch_size == 64


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"figures": ["gif"]}, "--figures gif: expected svg"),
        ({"export": ["onx"]}, "--export onx: no such format, did you mean 'onnx'"),
        ({"variants": []}, "--variants: tiny has no variant ''"),
        ({"variants": ["adm"]}, "--variants: tiny has no variant 'adm'"),
        ({"seeds": [0, 0]}, "--seeds 0,0: seed 0 is named twice"),
        ({"seeds": []}, "--seeds : expected seeds such as"),
        ({"seeds": 1.5}, "--seeds 1.5: expected seeds such as"),
        ({"seeds": "x"}, "--seeds x: expected seeds such as"),
        ({"seeds": b"01"}, "--seeds b'01': expected seeds such as"),
        ({"force": "False"}, "force='False': expected True or False"),
        ({"devices": "2"}, "devices='2': expected a whole number"),
        ({"data": 3}, "data=3: expected a path"),
        ({"launcher": 3}, "launcher=3: expected text"),
        ({"settings": [("epochs", 2)]}, "settings: expected a table"),
    ],
)
def test_lists_are_held_against_the_same_as_texts(
    options: dict[str, Any], said: str, tiny_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match=said):
        harness.run(tiny_file, out=tmp_path, **options)


@pytest.mark.parametrize(
    ("status", "settings"),
    [
        (3, {"target.test_accuracy": 1.0}),
        (1, {"schedule.lr_max": 1e6, "schedule.lr_min": 1e5, "loss.l1": 1e6}),
    ],
)
def test_a_loaded_study_is_run_as_it_is_and_tells_how_that_ended(
    status: int, settings: dict[str, float], tiny_file: Path, tmp_path: Path
) -> None:
    study = harness.load_study(tiny_file, settings=["schedule.epochs=2"], seeds=[3])
    results = harness.run(study, settings=settings, out=tmp_path, quiet=True, require_target=True)
    assert results.status == status and list(results.runs.seed) == [3]
    assert status == 1 or list(results.history.epoch) == [1, 2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"worker": 2}, "no option 'worker'; write workers=2"),
        ({"epochs": 2}, "no option 'epochs'; write settings={'schedule.epochs': 2}"),
        ({"seed": 2}, "no option 'seed'; write seeds=2"),
        ({"gpu": 1}, "no option 'gpu'; write device='cuda:1'"),
        ({"n_seeds": 2, "seeds": [1]}, "--seeds and --n-seeds: both choose the seeds"),
        ({"launcher": "serail"}, "did you mean 'serial'"),
        ({"settings": {"schedule.epoch": 2}}, "schedule.epoch"),
        ({"dry_run": True}, "no option 'dry_run'; help.harness.run. lists them"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(options: dict[str, object], said: str, tiny_file: Path) -> None:
    with pytest.raises(StudyError, match=said):
        harness.run(tiny_file, **options)  # type: ignore[arg-type]


def test_a_folder_without_a_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no report"):
        harness.Results(tmp_path)


def test_the_package_costs_nothing_until_it_is_used() -> None:
    code = "import harness, sys; harness.__all__; assert not {'torch', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(getattr(harness, name).__doc__ for name in harness.__all__)
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        harness.nothing_of_ours  # noqa: B018
