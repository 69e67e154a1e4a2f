"""The description of an export format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.predictor import Predictor


@dataclass(frozen=True)
class Format:
    """A file format that another program can read.

    Attributes:
        file: the file's name.
        write: a function from a predictor to the file's bytes.
        use: the model card's code, from ``images`` to ``logits``.
        packages: the packages that it needs; our extra with the format's name installs them.
    """

    file: str
    write: Callable[[Predictor], bytes]
    use: str
    packages: tuple[str, ...] = ()
