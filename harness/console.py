"""The process and its surroundings: interrupts, exit statuses, and streams that may be closed."""

from __future__ import annotations

import _thread
import atexit
import codecs
import multiprocessing
import os
import shutil
import signal
import sys
import textwrap
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn, TextIO

import click

from harness.bar import above_rows, on_terminal
from harness.errors import HarnessError, RunError
from harness.messages import one_line

EXIT_RUN_FAILED, EXIT_WRONG_REQUEST, EXIT_TARGET_MISSED, EXIT_INTERRUPTED = 1, 2, 3, 130

_usual_hook = sys.unraisablehook
_COLOURS = {"error": "red", "interrupted": "yellow"}  # first word of a line -> colour
_PLAIN = "harness.plain"  # the name under which Python's encoders know our error handler
_STAND_INS = {
    "±": "+/-", "–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "·": ".", "≤": "<=", "≥": ">=", "→": "->",
    "“": '"', "”": '"', "‘": "'", "’": "'", "\xa0": " ", "²": "2", "κ": "kappa", "π": "pi",
}  # fmt: skip


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM.

    A class of its own: a plain KeyboardInterrupt that has passed through ``exec`` of a text (scipy does that
    while it is imported) makes CPython end itself by SIGINT, whatever status it is asked to exit with.
    """


def heed_interrupts() -> None:
    """Raise :class:`Interrupted` on SIGINT and SIGTERM until the interpreter is on its way out."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's & has made it ignore SIGINT
        signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = _raise_again
    atexit.register(ignore_interrupts)  # by then the work is done and the status known


def ignore_interrupts() -> None:
    """Ignore a repeated Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _interrupt(signum: int, frame: object) -> None:
    raise Interrupted


def _raise_again(unraisable: Any) -> None:
    """Send an interrupt again where Python dropped it: in a finalizer or a weak reference's callback."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        threading.Timer(0.02, _interrupt_main_thread).start()
    else:
        _usual_hook(unraisable)


def _interrupt_main_thread() -> None:
    if hasattr(signal, "pthread_kill"):  # unlike SIGINT it also ends a sleep
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        _thread.interrupt_main(signal.SIGTERM)


def die_with_parent() -> None:
    """End this spawned process when its parent is gone; runs in a thread of it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def torchrun_rank_and_world_size() -> tuple[int, int] | None:
    """Return this process's rank and the world size where torchrun has started it; else None."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def _stand_in(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace the first character that an encoding lacks; keep the bytes of a file name that are no text."""
    assert isinstance(error, UnicodeEncodeError)
    char, end = error.object[error.start], error.start + 1
    if "\udc80" <= char <= "\udcff" and not error.encoding.startswith(("utf-16", "utf-32")):
        return bytes([ord(char) - 0xDC00]), end
    return _STAND_INS.get(char, "?"), end


codecs.register_error(_PLAIN, _stand_in)


def plain(text: str, stream: TextIO | None = None) -> str:
    """Return the text as a stream will show it: stdout's encoding may lack some characters.

    A table needs it, because its column widths depend on the length of each text.
    """
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, _PLAIN).decode(encoding, "surrogateescape")


def open_streams() -> None:
    """Make stdout and stderr safe to write to, in any encoding.

    A process that was started without one (``>&-``) is given the null device. Else the next file to be opened
    would take the free number, and what a library says go into that file. A character that the encoding lacks
    becomes a plain one: ``+/-`` for ``±``.
    """
    handle = os.open(os.devnull, os.O_RDWR)
    while handle <= 2:
        handle = os.open(os.devnull, os.O_RDWR)
    os.close(handle)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (as long as the process)
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):  # not where a program has put another object in its place
            stream.reconfigure(errors=_PLAIN)


def show_warnings() -> None:
    """Show warnings under ``-W error`` too, where they would stop the command and the processes it starts.

    Libraries warn of things that are no fault of the study.
    """
    if any(option.startswith("e") for option in sys.warnoptions):
        warnings.simplefilter("default")
        sys.warnoptions.append("default")  # the last one counts
        if "PYTHONWARNINGS" in os.environ:
            os.environ["PYTHONWARNINGS"] += ",default"


def tell(line: str) -> None:
    """Write a line to stdout at once; click's own echo would write UTF-8 where stdout is ASCII."""
    with above_rows():
        print(fitted(line, sys.stdout), flush=True)


def fitted(text: str, stream: TextIO) -> str:
    """Break lines between words where they are too long for a terminal, which would break inside words."""
    if not on_terminal(stream):
        return text
    columns = shutil.get_terminal_size().columns
    return "\n".join(_broken(line, columns) for line in text.split("\n"))


def _broken(line: str, columns: int) -> str:
    if len(line) <= columns or "\x1b" in line:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def linked(path: Path) -> str:
    """Return a path as stdout shows it: on a terminal as a link to the file (OSC 8)."""
    if not on_terminal(sys.stdout):
        return str(path)
    return f"\x1b]8;;{path.resolve().as_uri()}\x1b\\{path}\x1b]8;;\x1b\\"


def complain(line: str) -> None:
    """Write a line to stderr; a closed stderr is no reason to stop."""
    mark, colon, rest = fitted(line, sys.stderr).partition(":")
    line = mark + colon + rest
    if mark in _COLOURS and not os.environ.get("NO_COLOR"):  # no-color.org; click drops colours in a pipe
        line = f"{click.style(mark + colon, fg=_COLOURS[mark], bold=True)}{rest}"
    try:
        click.echo(line, file=sys.stderr)  # a named file keeps its encoding
    except OSError:
        give_up(sys.stderr)


def give_up(stream: IO[str]) -> None:
    """Discard what is written from now on to a stream whose reader, terminal or disk space is gone."""
    with suppress(OSError, ValueError):  # it may have no file descriptor
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, stream.fileno())
        os.close(handle)


def run_command(command: click.Command, name: str, interrupted: str = "interrupted") -> NoReturn:
    """Run a command as ``python -m`` does, and exit; every error of ours is one line on stderr.

    Exit status: what the command says; 1 for a run, the machine or a reader that failed; 2 for a wrong
    request; 130 after an interrupt.
    """
    open_streams()
    show_warnings()
    heed_interrupts()
    script = Path(sys.argv[0]).name  # shell completion needs the name of the installed script
    try:
        command.main(
            standalone_mode=False,
            prog_name=script if script == name.replace(".", "-") else f"python -m {name}",
        )
        status = 0
    except click.exceptions.Exit as done:
        status = done.exit_code
    except click.ClickException as error:
        complain(f"error: {one_line(error.format_message())}")
        status = EXIT_WRONG_REQUEST
    except (KeyboardInterrupt, click.Abort):
        ignore_interrupts()
        complain(interrupted)
        status = EXIT_INTERRUPTED
    except HarnessError as error:
        complain(f"error: {one_line(error, 1000)}")
        status = EXIT_RUN_FAILED if isinstance(error, RunError) else EXIT_WRONG_REQUEST
    except BrokenPipeError:  # the reader (head, a pager) has seen enough
        status = EXIT_RUN_FAILED
    except (OSError, MemoryError) as error:  # the machine's fault, not the program's: no traceback
        complain(f"error: {type(error).__name__}: {one_line(error) or 'out of memory'}")
        status = EXIT_RUN_FAILED
    finally:
        settle_streams()
    sys.exit(status)


def settle_streams() -> None:
    """Flush stdout and stderr; where the interpreter itself fails to do so, it exits with status 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            give_up(stream)
