"""Pieces of messages: one line, the nearest known name, a missing package, a time in words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from importlib.util import find_spec

from harness.errors import StudyError
from harness.synonyms import KEYS, VALUES

LONGEST_NAME = 200  # characters of a name that may be misspelled; comparing takes the square of it


def plain_name(name: str) -> str:
    """Return a name without case and separators: ``"Batch-Size"`` -> ``"batchsize"``."""
    return re.sub(r"[\W_]+", "", name.casefold())


def nearest(name: str, known: Iterable[str], cutoff: float | None = None) -> str | None:
    """Return the known name that is meant by another spelling; None where no name is near.

    The part after a colon stands for the whole: ``cifar100`` is near ``torchvision:CIFAR100``.

    Args:
        cutoff: the lowest share of equal letters, in [0, 1]; without it as the name's length says.
    """
    if len(name) > LONGEST_NAME:
        return None
    given, known = plain_name(name), set(known)
    cutoff = cutoff or (0.6 if len(given) > 4 else 0.7)
    if VALUES.get(given) in known:
        return VALUES[given]
    best: tuple[float, str] | None = None
    for whole in sorted(known):
        for form in {whole, whole.rpartition(":")[2], whole.rpartition(".")[2]}:
            plain = plain_name(form)
            ratio = SequenceMatcher(None, given, plain).ratio()
            if sorted(given) == sorted(plain):  # the same letters in another order
                ratio = 2.0 if given == plain else max(ratio, 0.95)
            if ratio >= cutoff and (best is None or ratio > best[0]):
                best = ratio, whole
    return best and best[1]


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``", did you mean 'epochs'?"``; or the known names where they are few; or nothing."""
    known = sorted(known)
    usual = [key.rpartition(".")[2] for key in usual_keys(name)]
    near = next((key for key in usual if key in known), None) or nearest(name, known)
    if near is not None:
        return f", did you mean {near!r}?"
    return f" (known: {', '.join(known)})" if known and len(known) <= 24 else ""


def keys_ending_in(last: str, known: Iterable[str]) -> list[str]:
    """Return the dotted keys with this last part, in whatever spelling."""
    return [key for key in dict.fromkeys(known) if plain_name(key.rpartition(".")[2]) == plain_name(last)]


def suggest_key(name: str, known: Iterable[str]) -> str | None:
    """Return the dotted keys that an unknown one may stand for, in words; None where there is none.

    First other programs' names for it, then keys with the same last part, then similar ones.
    """
    known = list(known)
    if "." in name and (near := nearest(name, known, 0.8)):
        return near
    last = name.rpartition(".")[2]
    usual = usual_keys(last)
    found = [*([key for key in usual if key in known] or usual)[:1], *keys_ending_in(last, known)]
    if not found and (near := nearest(name, known, 0.75)):
        found = [near]
    return " or ".join(dict.fromkeys(found)) or None


def usual_keys(name: str) -> tuple[str, ...]:
    """Return the keys of a study that other programs give this name."""
    return KEYS.get(name.lower().replace("-", "_"), ())


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


def listed(names: Iterable[object], most: int | None = None, *, word: str = "and") -> str:
    """Write ``a``, ``a and b``, ``a, b and c``; of more than ``most`` names ``a, b and 3 more``."""
    texts = list(map(str, names))
    if most is not None and len(texts) > most:
        texts = [*texts[:most], f"{len(texts) - most} more"]
    *first, last = texts
    return f"{', '.join(first)} {word} {last}" if first else last


def one_line(error: object, limit: int = 300) -> str:
    """Return an error's text as one line of bounded length, without control characters."""
    text = " ".join(str(error).split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def duration(seconds: float) -> str:
    """Write ``0.4 s``, ``40 s``, ``12 min`` or ``1.5 h``."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def about(seconds: float) -> str:
    """Write a time that is only known roughly: ``5 s``, ``40 s``, ``12 min`` or ``1.5 h``."""
    return duration(max(5.0, 5 * round(seconds / 5))) if seconds >= 9.95 else f"{max(1, round(seconds))} s"
