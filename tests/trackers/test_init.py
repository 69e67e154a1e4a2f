"""A tracker shows a study and never stops it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from harness.errors import StudyError
from harness.study_file.config import Study
from harness.trackers import TRACKERS, GuardedTracker, check_tracker, get_tracker
from tests.conftest import Command
from tests.training.tiny_runs import rows, run

TOOL = "from harness.trackers import Tracker\nclass Tool(Tracker):"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a package that has one module and offers trackers, as pip leaves it."""

    def install(name: str, code: str, **trackers: str) -> None:
        site = tmp_path / "site"
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{name}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        points = "".join(f"{tracker} = {path}\n" for tracker, path in trackers.items())
        (info / "entry_points.txt").write_text(f"[harness.trackers]\n{points}")
        monkeypatch.syspath_prepend(site)

    return install


@pytest.mark.parametrize("name", ["tensorbord", "", "serial"])
def test_an_unknown_tracker_is_refused_with_those_there_are(name: str, package: Callable[..., None]) -> None:
    package("theirs", "", their_tool="theirs:Theirs")
    with pytest.raises(StudyError) as refused:
        check_tracker(name)
    known = ", ".join(sorted([*TRACKERS, "their_tool"]))
    assert str(refused.value) == f"--tracker {name}: not a tracker; choose one of {known}"


def test_the_tracker_of_the_documentation_is_installed_and_logs_what_the_history_says(
    package: Callable[..., None], tiny: Callable[..., Study], tmp_path: Path
) -> None:
    code = Path("docs/trackers.md").read_text("utf-8").partition("```python\n")[2].partition("```")[0]
    package("lines_of_json", code, lines="lines_of_json:Lines")
    check_tracker("lines")
    run(tiny(("data.batch_size", 8)), tmp_path, tracker=get_tracker("lines"))
    logged = [json.loads(line) for line in (tmp_path / "tiny" / "base-0.jsonl").read_text().splitlines()]
    history = rows(tmp_path / "tiny" / "runs" / "base" / "seed-0" / "history.csv")
    epochs = [line for line in logged if "epoch" in line]
    for name in ("epoch", "epoch/train_loss", "epoch/eval_accuracy"):
        expected = [float(row[name.removeprefix("epoch/")]) for row in history]
        assert [line[name] for line in epochs] == pytest.approx(expected)
    assert [line["step"] for line in logged if "step/loss" in line] == [20, 40, 60]
    assert logged[-1]["accuracy"] == pytest.approx(epochs[-1]["epoch/eval_accuracy"])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import not_there", "No module named 'not_there'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def Tool(): pass", "theirs:Tool is not a subclass of harness.trackers.Tracker"),
        ("class Tool: pass", "theirs:Tool is not a subclass of harness.trackers.Tracker"),
        ("", "module 'theirs' has no attribute 'Tool'"),
        (f"{TOOL}\n    def __init__(self): raise OSError('a\\nb')", "OSError: a b"),
        (f"{TOOL}\n    def check(self): raise OSError('no server')", "OSError: no server"),
    ],
)
def test_a_broken_package_is_one_line(
    package: Callable[..., None], monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    package("theirs", code, tool="theirs:Tool")
    with pytest.raises(StudyError) as refused:
        check_tracker("tool")
    message = str(refused.value)
    assert message.startswith("--tracker tool: ") and words in message and "\n" not in message


def test_a_package_cannot_replace_a_tracker_of_ours(package: Callable[..., None]) -> None:
    pytest.importorskip("tensorboard")
    package("thief", "1 / 0", tensorboard="thief:Tool")
    check_tracker("tensorboard")


def test_a_logger_without_handlers_in_its_module_is_said_and_the_run_goes_on() -> None:
    class Bare:
        def logger(self, *of_a_run: Any) -> object:
            return object()

    said: list[str] = []
    nothing: Any = None
    tracker = GuardedTracker("bare", cast(Any, Bare()))
    tracker.follow(nothing, nothing, nothing, nothing, [], said.append)
    tracker.end(nothing, {}, said.append)
    (warning,) = said
    assert warning.startswith("warning: --tracker bare: AttributeError: ")


def test_a_tracker_whose_package_is_not_installed_says_how_to_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.messages.find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"pip install 'ignite-harness\[tensorboard\]'"):
        check_tracker("tensorboard")


@pytest.mark.slow
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
    said = done.stderr.count("continues without it")
    assert said == 1 if launcher == ("serial",) else said >= 1


def test_the_package_of_every_tracker_has_an_extra_of_its_name() -> None:
    extras = Path("setup.cfg").read_text("utf-8").partition("extras_require]")[2]
    packages = [package for _, package in TRACKERS.values() if package is not None]
    assert packages and all(f"\n{package} =\n    {package} " in extras for package in packages)
