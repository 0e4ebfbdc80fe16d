"""From a list of samples to a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

from ....autograd import FUNCTIONS, Tensor
from ....autograd.dtypes import float64
from ....autograd.tensor import wrap
from ....backends import np

__all__ = ["collate", "default_collate", "default_collate_err_msg_format", "default_collate_fn_map", "default_convert"]

default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)


def default_convert(data: Any) -> Any:
    """`data` with tensors in the place of its NumPy arrays; dicts, tuples, named tuples and lists keep their form."""
    kind = type(data)
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in "SUO" else FUNCTIONS["as_tensor"](data)
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return kind(*[default_convert(d) for d in data])
    if isinstance(data, tuple):
        return [default_convert(d) for d in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like_sequence(data, [default_convert(d) for d in data])
    return data


def _like_mapping(pattern: Any, content: dict[Any, Any]) -> Any:
    """A mapping of the pattern's type, with its other attributes; a dict where the type cannot be made."""
    try:
        if isinstance(pattern, MutableMapping):
            made = copy.copy(pattern)
            made.update(content)
            return made
        return type(pattern)(content)  # type: ignore[call-arg]
    except TypeError:
        return content


def _like_sequence(pattern: Any, content: list[Any]) -> Any:
    """A sequence of the pattern's type, with its other attributes; a list where the type cannot be made."""
    if type(pattern) is list or isinstance(pattern, range):
        return content
    try:
        if isinstance(pattern, MutableSequence):
            made = copy.copy(pattern)
            for i, value in enumerate(content):
                made[i] = value
            return made
        return type(pattern)(content)  # type: ignore[call-arg]
    except TypeError:
        return content


def collate(batch: Any, *, collate_fn_map: dict[Any, Callable[..., Any]] | None = None) -> Any:
    """Join samples: element i of the result is made of elements i of the samples.

    collate_fn_map: for a type (or a tuple of types) a function `f(batch, *, collate_fn_map)` that joins such elements.
    """
    first, table = batch[0], collate_fn_map or {}
    kind = type(first)
    join = table.get(kind) or next((f for t, f in table.items() if isinstance(first, t)), None)
    if join is not None:
        return join(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, Mapping):
        return _like_mapping(
            first, {key: collate([d[key] for d in batch], collate_fn_map=collate_fn_map) for key in first}
        )
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return kind(*[collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch)])
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch)]
        return columns if isinstance(first, tuple) else _like_sequence(first, columns)
    raise TypeError(default_collate_err_msg_format.format(kind))


def _collate_tensors(batch: Sequence[Tensor], *, collate_fn_map: Any = None) -> Tensor:
    arrays = []
    for t in batch:
        if t.requires_grad or type(t.array) is not np.ndarray or t.array.shape != batch[0].array.shape:
            return FUNCTIONS["stack"](list(batch), 0)  # which records, or says what is wrong
        arrays.append(t.array)
    return wrap(np.stack(arrays), None)


def _collate_arrays(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    first = batch[0]
    if first.dtype.kind in "SUO":
        raise TypeError(default_collate_err_msg_format.format(first.dtype))
    if any(a.shape != first.shape for a in batch):
        return FUNCTIONS["stack"]([FUNCTIONS["as_tensor"](a) for a in batch], 0)
    return FUNCTIONS["as_tensor"](np.stack(batch))


def _collate_scalars(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Tensor:
    return FUNCTIONS["as_tensor"](batch)


def _collate_floats(batch: Sequence[float], *, collate_fn_map: Any = None) -> Tensor:
    return FUNCTIONS["tensor"](batch, dtype=float64)


def _collate_ints(batch: Sequence[int], *, collate_fn_map: Any = None) -> Tensor:
    return FUNCTIONS["tensor"](batch)


def _collate_strings(batch: Any, *, collate_fn_map: Any = None) -> Any:
    return batch


#: what `default_collate` does with the elements of samples, by their type; users add their own types to it
default_collate_fn_map: dict[Any, Callable[..., Any]] = {
    Tensor: _collate_tensors,
    np.ndarray: _collate_arrays,
    (np.bool_, np.number, np.object_): _collate_scalars,
    float: _collate_floats,
    int: _collate_ints,
    str: _collate_strings,
    bytes: _collate_strings,
}


def default_collate(batch: Any) -> Any:
    """A batch of samples: tensors, arrays and numbers become tensors with the batch as first dimension.

    Python floats give float64, ints int64; strings stay lists; dicts, lists, tuples (as lists) and named tuples are
    joined element by element. RuntimeError where the samples' shapes or lengths differ, TypeError for other types.

    >>> default_collate([(0, "a"), (1, "b")])
    [tensor([0, 1]), ('a', 'b')]
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
