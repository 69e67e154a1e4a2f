"""``python -m harness.predict``: classes and maps of images on the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import harness
from harness.data import load_data


def predict(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.predict", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.slow
def test_the_command_names_classes_and_draws_what_spoke_for_them(finished_run: Path, tmp_path: Path) -> None:
    images = load_data("digits", Path(), train_limit=160, test_limit=60).evaluation.images
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    Image.fromarray(images[0]).save(paths[0])
    Image.fromarray(images[1]).resize((64, 64)).save(paths[1])
    done = predict(finished_run, *paths, "--top", 2, "--gradcam", tmp_path / "drawn")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and lines[0].startswith(f"{paths[0]}  ") and lines[0].count("%") == 2
    drawn = Image.open(tmp_path / "drawn" / "one-gradcam.png")
    assert drawn.size == (256, 256) and (tmp_path / "drawn" / "two-gradcam.png").is_file()
    found = [json.loads(line) for line in predict(finished_run, *paths, "--json").stdout.splitlines()]
    assert [entry["image"] for entry in found] == list(map(str, paths))
    expected = harness.load(finished_run)(images[:1])[0]
    assert found[0]["probabilities"] == pytest.approx(
        dict(zip(harness.load(finished_run).classes, expected, strict=True)), rel=1e-4
    )


def test_a_run_without_weights_says_what_to_do_in_a_line(finished_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny" / "runs" / "base" / "seed-0"
    shutil.copytree(finished_run, copy)
    (copy / "model.safetensors").unlink()
    done = predict(copy, tmp_path / "any.png")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "model.safetensors: not there; copy it back, or remove its folder" in done.stderr


def test_what_is_no_image_is_one_line(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    for arguments in ((tmp_path / "text.png",), (tmp_path / "missing.png",), ()):
        done = predict(finished_run, *arguments)
        assert done.returncode == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
