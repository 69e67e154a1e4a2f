"""The study's figures, which a topic asks for by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.report.blocks import Block
from harness.report.style import Picture


@dataclass(frozen=True)
class Figures:
    """What was drawn, and what was not.

    Attributes:
        pictures: file name -> picture.
        notes: what could not be drawn or measured, and why.
        formats: the files of each figure beside its PNG, such as ``svg``.
    """

    pictures: Mapping[str, Picture]
    notes: Sequence[str] = ()
    formats: Sequence[str] = ()

    @cached_property
    def _several(self) -> bool:
        return len({picture.variant for picture in self.pictures.values() if picture.variant}) > 1

    def __call__(self, name: str, title: str, csv: str | None = None) -> list[Block]:
        """Return the figures of a name, one for each variant that has its own.

        Args:
            csv: the table that it is drawn from.
        """
        blocks = []
        for file, picture in self.pictures.items():
            if picture.name == name:
                own = f"{title}: {picture.variant}" if self._several and picture.variant else title
                files = [f"figures/{file.removesuffix('.png')}.{kind}" for kind in self.formats]
                files += [f"tables/{csv}.csv"] if csv else []
                blocks.append(Block("figure", title=own, picture=picture, file=file, files=files))
        return blocks
