"""A trained network on images of one's own: the same outputs as in its run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import harness
from harness.data import load_data
from harness.errors import DataError, RunError


def predict(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.predict", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.fixture
def run(finished_run: Path) -> Path:
    return finished_run


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """The run, to be damaged."""
    return Path(shutil.copytree(run, tmp_path / "tiny" / "runs" / "base" / "seed-0"))


@pytest.fixture
def images() -> Any:
    return load_data("digits", Path(), train_limit=160, test_limit=60).evaluation.images


def test_the_outputs_are_those_of_the_run(run: Path, images: Any) -> None:
    predictor = harness.load(run)
    theirs = np.load(run / "predictions.npz")["logits"]
    np.testing.assert_allclose(predictor.logits(images), theirs, rtol=1e-4, atol=1e-4)
    probabilities = predictor(images)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == theirs.argmax(axis=1)).all()


def test_the_command_names_classes_and_draws_what_spoke_for_them(
    run: Path, images: Any, tmp_path: Path
) -> None:
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    Image.fromarray(images[0]).save(paths[0])
    Image.fromarray(images[1]).resize((64, 64)).save(paths[1])
    done = predict(run, *paths, "--top", 2, "--gradcam", tmp_path / "drawn")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and lines[0].startswith(f"{paths[0]}  ") and lines[0].count("%") == 2
    drawn = Image.open(tmp_path / "drawn" / "one-gradcam.png")
    assert drawn.size == (256, 256) and (tmp_path / "drawn" / "two-gradcam.png").is_file()
    found = [json.loads(line) for line in predict(run, *paths, "--json").stdout.splitlines()]
    assert [entry["image"] for entry in found] == list(map(str, paths))
    expected = harness.load(run)(images[:1])[0]
    assert found[0]["probabilities"] == pytest.approx(
        dict(zip(harness.load(run).classes, expected, strict=True)), rel=1e-4
    )


def test_what_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run's folder"):
        harness.load(tmp_path)
    with pytest.raises(RunError, match="not a finished run"):
        harness.load(tmp_path / "tiny" / "runs" / "base" / "seed-0")


def test_damaged_weights_are_refused(copy: Path) -> None:
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        harness.load(copy)


def test_a_run_without_weights_says_what_to_do_in_a_line(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").unlink()
    done = predict(copy, tmp_path / "any.png")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "model.safetensors: not there; copy it back, or remove its folder" in done.stderr


def test_images_in_16_bits_are_read_as_the_training_images_were(run: Path, tmp_path: Path) -> None:
    deep = np.arange(1024, dtype=np.uint16).reshape(32, 32) * 4
    Image.fromarray(deep).save(tmp_path / "deep.png")
    predictor = harness.load(run)
    assert predictor.bits is None
    assert (predictor.read(tmp_path / "deep.png") == deep[..., None] >> 8).all()
    assert (replace(predictor, bits=12).read(tmp_path / "deep.png") == deep[..., None] >> 4).all()


def test_what_is_no_image_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match="not an image"):
        harness.load(run).read(tmp_path / "text.png")
    with pytest.raises(DataError, match="missing.png: no such file$"):
        harness.load(run).read(tmp_path / "missing.png")
    with pytest.raises(DataError, match="not an image file$"):
        harness.load(run).read(tmp_path)
    for arguments in ((tmp_path / "text.png",), (tmp_path / "missing.png",), ()):
        done = predict(run, *arguments)
        assert done.returncode == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
