"""Trained networks for other programs: ``--export onnx,torchscript,safetensors``, each with a model card.

Another format is a function below and its line in ``FORMATS``.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import RunError, StudyError
from harness.messages import check_installed, one_line, suggest
from harness.store.atomic import atomic_write
from harness.store.folders import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from harness.predict import Predictor

CARD = "README.md"  # where those who share networks look for it


@dataclass(frozen=True)
class Format:
    """A file that another program can read.

    Attributes:
        file: its name.
        write: a predictor -> its bytes.
        packages: what has to be installed for it; the extra that does so has the format's name.
    """

    file: str
    write: Callable[[Predictor], bytes]
    packages: tuple[str, ...] = ()


def parse_exports(text: str) -> list[str]:
    """``"onnx,safetensors"`` -> the formats, once each.

    Raises:
        StudyError: there is none of that name, or what it takes is not installed.
    """
    names = list(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    if "" in names:
        raise StudyError(f"--export {one_line(text, 80)}: expected some of {', '.join(FORMATS)}")
    for name in names:
        if name not in FORMATS:
            raise StudyError(f"--export {one_line(name, 80)}: no such format{suggest(name, FORMATS)}")
        for package in FORMATS[name].packages:
            check_installed(package, f"--export {name}", name)
    return names


def folder_of(run: RunFolder) -> Path:
    """Where a run's network is exported to: ``exports/<variant>/seed-<n>`` in the study's folder."""
    return run.study.path / "exports" / run.variant / run.path.name


def export(run: RunFolder, formats: Iterable[str]) -> Path:
    """Write a finished run's network in each format, with a model card; the folder they are in.

    A study's report is written before: the card has its verdict.

    Raises:
        RunError: the run is not finished, a format cannot hold this network, or the disk is full.
    """
    from harness.model_card import model_card
    from harness.predict import load

    predictor, folder = load(run.path), folder_of(run)
    files = {FORMATS[name].file: _written(name, predictor, run) for name in formats}
    files["config.json"] = json.dumps(_config(predictor, run), indent=2, ensure_ascii=False).encode() + b"\n"
    files[CARD] = model_card(run, predictor, list(formats)).encode()
    for file, content in files.items():
        atomic_write(folder / file, content)
    for kind in FORMATS.values():
        if kind.file not in files:  # of an earlier export, and maybe of an earlier run
            (folder / kind.file).unlink(missing_ok=True)
    return folder


def _written(name: str, predictor: Predictor, run: RunFolder) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # exporters warn of their own futures
            return FORMATS[name].write(predictor)
    except Exception as error:  # whatever an exporter makes of a network that is not ours
        cause = f"{type(error).__name__}: {one_line(error, 200)}"
        raise RunError(f"{run.name}: cannot be exported to {name}: {cause}") from None


def _config(predictor: Predictor, run: RunFolder) -> dict[str, Any]:
    """What a program has to know to feed the network and to read its output."""
    height, width = predictor.image_size
    return {
        "study": run.study.name,
        "variant": run.variant,
        "seed": run.seed,
        "classes": list(predictor.classes),
        "input": {"name": "images", "shape": ["batch", *_sample(predictor).shape[1:]], "type": "float32"},
        "output": {"name": "logits", "shape": ["batch", len(predictor.classes)], "type": "float32"},
        "image_size": [height, width],
        "transforms": predictor.transforms,
    }


def _sample(predictor: Predictor) -> Any:
    """A prepared batch of one black image."""
    import numpy as np

    return predictor.prepare(np.zeros((1, *predictor.image_size, 3), np.uint8))


def _safetensors(predictor: Predictor) -> bytes:
    from harness.models.weights import weights_bytes

    return weights_bytes(predictor.model, predictor.network)


def _torchscript(predictor: Predictor) -> bytes:
    import torch

    content = io.BytesIO()
    with torch.no_grad():
        traced = torch.jit.trace(predictor.model, _sample(predictor).contiguous())  # type: ignore[no-untyped-call]
    torch.jit.save(traced, content)  # type: ignore[no-untyped-call]
    return content.getvalue()


def _onnx(predictor: Predictor) -> bytes:
    import torch

    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sample = _sample(predictor).contiguous()
    program = torch.onnx.export(
        predictor.model,
        (sample.expand(2, *sample.shape[1:]),),  # from one image it would take the batch for fixed
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


FORMATS = {
    "safetensors": Format("model.safetensors", _safetensors),
    "torchscript": Format("model.pt", _torchscript),
    "onnx": Format("model.onnx", _onnx, ("onnx", "onnxscript")),
}
