"""A file of weights that training starts from, instead of drawing them: ``model.pretrained``."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from harness.errors import StudyError
from harness.messages import one_line
from harness.models.weights import REST

WRAPPERS = ("state_dict", "model")  # keys under which checkpoints of other programs have the weights


@dataclass(frozen=True)
class Pretrained:
    """A file of weights, as it was when the study was planned.

    Attributes:
        path: absolute.
        place: the study's key, for messages.
        anew: names of weights with a row for each class, which the file has for other classes, or lacks.
    """

    path: str
    sha256: str
    place: str
    anew: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: str, place: str) -> Pretrained:
        """Find a file, seen from the current folder.

        Raises:
            StudyError: it cannot be read.
        """
        file = cls(str(Path(path).expanduser().absolute()), "", place)
        return replace(file, sha256=hashlib.sha256(file._content()).hexdigest())

    @property
    def says(self) -> str:
        """Say in words what training starts from."""
        but = f"; {', '.join(self.anew)} newly initialised" if self.anew else ""
        return f"starts from {self.path} (SHA-256 {self.sha256[:16]}){but}"

    def checked(self, model: nn.Module, classes: int) -> Pretrained:
        """Return the file with ``anew``, after checking that all the rest fits a network.

        Args:
            model: it may be on torch's ``meta`` device.
            classes: how many the network has.

        Raises:
            StudyError: it has the weights of another network.
        """
        own = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
        tensors = self._tensors(self._content())
        if more := sorted(tensors.keys() - own.keys()):
            raise self._refusal(f"the network has no {_some(more)}; is it from another network?")
        anew = []
        for key, value in own.items():
            given = tensors.get(key)
            if key.endswith("num_batches_tracked") and given is None:
                continue  # old files lack it, and torch loads them all the same
            if given is not None and given.shape == value.shape:
                continue
            by_class = value.shape[:1] == (classes,) and (given is None or given.shape[1:] == value.shape[1:])
            if not by_class:
                found = "it lacks it" if given is None else f"it has {tuple(given.shape)}"
                raise self._refusal(f"the network's {key} is {tuple(value.shape)}, and {found}")
            anew.append(key)
        return replace(self, anew=tuple(anew))

    def load_into(self, model: nn.Module) -> None:
        """Set a new network's weights, all but those in ``anew``.

        Raises:
            StudyError: the file has changed since the study was planned, or is not there.
        """
        content = self._content()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise self._refusal("it has changed since the study was planned; run the study again")
        tensors = {key: value for key, value in self._tensors(content).items() if key not in self.anew}
        model.load_state_dict(tensors, strict=False)

    def _content(self) -> bytes:
        try:
            return Path(self.path).read_bytes()
        except OSError as error:
            raise self._refusal(error.strerror or one_line(error)) from None

    def _tensors(self, content: bytes) -> dict[str, Tensor]:
        try:
            state: Any
            if self.path.endswith(".safetensors"):
                state = safetensors.torch.load(content)
            else:
                state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file may make the libraries raise anything
            said = one_line(str(error).partition(". ")[0], 120)
            raise self._refusal(f"has no tensors that can be read without running code: {said}") from None
        for key in WRAPPERS:
            if isinstance(state, dict) and isinstance(state.get(key), dict):
                state = state[key]
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise self._refusal("is no state_dict: expected tensors by the names of a network's weights")
        return {key: value for key, value in state.items() if key != REST}

    def _refusal(self, why: str) -> StudyError:
        return StudyError(f"{self.place}: {self.path}: {why}")


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest
