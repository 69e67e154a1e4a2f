"""The theme of a report's figures: seaborn's contexts and palettes, by name; nothing heavy is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.errors import StudyError
from harness.messages import listed, one_line, suggest

# font size, in seaborn's plotting_context, relative to that of paper
CONTEXTS = {"paper": 1.0, "notebook": 1.25, "talk": 1.875, "poster": 2.5}
PALETTES = (
    "colorblind", "deep", "muted", "bright", "pastel", "dark", "husl", "tab10", "Set1", "Set2", "Set3",
    "Dark2", "Paired",
)  # fmt: skip


@dataclass(frozen=True)
class Theme:
    """How the figures look.

    Attributes:
        context: the size of text and lines against the figure's; ``paper`` is the smallest.
        palette: the colours of the variants; None for the default, which is safe for colour blindness.
    """

    context: str = "paper"
    palette: str | None = None

    @property
    def growth(self) -> float:
        """How much larger than in ``paper`` text and lines are against the figure's width.

        It is the root of seaborn's factor: text and lines take as much room as the drawing loses.
        """
        return math.sqrt(CONTEXTS[self.context])

    @property
    def text(self) -> str:
        """The theme as the command's option has it; empty for the default."""
        context = self.context if self.context != "paper" else ""
        return ",".join(filter(None, (context, self.palette)))


DEFAULT = Theme()


def parse_theme(text: str) -> Theme:
    """Return the theme that a text names: ``talk``, ``deep`` or ``talk,deep``, in any order.

    Raises:
        StudyError: an unknown name, or two contexts or palettes.
    """
    known = {name.lower(): name for name in (*CONTEXTS, *PALETTES)}
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name.lower() not in known:
            hint = suggest(name.lower(), [*CONTEXTS, *PALETTES])
            raise StudyError(f"--theme {one_line(name, 40)}: no such context or palette{hint}")
    found = list(dict.fromkeys(known[name.lower()] for name in names))
    contexts = [name for name in found if name in CONTEXTS]
    palettes = [name for name in found if name in PALETTES]
    for kind, several in (("context", contexts), ("palette", palettes)):
        if len(several) > 1:
            either = listed(several, word="or")
            raise StudyError(f"--theme {one_line(text, 60)}: two {kind}s; give one of {either}")
    return Theme(contexts[0] if contexts else "paper", palettes[0] if palettes else None)
