"""ONNX, for onnxruntime and other programs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from harness.export.format import Format

if TYPE_CHECKING:
    from harness.predictor import Predictor


def _write(predictor: Predictor) -> bytes:
    import torch

    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sample = predictor.sample()
    program = torch.onnx.export(
        predictor.model,
        (sample.expand(2, *sample.shape[1:]),),  # with one image the batch size would be fixed
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


USE = """\
# model.onnx, with onnxruntime
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(["logits"], {"images": images})  # a numpy array"""

ONNX = Format("model.onnx", _write, USE, ("onnx", "onnxscript"))
