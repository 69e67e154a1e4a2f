"""``[augment]``: Albumentations pipelines, and the largest numbers in them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from harness.messages import one_line
from harness.schema import Strict
from harness.study_file.values import finite

# The most that a transform's number may be, by a word in its argument's name: memory and time are spent by it
# before the result can be judged. Factors multiply an image's size; counts along an axis are squared.
LIMITS = {"scale": 4, "percent": 4, "factor": 4, "control_points": 16, "holes_number": 64, "grid": 64}
LIMITS |= {"temperature": 100_000, "max_pixel_value": 100_000}
LARGEST = 1_024
MAX_TEXT = 20_000


def _bounded(pipeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Refuse a pipeline that is too long, or has numbers too large for any image."""
    if len(repr(pipeline)) > MAX_TEXT:  # every variant gets a copy
        raise ValueError(f"transforms and their numbers take more than {MAX_TEXT} characters")
    _check_numbers(finite(pipeline), "")
    return pipeline


def _check_numbers(value: Any, place: str) -> None:
    if isinstance(value, dict):
        name = value.get("transform", place)
        for key, part in value.items():
            _check_numbers(part, f"{name}.{key}")
    elif isinstance(value, list):
        for part in value:
            _check_numbers(part, place)
    elif isinstance(value, int | float):
        argument = place.rpartition(".")[2]
        most = next((limit for word, limit in LIMITS.items() if word in argument), LARGEST)
        if abs(value) > most:
            raise ValueError(f"{one_line(place, 80)}: {value:g} is too large; {most} is the most")


Pipeline = Annotated[list[dict[str, Any]], AfterValidator(_bounded), Field(max_length=50)]


class Augment(Strict):
    """Albumentations pipelines, by its own names and arguments; see :mod:`harness.data.augment`."""

    train: Pipeline = []
    """`{ transform = "RandomCrop", height = 32, width = 32 }`, one after another; Normalize is added."""
    test: Pipeline = []
    """The same for the images evaluated on."""
