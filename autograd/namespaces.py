"""The register of ops, and the two namespaces `F` in which a gradient rule runs: raw kernels, or the ops themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import backends

if TYPE_CHECKING:
    from .op import Op

__all__ = ["GRAPH", "OPS", "RAW", "Raw", "raw", "raw_of"]

#: every op and composite, by name
OPS: dict[str, Op] = {}


class _Graph:
    """The `F` of a rule when a graph of the gradient is wanted: the ops themselves."""

    def __getattr__(self, name: str) -> Any:
        try:
            target = OPS[name]
        except KeyError:
            raise AttributeError(f"there is no op {name!r}") from None
        setattr(self, name, target)
        return target


class Raw:
    """The `F` of a rule in an ordinary backward pass: the kernels of one backend, on raw arrays."""

    def __init__(self, backend: backends.Backend) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        try:
            kernel = OPS[name].raw(self)
        except KeyError:
            raise AttributeError(f"there is no op {name!r}") from None
        setattr(self, name, kernel)
        return kernel


GRAPH: Any = _Graph()
RAW: dict[str, Raw] = {}


def raw(array: Any) -> Any:
    """The raw namespace of the backend that owns `array`."""
    return raw_of(backends.of(array))


def raw_of(backend: backends.Backend) -> Any:
    """The raw namespace of `backend`."""
    try:
        return RAW[backend.name]
    except KeyError:
        return RAW.setdefault(backend.name, Raw(backend))
