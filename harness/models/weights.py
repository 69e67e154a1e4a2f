"""Weights on disk: safetensors whose metadata names their network, so that a file alone can be loaded."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from harness.errors import RunError, StudyError
from harness.messages import one_line
from harness.models import MODELS, build_model
from harness.models.outside import OutsideState
from harness.seeding import global_seed

KEYS = ("model", "classes", "image_shape")
REST = "harness.rest"  # the entry of what is no tensor, written by torch.save


def weights_bytes(model: nn.Module, metadata: Mapping[str, Any]) -> bytes:
    """Make a safetensors file: equal weights give equal bytes.

    Args:
        model: its ``state_dict`` is stored, moved to the CPU, in its own types. What is no tensor there, and
            what a user's network keeps outside of it, is stored in the entry ``harness.rest``.
        metadata: ``{"model": {"name": ..., option: ...}, "classes": [...], "image_shape": [3, H, W]}``; other
            keys are allowed, each value is stored as JSON.
    """
    state = model.state_dict()
    tensors = {key: value.detach().cpu() for key, value in state.items() if isinstance(value, Tensor)}
    rest: dict[str, Any] = {}
    if others := {key: value for key, value in state.items() if key not in tensors}:
        rest["state"] = others
    if metadata["model"]["name"] not in MODELS and (outside := OutsideState(model).state_dict()):
        rest["outside"] = outside
    if rest:
        content = io.BytesIO()
        torch.save(rest, content)
        tensors[REST] = torch.frombuffer(bytearray(content.getvalue()), dtype=torch.uint8)
    texts = {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}
    return _ordered(safetensors.torch.save(_apart(tensors), metadata=texts))


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Make tensors contiguous, and share no memory: tied weights are stored under each of their names."""
    seen: set[int] = set()
    found = {}
    for key, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        shared = storage in seen
        found[key] = tensor.clone(memory_format=torch.contiguous_format) if shared else tensor.contiguous()
        seen.add(storage)
    return found


def _ordered(content: bytes) -> bytes:
    """The same file with its header's keys sorted: the library's order differs by process."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(_header(content), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def _header(content: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return header


def load_weights(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a file of :func:`weights_bytes`, in eval mode on the CPU, and the metadata.

    Raises:
        RunError: the file cannot be read, names no known network, or its weights are of another one.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RunError(
            f"{path}: not there; copy it back, or remove its folder and run the study again"
        ) from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {one_line(error)}") from None
    return network_of(content, str(path))


def network_of(content: bytes, path: str) -> tuple[nn.Module, dict[str, Any]]:
    """Do what :func:`load_weights` does, from the file's bytes.

    Args:
        path: for messages.
    """
    try:
        tensors = safetensors.torch.load(content)
        texts = _header(content).get("__metadata__", {})
        metadata = {key: json.loads(text) for key, text in texts.items()}
        options = dict(metadata["model"])
        classes, (_, _, _) = metadata["classes"], metadata["image_shape"]
        with global_seed(0, "load weights"):
            model = build_model(options.pop("name"), options, len(classes), metadata["image_shape"])
        rest = tensors.pop(REST, None)
        kept = {} if rest is None else torch.load(io.BytesIO(rest.numpy().tobytes()), weights_only=True)
        model.load_state_dict({**tensors, **kept.get("state", {})})
        OutsideState(model).load_state_dict(kept.get("outside", {}))
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{path}: cannot be read: {one_line(error)}") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: its metadata is not ours ({one_line(error)}): expected {', '.join(KEYS)}"
        ) from None
    except StudyError as error:
        raise RunError(f"{path}: its network cannot be built: {one_line(error)}") from None
    except RuntimeError as error:
        raise RunError(f"{path}: does not fit its network: {one_line(error)}") from None
    model.eval()  # a user's may return nothing
    return model, metadata
