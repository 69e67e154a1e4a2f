"""A tracker shows a study and never stops it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from harness.errors import StudyError
from harness.trackers import TRACKERS, GuardedTracker, check_tracker
from tests.conftest import Command


@pytest.mark.parametrize("name", ["tensorbord", "wandb", "", "serial"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(StudyError, match=f"--tracker {name}: not a tracker"):
        check_tracker(name)


def test_a_tracker_may_need_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRACKERS, "lines", ("lines:Lines", None))
    check_tracker("lines")


def test_a_logger_without_handlers_in_its_module_is_said_and_the_run_goes_on() -> None:
    class Bare:
        def logger(self, *of_a_run: Any) -> object:
            return object()

    said: list[str] = []
    nothing: Any = None
    tracker = GuardedTracker("bare", cast(Any, Bare()))
    tracker.follow(nothing, nothing, nothing, nothing, said.append)
    tracker.end(nothing, {}, said.append)
    (warning,) = said
    assert warning.startswith("warning: --tracker bare: AttributeError: ")


def test_a_tracker_that_is_not_installed_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.messages.find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"pip install 'ignite-harness\[tensorboard\]'"):
        check_tracker("tensorboard")


@pytest.mark.parametrize("launcher", [("serial",), ("process", "--workers", "2")])
def test_a_tracker_that_fails_is_said_and_the_study_goes_on(
    tiny_file: Path, command: Command, launcher: tuple[str, ...], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "out/tiny").mkdir(parents=True)
    (tmp_path / "out/tiny/tensorboard").write_text("in the way")
    done = command(tiny_file, "--out", "out", "--tracker", "tensorboard", "--launcher", *launcher)
    assert done.returncode == 0, done.stderr
    assert "warning: --tracker tensorboard: " in done.stderr
    said = done.stderr.count("goes on without it")
    assert said == 1 if launcher == ("serial",) else said >= 1


def test_the_package_of_every_tracker_has_an_extra_of_its_name() -> None:
    extras = Path("setup.cfg").read_text("utf-8").partition("extras_require]")[2]
    packages = [package for _, package in TRACKERS.values() if package is not None]
    assert packages and all(f"\n{package} =\n    {package} " in extras for package in packages)
