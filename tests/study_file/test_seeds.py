"""Seeds as text: what ``--seeds`` takes, and how records and pages write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StudyError
from harness.request import make_request
from harness.study_file.load import load_study
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


@pytest.mark.parametrize(
    ("seeds", "n", "expected"),
    [
        ([0, 1, 2], 2, [0, 1]),
        ([0, 1, 2], 3, [0, 1, 2]),
        ([0, 1, 2], 5, [0, 1, 2, 3, 4]),
        ([100, 7], 4, [100, 7, 101, 102]),
    ],
)
def test_n_seeds_are_the_first_ones_and_count_on_from_the_highest(
    seeds: list[int], n: int, expected: list[int]
) -> None:
    study = load_study("quickstart", settings={"seeds": seeds}, n_seeds=n)
    assert study.seeds == expected
    request = make_request(["quickstart"], {"n_seeds": n, "settings": {"seeds": seeds}, "quiet": True})
    (loaded,) = request.load()
    assert request.seeds_of(loaded) == expected


def test_planned_seeds_stay_and_their_first_ones_run() -> None:
    looks = {"seeds": [3, 4, 5], "looks": [2, 3], "variants": {"wide": {"model.width": 4}}}
    request = make_request(["quickstart"], {"n_seeds": 2, "settings": looks, "quiet": True})
    (study,) = request.load()
    assert study.seeds == [3, 4, 5] and request.seeds_of(study) == [3, 4]
    with pytest.raises(StudyError, match="seed 6 is not one of the 3 seeds that quickstart plans"):
        load_study("quickstart", settings=looks, n_seeds=4)


@pytest.mark.parametrize("n", [0, -1, 10_001, True])
def test_what_is_no_number_of_seeds_is_refused(n: int) -> None:
    with pytest.raises(StudyError, match="--n-seeds .*: expected a number of seeds from 1 to 10000"):
        load_study("quickstart", n_seeds=n)


def test_seeds_and_their_number_exclude_each_other() -> None:
    with pytest.raises(StudyError, match="--seeds and --n-seeds: both choose the seeds"):
        make_request(["quickstart"], {"n_seeds": 2, "seeds": "0-4"}).load()
