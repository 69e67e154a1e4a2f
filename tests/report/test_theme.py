"""The theme of figures: what --theme takes, and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import seaborn as sns

from harness.errors import StudyError
from harness.report.figures.style import MOST_COLOURS, themed
from harness.report.theme import CONTEXTS, DEFAULT, PALETTES, Theme, parse_theme
from harness.request import make_request
from tests.report.figures.conftest import drawn, size

Lab = Callable[..., Any]


def test_names_of_contexts_and_palettes_are_seaborns() -> None:
    sizes = {context: sns.plotting_context(context)["font.size"] for context in CONTEXTS}
    assert {context: size / sizes["paper"] for context, size in sizes.items()} == pytest.approx(CONTEXTS)
    assert all(len(sns.color_palette(palette, MOST_COLOURS)) == MOST_COLOURS for palette in PALETTES)


@pytest.mark.parametrize("text", ["talk,deep", "deep, talk", " TALK,Deep"])
def test_a_theme_is_a_context_a_palette_or_both_in_any_order(text: str) -> None:
    assert parse_theme(text) == Theme("talk", "deep") == parse_theme(Theme("talk", "deep").text)
    assert parse_theme("poster") == Theme("poster") and parse_theme("Set2") == Theme(palette="Set2")
    assert make_request(["quickstart"], {"theme": text}).theme == Theme("talk", "deep")
    assert make_request(["quickstart"], {"theme": ["talk", "deep"]}).theme == Theme("talk", "deep")
    assert make_request(["quickstart"], {"theme": None}).theme == DEFAULT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("papr", "--theme papr: no such context or palette, did you mean 'paper'?"),
        ("talk,depe", "--theme depe: no such context or palette, did you mean 'deep'?"),
        ("talk,poster", "--theme talk,poster: two contexts; give one of talk or poster"),
        ("", "no such context or palette (known: "),
    ],
)
def test_a_wrong_theme_is_one_line(text: str, expected: str) -> None:
    with pytest.raises(StudyError) as raised:
        make_request(["quickstart"], {"theme": text})
    assert expected in str(raised.value) and "\n" not in str(raised.value)


def test_a_larger_context_keeps_the_pictures_width_and_another_palette_changes_the_colours(lab: Lab) -> None:
    place = lab()
    for seed in range(2):
        place.finish("base", seed)
    plain = drawn(place, "accuracy")
    with themed(Theme("talk")):
        talk = drawn(place, "accuracy")
    with themed(Theme(palette="deep")):
        deep, again = drawn(place, "accuracy"), drawn(place, "accuracy")
    assert plain is not None and deep is not None and deep == again and deep != plain
    assert abs(size(talk)[0] - size(plain)[0]) < 5 and size(talk)[1] > 1.2 * size(plain)[1]
    figure = deep.figure
    assert figure is not None
    colour = figure.axes[0].get_lines()[0].get_color()
    assert colour == sns.color_palette("deep").as_hex()[0] and drawn(place, "accuracy") == plain
