"""The study's figures, from which a topic takes its own by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.report.blocks import Block
from harness.report.figures import FIGURES
from harness.report.figures.style import Picture

_FIGURES = {figure.name: figure for figure in FIGURES}


@dataclass(frozen=True)
class Figures:
    """The figures of a report.

    Attributes:
        pictures: file name -> picture.
        notes: what could not be drawn or measured, and why.
        formats: the further formats of each figure, such as ``svg``.
        theme: of the figures, as ``--theme`` has it; empty for the default.
    """

    pictures: Mapping[str, Picture]
    notes: Sequence[str] = ()
    formats: Sequence[str] = ()
    theme: str = ""

    @cached_property
    def _several(self) -> bool:
        return len({picture.variant for picture in self.pictures.values() if picture.variant}) > 1

    def __call__(self, *names: str) -> list[Block]:
        """Return the figures of these names, one for each variant that has its own."""
        blocks = []
        for figure in (_FIGURES[name] for name in names):
            for file, picture in self.pictures.items():
                if picture.name == figure.name:
                    own = f": {picture.variant}" if self._several and picture.variant else ""
                    files = [f"figures/{file.removesuffix('.png')}.{kind}" for kind in self.formats]
                    files += [f"tables/{figure.source}.csv"] if figure.source else []
                    title = figure.title + own
                    blocks.append(Block("figure", title=title, picture=picture, file=file, files=files))
        return blocks
