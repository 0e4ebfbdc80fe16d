"""`chainrule.ops.aten`: public functions under the names by which PyTorch's dispatcher knows them.

`ops.aten.add.Tensor` calls `add`. Libraries use these objects as keys of tables, and now and then call one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import FUNCTIONS, Tensor
from ..autograd import sparse as sparse_functions
from ..nn import functional

__all__ = ["Overload", "Packet", "aten"]


def _to_copy(input: Tensor, *, dtype: Any = None, device: Any = None, memory_format: Any = None, **others: Any) -> Any:
    """`input.to(...)`, always in memory of its own."""
    given = {"dtype": dtype, "device": device, "memory_format": memory_format}
    return input.to(copy=True, **{name: value for name, value in given.items() if value is not None})


def _slice(input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    """`input[start:end:step]` along `dim`; an end beyond the last element is that of the tensor."""
    return input[(slice(None),) * (dim % input.dim()) + (slice(start, end, step),)]


def _index(input: Tensor, indices: Any) -> Tensor:
    """`input[indices]`; None stands for a whole dimension."""
    return input[tuple([slice(None) if i is None else i for i in indices])]


def _spmm_reduce(input: Any, other: Tensor, reduce: str) -> tuple[Any, Any]:
    """(`sparse.mm(input, other, reduce)`, what PyTorch keeps for its gradient: nothing here)."""
    return sparse_functions.mm(input, other, reduce), other.new_empty(0)


#: what has another form here, or a name that no public function has
_FORMS: dict[str, Callable[..., Any]] = {
    "_pin_memory": lambda input, device=None: input.pin_memory(),
    "_sparse_addmm": sparse_functions.addmm,
    "_sparse_mm_reduce_impl": _spmm_reduce,
    "_to_copy": _to_copy,
    "alias": lambda input: input.view(input.shape),
    "index": _index,
    "slice": _slice,
}


class Overload:
    """One of an operator's forms, `aten.add.Tensor`: calls the function, which tells its forms apart by itself."""

    namespace = "aten"

    def __init__(self, packet: Packet, form: str) -> None:
        self.overloadpacket, self._overloadname, self.__name__ = packet, form, f"{packet.__name__}.{form}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.overloadpacket(*args, **kwargs)

    def __str__(self) -> str:
        return f"aten.{self.__name__}"

    def __repr__(self) -> str:
        return f"<OpOverload(op='aten.{self.overloadpacket.__name__}', overload='{self._overloadname}')>"

    def name(self) -> str:
        """The operator's name, with that of the form where it is not the default one: aten::add.Tensor."""
        plain = f"aten::{self.overloadpacket.__name__}"
        return plain if self._overloadname == "default" else f"{plain}.{self._overloadname}"


class Packet:
    """An operator, `aten.add`; its attributes are its forms: `default`, or named after what tells them apart."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.__name__, self._function = name, function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __getattr__(self, name: str) -> Overload:
        if name.startswith("_"):
            raise AttributeError(name)
        made = self.__dict__[name] = Overload(self, name)
        return made

    def __str__(self) -> str:
        return f"aten.{self.__name__}"

    def __repr__(self) -> str:
        return f"<OpOverloadPacket(op='aten.{self.__name__}')>"


class _Aten:
    def __getattr__(self, name: str) -> Packet:
        for found in (_FORMS.get(name), FUNCTIONS.get(name), getattr(Tensor, name, None)):
            if callable(found):
                break
        else:
            found = getattr(functional, name, None)
            if name.startswith("_") or not callable(found) or isinstance(found, type):
                raise AttributeError(f"'_OpNamespace' 'aten' object has no attribute {name!r}")
        made = self.__dict__[name] = Packet(name, found)
        return made


aten = _Aten()
