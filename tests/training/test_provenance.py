"""Where a run's numbers come from."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.data import load_data
from harness.device import usable_cores
from harness.plan import resolve_variant
from harness.study_file.config import Study
from harness.training import provenance as module
from harness.training.provenance import git_state, hardware, provenance, versions


def of(study: Study, root: Path) -> dict[str, Any]:
    data = load_data("digits", root, train_limit=160, test_limit=60)
    return provenance(resolve_variant(study, "base", data, device="cpu"), data, 3)


def test_it_says_all_that_is_needed_to_judge_a_number(tiny: Callable[..., Study], tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    found = of(tiny(("precision", "float32")), tmp_path)
    assert found["harness"] == harness.__version__
    assert (found["device"], found["precision"], found["threads"]) == ("cpu", "float32", 3)
    assert found["data"]["source"] == "digits" and found["data"]["evaluated_on"] == "test"
    assert (found["data"]["train_images"], found["data"]["evaluation_images"]) == (160, 60)
    assert before <= datetime.fromisoformat(found["started"]) <= datetime.now(UTC)
    json.dumps(found, allow_nan=False)


def test_it_says_which_way_the_batches_were_made(tiny: Callable[..., Study], tmp_path: Path) -> None:
    assert of(tiny(), tmp_path)["batches"] == "tensor"
    blurred = tiny(("augment.train", [{"transform": "GaussianBlur", "p": 0.5}]))
    assert of(blurred, tmp_path)["batches"] == "albumentations"


def test_versions_are_those_installed() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == version("torch") and found["pytorch-ignite"] == version("pytorch-ignite")


def test_hardware_is_this_machines() -> None:
    found = hardware("cpu")
    assert (
        found["host"] == platform.node() and found["cores"] == usable_cores() and found["accelerator"] is None
    )
    assert found["processor"] and found["processor"] == found["processor"].strip()
    if hasattr(os, "sysconf"):
        assert found["memory_bytes"] > 1 << 28


def checkout(folder: Path) -> str:
    """A repository with one commit, laid out like ours; its commit."""
    (folder / "harness").mkdir(parents=True)
    (folder / "harness" / "__init__.py").write_text("")
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True, capture_output=True)
    found = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    return found.stdout.strip()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The harness as if it ran from a folder of ours."""
    folder = tmp_path / "checkout"
    monkeypatch.setattr(module.harness, "__file__", str(folder / "harness" / "__init__.py"))
    git_state.cache_clear()
    yield folder
    git_state.cache_clear()


def test_a_clean_checkout_is_named_by_its_commit(elsewhere: Path) -> None:
    commit = checkout(elsewhere)
    assert git_state() == {"commit": commit, "dirty": False}


def test_changes_to_tracked_files_make_it_dirty_and_new_files_do_not(elsewhere: Path) -> None:
    checkout(elsewhere)
    (elsewhere / "results.txt").write_text("new")
    state = git_state()
    assert state is not None and state["dirty"] is False
    git_state.cache_clear()
    (elsewhere / "harness" / "__init__.py").write_text("changed = True\n")
    state = git_state()
    assert state is not None and state["dirty"] is True


def test_outside_a_checkout_there_is_no_commit(elsewhere: Path) -> None:
    assert git_state() is None


def test_a_broken_checkout_is_none_and_no_error(elsewhere: Path) -> None:
    (elsewhere / ".git").mkdir(parents=True)
    assert git_state() is None


def test_without_git_there_is_no_commit_and_no_error(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout(elsewhere)
    monkeypatch.setenv("PATH", "")
    assert git_state() is None
