"""Tensors in .safetensors files: plain data under names, which any program can read and no program can be hidden in.

Needs the extra `io` (`pip install chainrule[io]`). The functions are those of safetensors.torch.

Source: the format's specification (Hugging Face, safetensors): a JSON header with dtypes, shapes and offsets, then the
numbers, little-endian.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import backends
from ..autograd import Tensor, bfloat16
from ..autograd.device import device as Device
from ..autograd.serialization import replacing
from ..autograd.tensor import wrap
from ..backends import np

__all__ = ["load", "load_file", "load_model", "metadata", "save", "save_file", "save_model"]


def _library() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(".safetensors files need the package safetensors: pip install chainrule[io]") from None
    return safetensors


def _arrays(tensors: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(tensors, Mapping):
        raise TypeError(f"a .safetensors file holds a dictionary of tensors, not a {type(tensors).__name__}")
    found = {}
    for name, t in tensors.items():
        if not isinstance(name, str) or not isinstance(t, Tensor):
            raise TypeError(
                f"a .safetensors file holds tensors by name, and {name!r} is a {type(t).__name__}: numbers and strings "
                "can go into metadata, as strings"
            )
        array = backends.of(t.array).to_host(t.array)
        found[name] = np.ascontiguousarray(array).reshape(array.shape)
    return found


def _checked(metadata: Mapping[str, str] | None) -> dict[str, str] | None:
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata maps strings to strings, and {key!r} maps to a {type(value).__name__}")
    return None if metadata is None else dict(metadata)


def save_file(tensors: Mapping[str, Tensor], filename: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors by name, and strings by name as metadata. The file is replaced as a whole or not at all."""
    content = save(tensors, metadata)
    with replacing(Path(filename)) as file:
        file.write(content)


def save(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes that `save_file` would write."""
    return _library().numpy.save(_arrays(tensors), _checked(metadata))


def _placed(array: Any, place: Device) -> Tensor:
    backend = place.backend
    owned = backend.name == "numpy" and not array.flags.owndata  # on the file's memory, which is read-only or not ours
    return wrap(backend.asarray(array.copy() if owned else array, index=place.index), None)


def load_file(filename: Any, device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors of a file by name, on `device`."""
    library, place, found = _library(), Device(device), {}
    if not os.path.exists(filename):
        raise FileNotFoundError(f"there is no file {os.fspath(filename)}")
    try:
        with library.safe_open(filename, "np") as file:
            for name in file.keys():  # noqa: SIM118  it is no dictionary
                if file.get_slice(name).get_dtype() == "BF16":
                    _ = bfloat16.dtype  # makes NumPy know the type, or says what is missing
                found[name] = _placed(file.get_tensor(name), place)
    except library.SafetensorError as error:
        raise ValueError(f"{os.fspath(filename)} is no .safetensors file, or it is broken: {error}") from error
    return found


def load(data: bytes, device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors in the bytes of a file, by name."""
    library, place = _library(), Device(device)
    try:
        return {name: _placed(array, place) for name, array in library.numpy.load(data).items()}
    except library.SafetensorError as error:
        raise ValueError(f"these bytes are no .safetensors file: {error}") from error


def metadata(filename: Any) -> dict[str, str]:
    """The strings that were written beside the tensors."""
    library = _library()
    try:
        with library.safe_open(filename, "np") as file:
            return dict(file.metadata() or {})
    except library.SafetensorError as error:
        raise ValueError(f"{os.fspath(filename)} is no .safetensors file, or it is broken: {error}") from error


def save_model(model: Any, filename: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write a module's parameters and buffers; tensors that are shared are written under each of their names.

    metadata: strings by name, written beside the tensors.
    """
    save_file(model.state_dict(), filename, metadata)


def load_model(model: Any, filename: Any, strict: bool = True, device: Any = "cpu") -> Any:
    """Read a module's parameters and buffers. Returns (missing names, unexpected names), as `load_state_dict` does.

    strict: RuntimeError for names that are missing or unexpected.
    """
    return model.load_state_dict(load_file(filename, device), strict=strict)
