"""Exported networks: loaded back by what reads them, they give the run's own outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml  # type: ignore[import-untyped]

import harness
from harness.data import load_data
from harness.errors import StudyError
from harness.export import FORMATS, export, parse_exports
from harness.models.weights import load_weights
from harness.predictor import run_folder
from tests.conftest import TINY_TOML, Command


@pytest.fixture(scope="module")
def exported(finished_run: Path) -> Path:
    """A finished run's network in every format."""
    return export(run_folder(finished_run), list(FORMATS))


@pytest.fixture(scope="module")
def batch(finished_run: Path) -> torch.Tensor:
    images = load_data("digits", Path(), train_limit=160, test_limit=60).evaluation.images
    return harness.load(finished_run).prepare(images).contiguous()


@pytest.fixture(scope="module")
def logits(finished_run: Path, batch: torch.Tensor) -> Any:
    with torch.no_grad():
        return harness.load(finished_run).model(batch).numpy()


def test_everything_that_was_asked_for_is_there_and_replaces_an_earlier_export(
    finished_run: Path, tmp_path: Path
) -> None:
    study = tmp_path / "tiny"
    shutil.copytree(finished_run.parents[2], study, ignore=shutil.ignore_patterns("exports"))
    for formats in (list(FORMATS), ["safetensors"]):
        folder = export(run_folder(study / "runs" / "base" / "seed-0"), formats)
        assert folder == study / "exports" / "base" / "seed-0"
        files = {FORMATS[name].file for name in formats}
        assert {path.name for path in folder.iterdir()} == {"config.json", "README.md", *files}


def test_safetensors_load_back_exactly(exported: Path, batch: torch.Tensor, logits: Any) -> None:
    model, network = load_weights(exported / "model.safetensors")
    with torch.no_grad():
        np.testing.assert_array_equal(model(batch).numpy(), logits)
    assert network.classes == tuple("0123456789")


@pytest.mark.parametrize("images", [1, 60])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_loads_back_as_its_card_says(
    name: str,
    images: int,
    exported: Path,
    batch: torch.Tensor,
    logits: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert FORMATS[name].use in (exported / "README.md").read_text("utf-8")
    monkeypatch.chdir(exported)
    some = batch[:images]
    names = {"images": some.numpy() if name == "onnx" else some}
    with torch.no_grad():
        exec(FORMATS[name].use, names)
    np.testing.assert_allclose(names["logits"], logits[:images], rtol=1e-4, atol=1e-4)


def test_the_card_says_what_the_run_and_the_study_say(finished_run: Path, exported: Path) -> None:
    card = (exported / "README.md").read_text("utf-8")
    _, head, body = card.split("---\n", 2)
    accuracy = json.loads((finished_run / "run.json").read_text())["metrics"]["test_accuracy"]
    results = yaml.safe_load(head)["model-index"][0]["results"][0]
    assert results["metrics"] == [{"type": "accuracy", "value": accuracy}]
    assert f"{100 * accuracy:.2f} %" in body and harness.Results(finished_run.parents[2]).verdict[:20] in body
    repeat = json.loads((finished_run.parents[2] / "report.json").read_text())["repeat"]
    for said in ("## Limits", "predicts only these classes: 0, 1, 2", "run once", 'name = "tiny"', *repeat):
        assert said in body
    assert "±" not in body and "DATA" not in body  # of one run, on embedded images
    config = json.loads((exported / "config.json").read_text())
    assert config["input"]["shape"] == ["batch", 3, 32, 32] and config["output"]["shape"] == ["batch", 10]


@pytest.mark.slow
def test_runs_that_are_there_are_exported_with_their_report(
    finished_run: Path, tiny_file: Path, tmp_path: Path, command: Command
) -> None:
    copied = tmp_path / "results" / "tiny"
    shutil.copytree(finished_run.parents[2], copied, ignore=shutil.ignore_patterns("exports"))
    done = command(tiny_file, "--report-only", "--export", "torchscript")
    assert done.stdout.count("exported: ") == 1 and done.returncode == 0, done.stderr
    assert (copied / "exports" / "base" / "seed-0" / "model.pt").is_file()


@pytest.mark.slow
def test_a_card_follows_the_report_when_a_seed_is_added(
    finished_run: Path, tiny_file: Path, tmp_path: Path, command: Command
) -> None:
    copied = tmp_path / "results" / "tiny"
    shutil.copytree(finished_run.parents[2], copied, ignore=shutil.ignore_patterns("exports"))
    assert command(tiny_file, "--seeds", "0", "--report-only", "--export", "safetensors").returncode == 0
    card = copied / "exports" / "base" / "seed-0" / "README.md"
    assert "n = 1 (seeds 0)" in card.read_text("utf-8")
    assert command(tiny_file, "--seeds", "1", "--device", "cpu").returncode == 0
    study = (copied / "study.toml").read_text("utf-8")
    assert "seeds = [\n    0,\n    1,\n]" in study
    assert "n = 2 (seeds 0-1)" in card.read_text("utf-8") and study.strip() in card.read_text("utf-8")


def test_what_cannot_be_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StudyError, match="--export onx: no such format, did you mean 'onnx'"):
        parse_exports("onx")
    monkeypatch.setattr("harness.messages.find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"onnx is not installed; pip install 'ignite-harness\[onnx\]'"):
        parse_exports("safetensors,onnx")
    assert parse_exports("safetensors, safetensors") == ["safetensors"]


def test_a_network_that_cannot_be_exported_is_one_line(tmp_path: Path, command: Command) -> None:
    (tmp_path / "odd.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.head = torch.nn.Linear(3, classes)\n"
        "    def forward(self, images):\n"
        "        if torch.is_tensor(images) and torch.jit.is_tracing():\n"
        "            raise TypeError('not me')\n"
        "        return self.head(images.mean((2, 3)))\n"
    )
    text = TINY_TOML.replace('{ name = "custom_resnet", width = 2 }', '{ name = "odd:Net" }')
    (tmp_path / "odd.toml").write_text(text.replace('["layer1", "res2"]', "[]"))
    done = command("odd.toml", "--allow", "odd", "--seeds", "0", "--export", "torchscript")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: tiny/base/seed-0: cannot be exported to torchscript: TypeError: not me" in done.stderr
    assert done.stdout.startswith("tiny: ")


@pytest.mark.slow
def test_a_run_without_weights_is_named_and_the_others_are_exported(
    tmp_path: Path, tiny_file: Path, command: Command
) -> None:
    assert command(tiny_file).returncode == 0
    (tmp_path / "results/tiny/runs/base/seed-0/model.safetensors").unlink()
    done = command(tiny_file, "--report-only", "--export", "safetensors")
    assert done.returncode == 1
    assert "error: " in done.stderr and "seed-0/model.safetensors: not there; copy it back" in done.stderr
    assert not (tmp_path / "results/tiny/exports/base/seed-0").exists()
    assert (tmp_path / "results/tiny/exports/base/seed-1/model.safetensors").is_file()
