"""What a person sees of a run."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events

from harness.training.log import Epoch
from harness.training.progress import attach_bar, duration, epoch_line, say, silent

ROW = Epoch(
    variant="base",
    seed=0,
    epoch=3,
    lr=0.0123456,
    train_loss=0.51234,
    train_accuracy=0.8,
    eval_loss=0.41,
    eval_accuracy=0.93175,
    train_seconds=199.0,
    eval_seconds=10.0,
    images_per_second=251.6,
)


def test_an_epochs_line_has_rate_losses_accuracies_and_speed() -> None:
    assert epoch_line("onecycle/base/seed-0", 24, ROW) == (
        "onecycle/base/seed-0  epoch  3/24  lr 0.01235  train 0.5123 80.00%  test 0.4100 93.17%  "
        "252 images/s  73 min left"
    )
    assert epoch_line("x", 3, ROW).endswith("images/s")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (150, "2 min"), (6000, "1.7 h")])
def test_a_duration_is_said_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_epochs_line_up_whatever_their_number() -> None:
    lines = [epoch_line("x", 100, replace(ROW, epoch=epoch)) for epoch in (1, 10, 100)]
    assert len({line.index("images/s") for line in lines}) == 1


@pytest.mark.parametrize(("speak", "said"), [(say, "hello\n"), (silent, "")])
def test_a_line_is_said_on_stderr_or_not_at_all_and_stdout_stays_free(
    capsys: pytest.CaptureFixture[str], speak: Callable[[str], None], said: str
) -> None:
    speak("hello")
    assert capsys.readouterr() == ("", said)


def engine() -> Engine:
    return Engine(lambda engine, batch: {"loss": torch.tensor(1.0)})


def test_in_a_log_there_is_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = engine()
    attach_bar(trainer, "x", say)
    trainer.run(range(30), max_epochs=1)
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    """A stderr that says it is one."""

    def isatty(self) -> bool:
        return True


def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal; not as a fixture, after which pytest sets its own stderr."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def test_on_a_terminal_there_is_a_bar_with_its_run_and_lines_stay_whole_above_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = watched(monkeypatch)
    trainer = engine()
    attach_bar(trainer, "onecycle/base/seed-0", say)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=20), lambda: say("a line"))
    trainer.run(range(30), max_epochs=2)
    shown = terminal.getvalue()
    assert "\ronecycle/base/seed-0" in shown and "/30]" in shown
    before, after = shown.split("a line\n")
    assert before.endswith("\r") and after.startswith("\r"), "neither glued to the bar"


def test_where_lines_go_elsewhere_a_terminal_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    trainer = engine()
    attach_bar(trainer, "x", silent)
    trainer.run(range(30), max_epochs=1)
    assert terminal.getvalue() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_terminal_that_went_away_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        say("lost")
        say("lost as well")
        gone.flush()


def test_the_bar_of_an_epoch_that_is_cut_short_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    short = engine()
    attach_bar(short, "range test", say)
    short.add_event_handler(Events.ITERATION_COMPLETED(once=15), lambda: short.terminate())
    short.run(range(30), max_epochs=1)
    before = len(terminal.getvalue())
    say("the next line")
    assert "range test" in terminal.getvalue()[:before]
    assert "range test" not in terminal.getvalue()[before:]
