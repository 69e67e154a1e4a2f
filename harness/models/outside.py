"""The state of a network outside its ``state_dict``: a counter, a cached tensor, a non-persistent buffer."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_VALUES = (type(None), bool, int, float, complex, str, bytes)


class OutsideState:
    """A network's attributes and buffers that its ``state_dict`` lacks, as an object for a checkpoint.

    It contains numbers, texts, tensors, and lists, tuples, sets and dicts of these. Other values could not be
    read from a checkpoint without running code from it; :func:`fingerprints` shows whether they change.

    Args:
        buffers: with the buffers; else the attributes alone.
    """

    def __init__(self, model: nn.Module, *, buffers: bool = True) -> None:
        self.model, self.buffers = model, buffers

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Copy the values: module -> attribute -> value."""
        kept: dict[str, dict[str, Any]] = {}
        for name, module in self.model.named_modules():
            attributes = _attributes(module) if self.buffers else _own(module)
            values = {key: _copy(value) for key, value in attributes if _is_plain(value)}
            if values:
                kept[name] = values
        return kept

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Set the modules' attributes and buffers to these values."""
        modules = dict(self.model.named_modules())
        device = next((weights.device for weights in self.model.parameters()), torch.device("cpu"))
        for name, values in state.items():
            module = modules[name]
            for key, value in values.items():
                before = getattr(module, key, None)
                there = before.device if isinstance(before, Tensor) else device
                if key in module._buffers:
                    module._buffers[key] = _copy(value, there)
                else:
                    setattr(module, key, _copy(value, there))


def fingerprints(model: nn.Module) -> dict[str, str]:
    """Return digests of the attributes that a checkpoint cannot hold, by name, such as ``"3.rng"``.

    Where an attribute refers to modules or parameters of the network, only the reference counts.
    """
    own = {id(part): name for name, part in [*model.named_modules(), *model.named_parameters()]}
    digests = {}
    for name, module in model.named_modules():
        for key, value in _attributes(module):
            if not _is_plain(value):
                content = io.BytesIO()
                try:
                    _Pickler(content, own).dump(value)
                except Exception:  # a lambda, a lock, an open file: it cannot be pickled, so ignore it
                    continue
                digests[f"{name}.{key}".lstrip(".")] = hashlib.sha256(content.getvalue()).hexdigest()
    return digests


def changed(model: nn.Module, before: Mapping[str, str]) -> str:
    """Name up to three attributes whose :func:`fingerprints` differ from ``before``; empty without any."""
    now = fingerprints(model)
    return ", ".join(sorted(name for name in now if before.get(name, now[name]) != now[name])[:3])


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, own: Mapping[int, str]) -> None:
        super().__init__(file)
        self.own = own

    def persistent_id(self, value: Any) -> str | None:
        """Return the name of a module or parameter of the network itself; None for other values."""
        return self.own.get(id(value))


def _own(module: nn.Module) -> Iterator[tuple[str, Any]]:
    yield from ((key, value) for key, value in vars(module).items() if key not in _OF_EVERY_MODULE)


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    yield from _own(module)
    for key in module._non_persistent_buffers_set:
        yield key, module._buffers[key]


def _is_plain(value: Any, around: frozenset[int] = frozenset()) -> bool:
    if type(value) in _VALUES or type(value) is Tensor:
        return True
    if id(value) in around:  # it contains itself
        return False
    parts = [*value, *value.values()] if type(value) is dict else value
    within = around | {id(value)}
    return type(value) in (list, tuple, set, dict) and all(_is_plain(part, within) for part in parts)


def _copy(value: Any, device: torch.device | None = None) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to(device or value.device, copy=True)
    if type(value) is str:  # one object for equal texts, because pickle writes a second object again
        return sys.intern(value)
    if type(value) is dict:
        return {_copy(key, device): _copy(part, device) for key, part in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(_copy(part, device) for part in value)
    return value
