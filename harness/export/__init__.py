"""Export trained networks to other programs: ``--export onnx,torchscript,safetensors``, with a model card.

A new format is a file like those here, and a line in ``FORMATS``.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import RunError, StudyError
from harness.export.onnx import ONNX
from harness.export.safetensors import SAFETENSORS
from harness.export.torchscript import TORCHSCRIPT
from harness.messages import check_installed, one_line, suggest
from harness.store.atomic import atomic_write
from harness.store.folders import RunFolder, StudyFolder

if TYPE_CHECKING:
    from harness.predictor import Predictor

CARD = "README.md"  # where people who share networks look for it
FORMATS = {"safetensors": SAFETENSORS, "torchscript": TORCHSCRIPT, "onnx": ONNX}


def parse_exports(text: str) -> list[str]:
    """Return the formats that a text such as ``"onnx,safetensors"`` names, each once.

    Raises:
        StudyError: there is no such format, or a package that it needs is not installed.
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


def export(run: RunFolder, formats: Sequence[str]) -> Path:
    """Write a finished run's network in each format, with a model card.

    Call it after the study's report is written: the card contains the verdict.

    Returns:
        Their folder, ``exports/<variant>/seed-<n>`` in the study's.

    Raises:
        RunError: the run is not finished, a format cannot hold this network, or the disk is full.
    """
    from harness.predictor import load

    predictor, folder = load(run.path), run.exports
    files = {FORMATS[name].file: _written(name, predictor, run) for name in formats}
    files["config.json"] = json.dumps(_config(predictor, run), indent=2, ensure_ascii=False).encode() + b"\n"
    for file, content in files.items():
        atomic_write(folder / file, content)
    for kind in FORMATS.values():
        if kind.file not in files:  # they may be of an earlier run
            (folder / kind.file).unlink(missing_ok=True)
    _write_card(run, predictor)
    return folder


def renew_cards(study: StudyFolder, exported: Collection[RunFolder] = ()) -> None:
    """Write the model cards of earlier exports anew, because the report that they quote has changed.

    Args:
        exported: runs whose cards are new already.

    Raises:
        RunError: a run is damaged, or the disk is full.
    """
    from harness.predictor import load

    for run in study.runs():
        if run not in exported and (run.exports / CARD).is_file():
            _write_card(run, load(run.path))


def _write_card(run: RunFolder, predictor: Predictor) -> None:
    from harness.export.model_card import model_card

    uses = [kind.use for kind in FORMATS.values() if (run.exports / kind.file).is_file()]
    atomic_write(run.exports / CARD, model_card(run, predictor, uses).encode())


def _written(name: str, predictor: Predictor, run: RunFolder) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # exporters warn about their own future
            return FORMATS[name].write(predictor)
    except Exception as error:  # an exporter may raise anything for a user's network
        cause = f"{type(error).__name__}: {one_line(error, 200)}"
        raise RunError(f"{run.name}: cannot be exported to {name}: {cause}") from None


def _config(predictor: Predictor, run: RunFolder) -> dict[str, Any]:
    """Return config.json: what a program needs to prepare inputs and to read outputs."""
    return {
        "study": run.study.name,
        "variant": run.variant,
        "seed": run.seed,
        "classes": list(predictor.classes),
        "input": {"name": "images", "shape": ["batch", *predictor.sample().shape[1:]], "type": "float32"},
        "output": {"name": "logits", "shape": ["batch", len(predictor.classes)], "type": "float32"},
        "image_size": list(predictor.image_size),
        "transforms": predictor.transforms,
    }
