"""Where a user's network fails: module, input and line of its source; what is wrong with its outputs."""

from __future__ import annotations

import linecache
import os
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import RunError, StudyError
from harness.imports import source_file
from harness.messages import one_line
from harness.models.outputs import evaluating, logits_of

_OURS = (f"{Path(torch.__file__).parent}{os.sep}", f"{Path(__file__).parents[1]}{os.sep}", "<frozen")
_INSTALLED = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "purelib", "platlib"))


def explain(error: BaseException) -> str:
    """Say where a network failed and why, such as ``"fc (Linear), given (1, 8): RuntimeError: ..."``.

    Returns:
        The module that failed by its path in the network, the shapes that it was given, the error, and the
        line of the user's source; without the parts that the error's traceback does not show.
    """
    frames = list(_frames(error))
    kind = "" if isinstance(error, RunError) else f"{type(error).__name__}: "
    return f"{_module(frames)}{kind}{one_line(error, 200)}{_line(frames)}"


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _module(frames: Sequence[tuple[FrameType, int]]) -> str:
    """Return the innermost module that was called, and its arguments."""
    calls = [
        frame.f_locals
        for frame, _ in frames
        if frame.f_code.co_name == "_call_impl" and isinstance(frame.f_locals.get("self"), nn.Module)
    ]
    if not calls:
        return ""
    root, module = calls[0]["self"], calls[-1]["self"]
    path = next((name for name, part in root.named_modules() if part is module), "")
    place = f"{path} ({type(module).__name__})" if path else "forward"
    given = [str(tuple(part.shape)) for part in calls[-1].get("args", ()) if isinstance(part, Tensor)]
    return f"{place}, given {' and '.join(given)}: " if given else f"{place}: "


def _line(frames: Sequence[tuple[FrameType, int]]) -> str:
    """Return the last line of the user's own code that was executed."""
    for frame, number in reversed(frames):
        file = frame.f_code.co_filename
        installed = file.startswith(_INSTALLED) or "site-packages" in file
        if file.startswith(_OURS) or installed or file == "<string>":
            continue
        code = one_line(linecache.getline(file, number), 80)
        where = frame.f_code.co_qualname
        if source_file(Path(file).stem) is None:  # a cell's source is kept without its place in the notebook
            where = f"{Path(file).name}, line {number}, {where}"
        return f" (in {where}{f': {code}' if code else ''})"
    return ""


def check_outputs(model: nn.Module, image_shape: Sequence[int], classes: int) -> None:
    """Refuse outputs that are no logits: of an image in evaluation, and of two in training.

    Values are not looked at: the model may be on torch's ``meta`` device.

    Args:
        image_shape: (3, H, W).

    Raises:
        StudyError: without the network's name.
    """
    images = torch.zeros(2, *image_shape, device=next(model.parameters()).device)
    with evaluating(model), torch.no_grad():
        check_shape(model(images[:1]), "evaluation", (1, classes))
    model.train()
    all_logits = logits_of(model(images))
    if not all_logits:
        check_shape(None, "training", (2, classes))
    for logits in all_logits:
        check_shape(logits, "training", (2, classes))
    if not any(logits.requires_grad for logits in all_logits):
        raise StudyError(
            "its logits have no gradient: leave detach, numpy, argmax, round and torch.no_grad out of forward"
        )


def check_shape(logits: Any, mode: str, shape: tuple[int, int]) -> None:
    """Refuse anything but floating-point logits of this shape (N, classes).

    Args:
        mode: ``"training"`` or ``"evaluation"``, for the message.

    Raises:
        StudyError: without the network's name.
    """
    if not isinstance(logits, Tensor):
        refuse("nothing: forward has no return" if logits is None else type(logits).__name__, mode, shape)
    elif tuple(logits.shape) != shape:
        refuse(f"a tensor of shape {tuple(logits.shape)}", mode, shape)
    elif not logits.is_floating_point():
        refuse(f"a tensor of {logits.dtype}", mode, shape)


def check_values(logits: Tensor, mode: str, shape: tuple[int, int]) -> None:
    """Refuse logits that are not finite, or are probabilities.

    Raises:
        StudyError: without the network's name.
    """
    if not logits.isfinite().all():
        refuse("numbers that are not finite, before any training", mode, shape)
    sums = logits.float().sum(1)
    if (logits >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=0.01):
        refuse("probabilities, to which the loss would apply softmax again", mode, shape)


def refuse(given: str, mode: str, shape: tuple[int, int]) -> None:
    """Raise the error for outputs that are no logits."""
    raise StudyError(
        f"in {mode} it gives {given}; expected logits of shape {shape}, one for each of {shape[1]} classes"
    )
