"""Plain words: phrases that are hard for readers with English as a second language appear nowhere."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

UNCLEAR = [
    "impatient one",
    "same command goes on",
    "goes on after epoch",
    "gone on with",
    "begins? anew",
    "begun anew",
    "lies? apart",
    "cannot tell with",
    "that would tell",
    "may be the best",
    "luck alone",
    "is luck",
    "of independent errors",
    "how surely",
    "seeds know together",
    "class is taken for",
    "the network looks at",
    "can be believed",
    "where the numbers come from",
    "such a number from this recipe",
    "mean not above it",
    r'(?<!")no annihilation',
    "by accuracy: lr_max",
    "where data lies",
    "instead of the study's",
    "part of every batch each",
    "request is wrong",
    "what spoke for",
    "those that are there",
]
FILES = sorted(
    file
    for pattern in ("*.md", "docs/*.md", "studies/*.toml", "harness/**/*.py")
    for file in ROOT.glob(pattern)
    if file.name != "CHANGELOG.md"
)


@cache
def text_of(file: Path) -> str:
    """Return a file's text with line breaks, comment signs and joined literals as single spaces."""
    return re.sub(r'"?\s*\n[\s#]*(f?")?', " ", file.read_text("utf-8")).lower()


@pytest.mark.parametrize("phrase", UNCLEAR)
def test_an_unclear_phrase_appears_nowhere(phrase: str) -> None:
    assert [str(file.relative_to(ROOT)) for file in FILES if re.search(phrase, text_of(file))] == []
