"""A traced network, for torch alone and for C++."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from harness.export.format import Format

if TYPE_CHECKING:
    from harness.predictor import Predictor


def _write(predictor: Predictor) -> bytes:
    import torch

    content = io.BytesIO()
    with torch.no_grad():
        traced = torch.jit.trace(predictor.model, predictor.sample())  # type: ignore[no-untyped-call]
    torch.jit.save(traced, content)  # type: ignore[no-untyped-call]
    return content.getvalue()


USE = """\
# model.pt, with torch alone
import torch
model = torch.jit.load("model.pt").eval()
logits = model(images)"""

TORCHSCRIPT = Format("model.pt", _write, USE)
