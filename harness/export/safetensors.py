"""The weights alone, to be loaded by this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.export.format import Format

if TYPE_CHECKING:
    from harness.predictor import Predictor


def _write(predictor: Predictor) -> bytes:
    from harness.models.weights import weights_bytes

    return weights_bytes(predictor.model, predictor.network)


USE = """\
# model.safetensors, with the package that trained it, ignite-harness
from pathlib import Path
from harness.models.weights import load_weights
model, network = load_weights(Path("model.safetensors"))
logits = model(images)"""

SAFETENSORS = Format("model.safetensors", _write, USE)
