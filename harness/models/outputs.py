"""What networks give: logits, and while some train also those of auxiliary heads."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def logits_of(outputs: Any) -> list[Tensor]:
    """List a network's logits (N, classes), and after them those of its auxiliary heads.

    Some networks return ``(logits, auxiliary, ...)`` while they train, torchvision's GoogLeNet among them.

    Raises:
        TypeError: the outputs are something else.
    """
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    for each in several:
        if not isinstance(each, Tensor | None):
            among = " among others" if isinstance(outputs, tuple) else ""
            raise TypeError(
                f"it gives {type(each).__name__}{among}; expected a tensor of logits (N, classes)"
            )
    return [logits for logits in several if logits is not None]
