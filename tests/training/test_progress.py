"""What is told of a run's progress: the line of an epoch, and how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from ignite.engine import Engine, Events

from harness.messages import about, duration
from harness.training.log import Epoch
from harness.training.progress import (
    Progress,
    after_epoch,
    report,
    say,
    silent,
    watch,
    within_run,
)

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


@dataclass
class Listening:
    """A listener that keeps what it hears."""

    lines: list[str] = field(default_factory=list)
    heard: list[Progress] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        self.lines.append(line)

    def hear(self, progress: Progress) -> None:
        self.heard.append(progress)


def test_an_epochs_line_labels_each_number() -> None:
    progress = after_epoch(24, 98, ROW)
    assert progress.line == "epoch  3 of 24  train loss 0.512  accuracy 93.2 %  lr 0.012   3 min"
    assert (progress.share, progress.steps, progress.seconds) == (3 / 24, 98, 209.0)
    assert "train loss 1.5e+16  accuracy" in after_epoch(24, 98, replace(ROW, train_loss=1.5e16)).line
    assert "hold-out accuracy 93.2 %" in after_epoch(24, 98, ROW, "hold-out").line
    averaged = replace(ROW, raw_accuracy=0.9, raw_loss=0.5)
    assert "accuracy 93.2 % (not averaged 90.0 %)" in after_epoch(24, 98, averaged).line


def test_the_numbers_of_epochs_stand_below_each_other() -> None:
    rows = [
        replace(ROW, epoch=epoch, lr=lr, eval_accuracy=accuracy, train_loss=loss)
        for epoch, lr, accuracy, loss in ((1, 1.7e-5, 0.1, 2.3), (10, 0.4, 1.0, 0.002), (100, 0.05, 0.5, 0.5))
    ]
    lines = [after_epoch(100, 98, row).line for row in rows]
    for label in ("train loss", "accuracy", "lr", " %", "3 min"):
        assert len({line.index(label) for line in lines}) == 1, label


@pytest.mark.parametrize(
    ("seconds", "exactly", "roughly"),
    [
        (0.4, "0.4 s", "1 s"),
        (12.3, "12 s", "10 s"),
        (99, "99 s", "2 min"),
        (150, "2 min", "2 min"),
        (6000, "1.7 h", "1.7 h"),
    ],
)
def test_a_duration_is_written_in_the_unit_that_fits(seconds: float, exactly: str, roughly: str) -> None:
    assert (duration(seconds), about(seconds)) == (exactly, roughly)


@pytest.mark.parametrize(("speak", "said"), [(say, "hello\n"), (silent, "")])
def test_a_line_is_said_on_stderr_or_not_at_all_and_stdout_stays_free(
    capsys: pytest.CaptureFixture[str], speak: Callable[[str], None], said: str
) -> None:
    speak("hello")
    assert capsys.readouterr() == ("", said)


def test_a_listener_hears_progress_and_any_other_function_is_given_the_lines_of_epochs() -> None:
    listening, lines = Listening(), list[str]()
    for progress in (Progress(0.1, "epoch 1 of 8"), after_epoch(24, 98, ROW)):
        report(listening, "study/base/seed-0", progress)
        report(lines.append, "study/base/seed-0", progress)
    assert [progress.share for progress in listening.heard] == [0.1, 3 / 24] and not listening.lines
    assert len(lines) == 1 and lines[0].startswith("study/base/seed-0  epoch  3 of 24  train loss")


def test_a_listener_hears_of_the_steps_within_an_epoch_a_few_times_a_second() -> None:
    listening, trainer = Listening(), Engine(lambda engine, batch: time.sleep(0.02))
    watch(trainer, listening, within_run)
    trainer.run(range(40), max_epochs=2)
    assert 2 <= len(listening.heard) <= 4
    shares = [progress.share for progress in listening.heard]
    assert shares == sorted(shares) and 0 < shares[0] < shares[-1] <= 1
    assert listening.heard[0].place == "epoch 1 of 2" and listening.heard[-1].place == "epoch 2 of 2"


def test_without_a_listener_nothing_is_attached() -> None:
    trainer = Engine(lambda engine, batch: None)
    watch(trainer, silent, within_run)
    assert not trainer.has_event_handler(silent, Events.ITERATION_COMPLETED)
    assert not trainer._event_handlers[Events.ITERATION_COMPLETED]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_terminal_that_went_away_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        say("lost")
        say("lost as well")
        gone.flush()
