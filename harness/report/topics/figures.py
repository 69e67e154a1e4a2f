"""The study's figures, from which a topic takes its own by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.report.blocks import Block
from harness.report.figures import FIGURES, Figure
from harness.report.figures.style import Picture

_FIGURES = {figure.name: figure for figure in FIGURES}


@dataclass(frozen=True)
class Figures:
    """The figures of a report.

    Attributes:
        pictures: file name -> picture; those of variants in the order of the page.
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
        """Return the figures of these names; a figure that several variants have is one block."""
        return [block for name in names for block in self._blocks(_FIGURES[name])]

    def _blocks(self, figure: Figure) -> list[Block]:
        own = {file: picture for file, picture in self.pictures.items() if picture.name == figure.name}
        if not (self._several and any(picture.variant for picture in own.values())):
            return [self._block(figure, file, picture, figure.title) for file, picture in own.items()]
        if len(own) == 1:
            ((file, picture),) = own.items()
            return [self._block(figure, file, picture, f"{figure.title}: {picture.variant}")]
        figures = [self._block(figure, file, picture, picture.variant or "") for file, picture in own.items()]
        return [Block("variants", title=figure.title, figures=figures)]

    def _block(self, figure: Figure, file: str, picture: Picture, title: str) -> Block:
        files = [f"figures/{file.removesuffix('.png')}.{kind}" for kind in self.formats]
        files += [f"tables/{figure.source}.csv"] if figure.source else []
        photos = figure.of == "images"
        return Block("figure", title=title, picture=picture, file=file, photos=photos, files=files)
