"""Weights on disk: safetensors files with the network's configuration, so that the file is enough to load."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from harness.errors import RunError, StudyError
from harness.messages import one_line
from harness.models import MODELS
from harness.models.network import NetworkConfig
from harness.models.outside import OutsideState
from harness.seeding import global_seed

REST = "harness.rest"  # the entry with values that are no tensors, written by torch.save


def weights_bytes(model: nn.Module, network: NetworkConfig) -> bytes:
    """Return the bytes of a safetensors file; equal weights give equal bytes.

    Args:
        model: its ``state_dict`` is stored, on the CPU, in its own types. Values that are no tensors, and the
            state that a user's network keeps outside of it, are stored in the entry ``harness.rest``.
        network: its configuration, stored as the metadata.
    """
    state = model.state_dict()
    tensors = {key: value.detach().cpu() for key, value in state.items() if isinstance(value, Tensor)}
    rest: dict[str, Any] = {}
    if others := {key: value for key, value in state.items() if key not in tensors}:
        rest["state"] = others
    if network.name not in MODELS and (outside := OutsideState(model).state_dict()):
        rest["outside"] = outside
    if rest:
        content = io.BytesIO()
        torch.save(rest, content)
        tensors[REST] = torch.frombuffer(bytearray(content.getvalue()), dtype=torch.uint8)
    texts = {key: json.dumps(value, sort_keys=True) for key, value in network.to_json().items()}
    return _ordered(safetensors.torch.save(_unshared(tensors), metadata=texts))


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors that share no memory, so that tied weights are stored under each name."""
    seen: set[int] = set()
    unshared = {}
    for key, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        copy = tensor.clone(memory_format=torch.contiguous_format) if storage in seen else tensor
        unshared[key] = copy.contiguous()
        seen.add(storage)
    return unshared


def _ordered(content: bytes) -> bytes:
    """Return the file with the keys of its header sorted, because the library's order varies."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(_header(content), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def _header(content: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return header


def load_weights(path: Path) -> tuple[nn.Module, NetworkConfig]:
    """Return the network of a file of :func:`weights_bytes`, in eval mode on the CPU, and its configuration.

    Raises:
        RunError: the file cannot be read, names no known network, or has the weights of another one.
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


def network_of(content: bytes, path: str) -> tuple[nn.Module, NetworkConfig]:
    """Return the network and its configuration, as :func:`load_weights`, from the file's bytes.

    Args:
        path: for messages.
    """
    try:
        tensors = safetensors.torch.load(content)
        texts = _header(content).get("__metadata__", {})
        network = NetworkConfig.from_json({key: json.loads(text) for key, text in texts.items()})
        with global_seed(0, "load weights"):
            model = network.build()
        rest = tensors.pop(REST, None)
        kept = {} if rest is None else torch.load(io.BytesIO(rest.numpy().tobytes()), weights_only=True)
        model.load_state_dict({**tensors, **kept.get("state", {})})
        OutsideState(model).load_state_dict(kept.get("outside", {}))
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{path}: cannot be read: {one_line(error)}") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: its metadata is not ours ({one_line(error)}): expected model, classes, image_shape"
        ) from None
    except StudyError as error:
        raise RunError(f"{path}: its network cannot be built: {one_line(error)}") from None
    except RuntimeError as error:
        raise RunError(f"{path}: does not fit its network: {one_line(error)}") from None
    model.eval()  # a user's method may return None
    return model, network
