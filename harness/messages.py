"""Pieces of messages: one line of an error, the nearest known name, a package that is not installed."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec

from harness.errors import StudyError


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``", did you mean 'epochs'?"``; or the known names where they are few; or nothing."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f", did you mean {close[0]!r}?"
    return f" (known: {', '.join(known)})" if known and len(known) <= 24 else ""


def check_installed(package: str, where: str, extra: str = "") -> None:
    """Raise an error where a package is not installed, without importing it.

    Args:
        extra: our extra that installs it; empty where it has the package's name.

    Raises:
        StudyError: it is not installed.
    """
    if find_spec(package) is None:
        install = f"pip install 'ignite-harness[{extra or package}]'"
        raise StudyError(f"{where}: {package} is not installed; {install}")


def one_line(error: object, limit: int = 300) -> str:
    """Return an error's text as one line of bounded length, without control characters."""
    text = " ".join(str(error).split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
