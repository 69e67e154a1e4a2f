"""Rows that are drawn again and again, on a real pseudo terminal that an emulator reads."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.bar import Bar, Row, above_rows, count_up, open_screen, usable_size

pty = pytest.importorskip("pty", reason="needs pseudo terminals")
pyte = pytest.importorskip("pyte", reason="reads what a terminal shows")

BAR = Bar("5 of 12 runs", 0.4, "14 min left", "base/seed-0 epoch 3 of 8")


class Terminal:
    """A terminal: its other end is ``stream``; ``lines`` are what it shows, without empty ones at the end."""

    def __init__(self, columns: int, encoding: str = "utf-8") -> None:
        self.ours, theirs = pty.openpty()
        self.stream = os.fdopen(theirs, "w", encoding=encoding, errors="replace")
        self.screen = pyte.Screen(max(columns, 1), 24)
        self.reader, self.encoding = pyte.Stream(self.screen), encoding
        self.resize(columns)

    def resize(self, columns: int) -> None:
        """Become wider or narrower; narrower, it cuts what it shows."""
        import fcntl
        import struct
        import termios

        self.read()
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.screen.resize(24, max(columns, 1))

    def read(self) -> str:
        self.stream.write("\0")  # a mark to wait for: the kernel hands text over later
        self.stream.flush()
        content = b""
        while not content.endswith(b"\0"):
            content += os.read(self.ours, 1 << 20)
        text = content[:-1].decode(self.encoding)
        self.reader.feed(text)
        return text

    @property
    def lines(self) -> list[str]:
        self.read()
        lines = [line.rstrip() for line in self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def close(self) -> None:
        self.stream.close()
        os.close(self.ours)


@contextmanager
def terminal(columns: int, encoding: str = "utf-8") -> Iterator[Terminal]:
    """A terminal in the place of stderr."""
    usual, made = sys.stderr, Terminal(columns, encoding)
    sys.stderr = made.stream
    try:
        yield made
    finally:
        sys.stderr = usual
        made.close()


widths = st.one_of(st.sampled_from([40, 60, 80, 120]), st.integers(2, 200))
counts = st.integers(1, 6)


@settings(deadline=None, max_examples=20)
@given(
    first=widths,
    sizes=st.lists(st.tuples(widths, counts), max_size=6),
    encoding=st.sampled_from(["utf-8", "ascii"]),
)
def test_rows_take_a_line_each_at_any_width_and_leave_nothing(
    first: int, sizes: list[tuple[int, int]], encoding: str
) -> None:
    rows: list[Row] = [BAR]
    with terminal(first, encoding) as seen:
        print("x", file=sys.stderr)
        with open_screen(lambda most: rows[-most:]) as screen:
            assert screen is not None
            for columns, count in sizes:
                seen.resize(columns)
                rows[:] = [*(f"seed-{at}  epoch 3 of 8  train loss 0.41" for at in range(count - 1)), BAR]
                screen.refresh(at_once=True)
                above, *drawn = seen.lines
                assert above == "x" and len(drawn) == count
                assert all(len(line) < max(columns, 2) for line in drawn)
                assert [line[0] for line in drawn] == ["s"] * (count - 1) + ["5"]
        assert seen.lines == ["x"]


@pytest.mark.parametrize(
    ("columns", "ends"), [(40, "14 min left"), (60, "left"), (80, "base/seed-0 epoch 3 of 8")]
)
def test_a_bar_says_what_there_is_room_for(columns: int, ends: str) -> None:
    with terminal(columns) as seen, open_screen(lambda most: [BAR]):
        (line,) = seen.lines
        assert line.startswith("5 of 12 runs  ━") and line.endswith(ends) and len(line) < columns


def test_what_anyone_prints_stays_above_the_rows() -> None:
    with terminal(80) as seen, open_screen(lambda most: ["a row", BAR]):
        print("a line", file=sys.stderr)
        print("in ", end="", file=sys.stderr)
        print("two parts", file=sys.stderr)
        with above_rows():
            seen.stream.write("a verdict\n")  # as stdout, on the same terminal
        lines = seen.lines
        assert lines[:4] == ["a line", "in two parts", "a verdict", "a row"]
        assert lines[4].startswith("5 of 12 runs") and len(lines) == 5


def test_a_line_that_has_only_begun_is_not_lost() -> None:
    with terminal(80) as seen:
        with open_screen(lambda most: [BAR]):
            print("begun", end="", file=sys.stderr)
        assert seen.lines == ["begun"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_work_that_is_ended_early_leaves_no_row_and_stderr_as_it_was(error: type[BaseException]) -> None:
    with terminal(80) as seen:
        with pytest.raises(error), open_screen(lambda most: [BAR]):
            raise error
        assert seen.lines == [] and sys.stderr is seen.stream


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with terminal(80) as seen, open_screen(lambda most: [BAR]):
        assert "\x1b[32m" in seen.read()
    monkeypatch.setenv("NO_COLOR", "1")
    with terminal(80) as seen, open_screen(lambda most: [BAR]):
        text = seen.read()
        assert "\x1b[32m" not in text and "#" in text and "━" not in text


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_there_are_no_rows_in_a_log_or_on_a_terminal_that_cannot_erase(
    term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    shown = io.StringIO()
    with terminal(80) as seen:
        if term == "xterm":
            monkeypatch.setattr(sys, "stderr", shown)
        with open_screen(lambda most: [BAR]) as screen:
            assert screen is None
        assert seen.lines == [] and shown.getvalue() == ""


def test_a_count_has_one_bar_also_inside_of_other_rows() -> None:
    drawn: list[Sequence[str]] = []
    with terminal(80) as seen:
        with count_up("decoding images", 2000) as advance:
            advance(500)
            drawn.append(seen.lines)
        with open_screen(lambda most: [BAR]), count_up("decoding images", 2000) as advance:
            advance(500)
            drawn.append(seen.lines)
        with count_up("decoding images", 2000, hidden=True) as advance:
            advance(500)
            drawn.append(seen.lines)
    assert [len(lines) for lines in drawn] == [1, 1, 0]
    assert drawn[0][0].startswith("decoding images") and drawn[0][0].endswith("of 2,000")
    assert drawn[1][0].startswith("5 of 12 runs")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_terminal_that_went_away_fails_nothing() -> None:
    with terminal(80) as seen, open_screen(lambda most: [BAR]) as screen:
        assert screen is not None
        screen._stream = gone = open("/dev/full", "w")  # noqa: SIM115 (closing it fails too)
        screen.refresh(at_once=True)
        screen.print("lost\n")
        screen._stream = seen.stream
        with suppress(OSError):
            gone.close()


def test_without_a_terminal_there_is_room_for_the_usual_width() -> None:
    with open(os.devnull, "w") as stream:
        assert usable_size(stream) == (79, 24)
    assert usable_size(stream) == (79, 24), "closed"
    with terminal(0) as seen:
        assert usable_size(seen.stream)[0] == 79, "a terminal that does not know its size"
