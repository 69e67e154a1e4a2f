"""What a variant changes, in a cell of a table."""

from copy import deepcopy
from typing import Any

import pytest

from harness.analysis.changes import LONGEST, changes_text

PAD = {"transform": "PadIfNeeded", "min_height": 40, "min_width": 40, "border_mode": "reflect_101"}
CROP = {"transform": "RandomCrop", "height": 32, "width": 32}
FLIP = {"transform": "HorizontalFlip", "p": 0.5}


def test_tables_and_transforms_are_written_by_name_with_their_options() -> None:
    assert (
        changes_text({"optimizer": {"name": "Adam"}, "schedule.lr_max": 0.2})
        == "optimizer = Adam, lr_max = 0.2"
    )
    assert changes_text({"optimizer": {"name": "Adam", "lr": 0.1}}) == "optimizer = Adam (lr = 0.1)"
    assert changes_text({"augment.train": [FLIP]}) == "train = HorizontalFlip (p = 0.5)"
    assert changes_text({"schedule": {"epochs": 3, "lr_max": 0.1}}) == "schedule = (epochs = 3, lr_max = 0.1)"
    assert changes_text({"augment.train": [], "vary": {}}) == "train = [], vary = {}"
    assert changes_text({}) == ""


def test_a_long_list_is_written_by_names_alone() -> None:
    assert (
        changes_text({"augment.train": [PAD, CROP, FLIP]})
        == "train = PadIfNeeded + RandomCrop + HorizontalFlip"
    )
    nested = {"transform": "OneOf", "transforms": [PAD, CROP, FLIP]}
    assert changes_text({"augment.train": [nested]}) == "train = OneOf"
    assert len(changes_text({"augment.train": [FLIP] * 40})) <= LONGEST


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"schedule.lr_max": 0.2, "optimizer.momentum": 0.8}, "lr_max = 0.2, momentum = 0.8"),
        ({"optimizer": {"name": "Adam", "groups": [], "accumulate": 1}}, "optimizer = Adam"),
        (
            {"optimizer": {"name": "Adam", "weight_decay": 0.01, "accumulate": 4}},
            "optimizer = Adam (weight_decay = 0.01, accumulate = 4)",
        ),
        (
            {"augment.train": [{"transform": "HorizontalFlip"}, {"transform": "Affine", "p": 0.5}]},
            "train = HorizontalFlip + Affine (p = 0.5)",
        ),
        ({"augment.train": [], "averaging": {"kind": "none"}}, "train = [], averaging = none"),
        ({}, ""),
    ],
)
def test_changes_are_told_without_what_every_study_has(changes: dict[str, Any], expected: str) -> None:
    before = deepcopy(changes)
    assert changes_text(changes) == expected
    assert changes == before
