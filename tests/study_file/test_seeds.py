"""Seeds as text: what ``--seeds`` takes, and how records and pages write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StudyError
from harness.study_file.seeds import parse_seeds, seeds_text


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0", [0]), ("0,1,2", [0, 1, 2]), ("0-4", [0, 1, 2, 3, 4]), ("7, 0-1", [7, 0, 1]), ("3-3", [3])],
)
def test_seeds_are_named_themselves(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "1,", "-1", "1-", "4-0", "0-999999999", "0,0", "0-3,2", "1.5", "0x1", "²", "٣", "1-٣"]
)
def test_what_is_not_seeds_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match="--seeds"):
        parse_seeds(text)


@given(st.lists(st.integers(0, 30), min_size=1, unique=True))
def test_seeds_are_written_as_the_option_takes_them(seeds: list[int]) -> None:
    assert parse_seeds(seeds_text(seeds)) == seeds
