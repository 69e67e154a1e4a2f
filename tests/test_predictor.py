"""A trained network on images of one's own: the same outputs as in its run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import harness
from harness.data import load_data
from harness.errors import DataError, RunError


@pytest.fixture
def copy(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run, to be damaged."""
    return Path(shutil.copytree(finished_run, tmp_path / "tiny" / "runs" / "base" / "seed-0"))


def test_the_outputs_are_those_of_the_run(finished_run: Path) -> None:
    images = load_data("digits", Path(), train_limit=160, test_limit=60).evaluation.images
    predictor = harness.load(finished_run)
    theirs = np.load(finished_run / "predictions.npz")["logits"]
    np.testing.assert_allclose(predictor.logits(images), theirs, rtol=1e-4, atol=1e-4)
    probabilities = predictor(images)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == theirs.argmax(axis=1)).all()


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


def test_images_in_16_bits_are_read_as_the_training_images_were(finished_run: Path, tmp_path: Path) -> None:
    deep = np.arange(1024, dtype=np.uint16).reshape(32, 32) * 4
    Image.fromarray(deep).save(tmp_path / "deep.png")
    predictor = harness.load(finished_run)
    assert predictor.bits is None
    assert (predictor.read(tmp_path / "deep.png") == deep[..., None] >> 8).all()
    assert (replace(predictor, bits=12).read(tmp_path / "deep.png") == deep[..., None] >> 4).all()


def test_what_is_no_image_is_refused(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match="not an image"):
        harness.load(finished_run).read(tmp_path / "text.png")
    with pytest.raises(DataError, match="missing.png: no such file$"):
        harness.load(finished_run).read(tmp_path / "missing.png")
    with pytest.raises(DataError, match="not an image file$"):
        harness.load(finished_run).read(tmp_path)
