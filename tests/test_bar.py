"""Bars on a real pseudo terminal, whose size changes as it likes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events

from harness.bar import Bar, no_bar_left, usable_columns
from harness.training.progress import attach_bar, say

pty = pytest.importorskip("pty", reason="needs pseudo terminals")


class Screen:
    """A terminal: its other end is ``stream``; ``lines`` are what it shows.

    A line that is too long goes on in the next one. A narrower terminal cuts what is on it.
    """

    def __init__(self, columns: int, encoding: str = "utf-8") -> None:
        self.ours, theirs = pty.openpty()
        self.stream = os.fdopen(theirs, "w", encoding=encoding)
        self.lines, self.at, self.encoding = [""], 0, encoding
        self.resize(columns)

    def resize(self, columns: int) -> None:
        import fcntl
        import struct
        import termios

        self.read()
        self.columns = columns
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.lines = [line[:columns] for line in self.lines]
        self.at = min(self.at, columns)

    def read(self) -> None:
        print(end="\0", file=self.stream, flush=True)  # a mark to wait for: the kernel hands text over later
        content = b""
        while not content.endswith(b"\0"):
            content += os.read(self.ours, 1 << 20)
        text = content[:-1].decode(self.encoding)
        assert "\x1b" not in text, "nothing that a plain terminal does not know"
        for char in text:
            if char == "\r":
                self.at = 0
            elif char == "\n":
                self.lines.append("")
            else:
                if self.at == self.columns:
                    self.lines.append("")
                    self.at = 0
                line = self.lines[-1].ljust(self.at)
                self.lines[-1] = line[: self.at] + char + line[self.at + 1 :]
                self.at += 1

    def shown(self) -> list[str]:
        self.read()
        return [line.rstrip() for line in self.lines]

    def close(self) -> None:
        self.stream.close()
        os.close(self.ours)


@contextmanager
def screen(columns: int, encoding: str = "utf-8") -> Iterator[Screen]:
    """A terminal in the place of stderr."""
    usual, made = sys.stderr, Screen(columns, encoding)
    sys.stderr = made.stream
    try:
        yield made
    finally:
        sys.stderr = usual
        made.close()


widths = st.one_of(st.sampled_from([40, 60, 80, 120]), st.integers(2, 200))


@settings(deadline=None, max_examples=30)
@given(first=widths, sizes=st.lists(widths, max_size=6), encoding=st.sampled_from(["utf-8", "ascii"]))
def test_a_bar_takes_one_line_of_any_terminal_and_leaves_nothing(
    first: int, sizes: list[int], encoding: str
) -> None:
    with screen(first, encoding) as seen, no_bar_left():
        trainer = Engine(lambda engine, batch: None)
        attach_bar(trainer, "onecycle/a_long_variant/seed-0", say)

        @trainer.on(Events.ITERATION_COMPLETED(every=10))
        def look(engine: Engine) -> None:
            for bar in getattr(Bar, "_instances", ()):
                bar.refresh()
            assert len(seen.shown()) == 1 and len(seen.shown()[0]) < max(seen.columns, 2)
            if sizes:
                seen.resize(sizes.pop())

        trainer.run(range(100), max_epochs=1)
        assert seen.shown() == [""]


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_bar_shows_its_run_and_how_far_it_is_and_lines_stay_above_it(columns: int) -> None:
    with screen(columns) as seen:
        trainer = Engine(lambda engine, batch: None)
        attach_bar(trainer, "study/base/seed-0", say)
        trainer.add_event_handler(Events.ITERATION_COMPLETED(once=20), lambda: say("a line"))
        found: list[list[str]] = []
        trainer.add_event_handler(Events.ITERATION_COMPLETED(once=25), lambda: found.append(seen.shown()))
        trainer.run(range(30), max_epochs=1)
        (above, bar) = found[0]
        assert above == "a line" and bar.startswith("study/base/seed-0") and "/30]" in bar
        assert seen.shown() == ["a line", ""]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_work_that_is_ended_early_leaves_no_bar(error: type[BaseException]) -> None:
    def stop() -> None:
        raise error

    with screen(80) as seen:
        trainer = Engine(lambda engine, batch: None)
        attach_bar(trainer, "study/base/seed-0", say)
        trainer.add_event_handler(Events.ITERATION_COMPLETED(once=25), stop)
        with pytest.raises(error), no_bar_left():  # whose traceback keeps engine and bar alive
            trainer.run(range(30), max_epochs=1)
        assert seen.shown() == [""]


def test_without_a_terminal_there_is_room_for_the_usual_width() -> None:
    with open(os.devnull, "w") as stream:
        assert usable_columns(stream) == 79
    assert usable_columns(stream) == 79, "closed"
    with screen(0) as seen:
        assert usable_columns(seen.stream) == 79, "a terminal that does not know its size"
