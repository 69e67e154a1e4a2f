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
from harness.device import usable_cores
from harness.plan import resolve_variant
from harness.study_file.config import Study
from harness.training.provenance import git_state, hardware, provenance, versions
from tests.training.tiny_runs import data_of


def of(study: Study) -> dict[str, Any]:
    data = data_of(study)
    return provenance(resolve_variant(study, "base", data, device="cpu"), data, 3)


def test_it_says_all_that_is_needed_to_judge_a_number(tiny: Callable[..., Study]) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    origin = of(tiny())
    assert origin["harness"] == harness.__version__
    assert (origin["device"], origin["precision"], origin["threads"]) == ("cpu", "float32", 3)
    assert origin["data"]["source"] == "digits" and origin["data"]["evaluated_on"] == "test"
    assert (origin["data"]["train_images"], origin["data"]["evaluation_images"]) == (160, 60)
    assert before <= datetime.fromisoformat(origin["started"]) <= datetime.now(UTC)
    json.dumps(origin, allow_nan=False)


def test_it_says_which_way_the_batches_were_made(tiny: Callable[..., Study]) -> None:
    assert of(tiny())["batches"] == "tensor"
    blurred = tiny(("augment.train", [{"transform": "GaussianBlur", "p": 0.5}]))
    assert of(blurred)["batches"] == "albumentations"


def test_versions_are_those_installed() -> None:
    assert versions()["python"] == platform.python_version()
    assert all(versions()[name] == version(name) for name in ("torch", "pytorch-ignite"))


def test_hardware_is_this_machines() -> None:
    here = hardware("cpu")
    assert (here["host"], here["cores"], here["accelerator"]) == (platform.node(), usable_cores(), None)
    assert here["processor"] and here["processor"] == here["processor"].strip()
    if hasattr(os, "sysconf"):
        assert here["memory_bytes"] > 1 << 28


def checkout(folder: Path) -> str:
    """A repository with one commit, laid out like ours; its commit."""
    (folder / "harness").mkdir(parents=True)
    (folder / "harness" / "__init__.py").write_text("")
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], [*who, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True, capture_output=True)
    return (folder / ".git" / "refs" / "heads" / "main").read_text().strip()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The harness as if it ran from a folder of ours."""
    folder = tmp_path / "checkout"
    monkeypatch.setattr(harness, "__file__", str(folder / "harness" / "__init__.py"))
    git_state.cache_clear()
    yield folder
    git_state.cache_clear()


def test_a_checkout_is_named_by_its_commit_and_dirty_where_tracked_files_have_changed(
    elsewhere: Path,
) -> None:
    commit = checkout(elsewhere)
    (elsewhere / "results.txt").write_text("new, not tracked")
    assert git_state() == {"commit": commit, "dirty": False}
    git_state.cache_clear()
    (elsewhere / "harness" / "__init__.py").write_text("changed = True\n")
    assert git_state() == {"commit": commit, "dirty": True}


@pytest.mark.parametrize("broken", [False, True])
def test_outside_a_checkout_and_in_a_broken_one_there_is_no_commit(elsewhere: Path, broken: bool) -> None:
    if broken:
        (elsewhere / ".git").mkdir(parents=True)
    assert git_state() is None


def test_without_git_there_is_no_commit_and_no_error(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout(elsewhere)
    monkeypatch.setenv("PATH", "")
    assert git_state() is None
