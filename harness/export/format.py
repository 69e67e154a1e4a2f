"""What an export format says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.predictor import Predictor


@dataclass(frozen=True)
class Format:
    """A file that another program can read.

    Attributes:
        file: its name.
        write: a predictor -> its bytes.
        use: the model card's code, from ``images`` to ``logits``.
        packages: what has to be installed for it; the extra that does so has the format's name.
    """

    file: str
    write: Callable[[Predictor], bytes]
    use: str
    packages: tuple[str, ...] = ()
