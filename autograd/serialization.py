"""Copying, pickling, and `save` and `load`.

`save` writes PyTorch's own file format (a zip archive: `data.pkl` for the structure, one record of raw bytes per
memory), so each library reads the other's checkpoints. The structure is read by an unpickler of its own (unpickler.py),
which knows tensors and plain containers, and the classes that `add_safe_globals` admits: a file can put no code into
the program that loads it. A file is replaced as a whole: who is killed while writing leaves the old one. Turned down: a
format of our own, and reading whatever a pickle names. The archive's module and the unpickler are imported when a file
is read: `import chainrule` is quicker by it.

A plain pickle (`pickle.dumps`, worker processes) holds a tensor's data as a NumPy array. In both forms a tensor that
ops made comes back as a leaf, and a view on memory of its own.

Source of the format: PyTorch's documentation, "Serialization semantics", and torch/serialization.py.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import io
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from types import FunctionType
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from .. import backends
from ..backends import np
from . import dtypes, storage
from .attributes import Size
from .creation import empty, to_array  # type: ignore[attr-defined]
from .device import device, device_of, move
from .errors import OpError
from .op import Op
from .public import function
from .tensor import Tensor, method, wrap

__all__ = [
    "DEFAULT_PROTOCOL",
    "FILE_LIKE",
    "MAP_LOCATION",
    "PARAMETER",
    "add_safe_globals",
    "clear_safe_globals",
    "default_restore_location",
    "get_safe_globals",
    "load",
    "rebuild",
    "remove_safe_globals",
    "replacing",
    "safe_globals",
    "save",
]

#: what `load` takes as map_location, and as a file
MAP_LOCATION: TypeAlias = Callable[[Any, str], Any] | device | str | dict[str, str] | None
FILE_LIKE: TypeAlias = str | os.PathLike[str] | BinaryIO
#: the pickle protocol of what `save` writes
DEFAULT_PROTOCOL = 2
#: the class of parameters, once nn is imported
PARAMETER: list[type] = []

# -- pickle and copy --------------------------------------------------------------------------------------------------

#: what belongs to the tensor's place in the graph, not to the tensor
_PLACE = {"after_hooks", "chain", "family", "hooks", "_retains"}


def _extras(t: Tensor) -> dict[str, Any]:
    """Attributes that a user or a subclass set."""
    return {k: v for k, v in vars(t).items() if k not in _PLACE}


def rebuild(kind: type, data: Any, place: str, requires_grad: bool, extras: dict[str, Any]) -> Tensor:
    """The tensor that a pickle describes."""
    t = wrap(data if place == "meta" else move(to_array(data), device(place)), None)
    if kind is not Tensor:
        t = _as(kind, t)
    t.leaf = requires_grad
    vars(t).update(extras)
    return t


def _as(kind: type, t: Tensor) -> Tensor:
    """An instance of a subclass on the same array."""
    made: Tensor = object.__new__(kind)
    made.array, made.node, made.leaf, made._grad = t.array, None, t.leaf, None
    return made


@method
def __reduce_ex__(self: Tensor, protocol: Any) -> Any:
    storage.as_memory(self)
    data = self.array if self.is_meta else backends.of(self.array).to_host(self.array)
    sharing = sys.modules.get(f"{__package__}.sharing")
    if sharing is not None:
        data = sharing.to_send(data)
    return rebuild, (type(self), data, str(device_of(self.array)), self.requires_grad, _extras(self))


@method
def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Tensor:
    if self.node is not None:
        raise OpError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment; "
            "copy t.detach(), or use t.clone() to stay in the graph"
        )
    if id(self) in memo:
        return memo[id(self)]
    t = _as(type(self), wrap(self.array.copy(), None))
    t.leaf = self.leaf
    memo[id(self)] = t
    if self.grad is not None:
        t.grad = copy.deepcopy(self.grad, memo)
    vars(t).update(copy.deepcopy(_extras(self), memo))
    return t


# -- save -------------------------------------------------------------------------------------------------------------

_STORAGES = {
    f"{kind.short}Storage": kind
    for kind in (
        *(dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64, dtypes.bool_),
        *(dtypes.uint8, dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64),
        *(dtypes.complex64, dtypes.complex128),
    )
}
_DTYPES = {kind.name: kind for kind in _STORAGES.values()}


class _Global:
    """A name that a pickle mentions; the program that writes it need not have what it names."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self) -> None:
        """Nothing: a pickler wants something that can be called."""


def _op_of(function: Any) -> Any:
    """The op that a public function calls, or is."""
    plain = isinstance(function, FunctionType)
    found: Any = vars(function).get("__wrapped__") if plain else getattr(function, "__self__", None)
    op: Any = function if isinstance(function, Op) else found
    return op if isinstance(op, Op) and hasattr(sys.modules.get(op.__module__), op.name) else None


class _Record:
    """The bytes of a memory: a row of elements."""

    def __init__(self, row: Any, place: str, key: str) -> None:
        self.row, self.key = row, key
        kind = dtypes.from_numpy_dtype(row.dtype)
        self.described = ("storage", _Global("torch", f"{kind.short}Storage"), key, place, row.size)

    def data(self) -> Any:
        """The bytes."""
        return np.ascontiguousarray(backends.of(self.row).to_host(self.row)).view(np.uint8).data

    def write(self, archive: Any, name: str) -> None:
        """Put the bytes into the archive."""
        with archive.open(name, "w", force_zip64=True) as file:
            file.write(self.data())


class _Place(NamedTuple):
    """Where a tensor lies: in a record, from an offset on, by steps; all counted in elements."""

    record: _Record
    offset: int
    steps: tuple[int, ...]


def _steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of an array whose elements lie in order, counted in elements."""
    steps = [1]
    for n in shape[:0:-1]:
        steps.append(steps[-1] * max(n, 1))
    return tuple(steps[::-1]) if shape else ()


def _row(array: Any) -> tuple[Any, tuple[int, ...]]:
    """The elements in a row, and the array's strides in it: its own where it fills its memory, in whatever order."""
    order = sorted(range(array.ndim), key=lambda d: -array.strides[d])
    if array.ndim > 1 and not array.flags.c_contiguous and array.transpose(order).flags.c_contiguous:
        inner = _steps(tuple([array.shape[d] for d in order]))
        return array.transpose(order).reshape(-1), tuple([inner[order.index(d)] for d in range(array.ndim)])
    return array.reshape(-1), _steps(array.shape)


def _in_common(tensors: dict[Any, Tensor]) -> dict[Any, _Place]:
    """Places in one record for tensors that overlap in memory: after loading, each sees what is written into another.

    tensors: by what tells memories apart. Only arrays of the host are looked at.
    """
    spans = []
    for same, t in tensors.items():
        a = t.array
        if type(a) is np.ndarray and a.size and min(a.strides, default=0) >= 0:
            start = t.data_ptr()
            spans.append((start, start + sum([(n - 1) * s for n, s in zip(a.shape, a.strides)]) + a.itemsize, same))
    spans.sort(key=lambda span: span[:2])
    found: dict[Any, _Place] = {}
    group: list[Any] = []
    end = 0

    def close() -> None:
        first = tensors[group[0][2]].array
        size = first.itemsize
        steps = [n for start, _, same in group for n in (start - group[0][0], *tensors[same].array.strides)]
        kinds = {tensors[same].array.dtype for *_, same in group}
        if len(group) == 1 or len(kinds) > 1 or any(n % size for n in steps):
            return
        row = np.lib.stride_tricks.as_strided(first, ((end - group[0][0]) // size,), (size,), writeable=False)
        record = _Record(row, str(tensors[group[0][2]].device), str(len({id(p.record) for p in found.values()})))
        for start, _, same in group:
            strides = tensors[same].array.strides
            found[same] = _Place(record, (start - group[0][0]) // size, tuple([s // size for s in strides]))

    for span in spans:
        if group and span[0] >= end:
            close()
            group = []
        end = max(end, span[1]) if group else span[1]
        group.append(span)
    if group:
        close()
    return found


_PythonPickler: Any = pickle._Pickler  # type: ignore[attr-defined]  # the one in C writes no names that it cannot import


class _Pickler(_PythonPickler):
    """Writes the structure; the bytes of tensors wait in `records`."""

    def __init__(self, file: Any, legacy: bool, places: dict[Any, _Place] | None = None) -> None:
        super().__init__(file, protocol=DEFAULT_PROTOCOL)
        self.places = dict(places or {})
        self.tensors: dict[Any, Tensor] = {}
        self._legacy = legacy

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, dtypes.dtype):
            self.save(_Global("torch", obj.name))
        elif callable(obj) and (op := _op_of(obj)) is not None:
            self.save(_Global(op.__module__, op.name))
        else:
            super().save(obj.item() if isinstance(obj, np.generic) else obj, save_persistent_id)

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _Record):
            return None
        return (*obj.described, None) if self._legacy else obj.described

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor) and type(obj) in PARAMETER:
            parts: Any = (wrap(obj.array, None), obj.requires_grad, collections.OrderedDict())
            return _Global("torch._utils", "_rebuild_parameter"), parts
        if isinstance(obj, Tensor) and obj.is_meta:
            parts = (obj.dtype, tuple(obj.array.shape), _steps(obj.array.shape), obj.requires_grad)
            return _Global("torch._utils", "_rebuild_meta_tensor_no_storage"), parts
        if isinstance(obj, Tensor):
            record, offset, steps = self._place(obj)
            shape = tuple(obj.array.shape)
            parts = (record, offset, shape, steps, obj.requires_grad, collections.OrderedDict())
            return _Global("torch._utils", "_rebuild_tensor_v2"), parts
        if isinstance(obj, Size):
            return _Global("torch", "Size"), (tuple(obj),)
        if isinstance(obj, device):
            return _Global("torch", "device"), (str(obj),)
        return NotImplemented

    def _place(self, t: Tensor) -> _Place:
        """Where a tensor lies; tensors that are the same memory in the same order lie in one place."""
        storage.as_memory(t)
        same = (t.data_ptr(), t.array.shape, t.array.strides, t.array.dtype)
        self.tensors[same] = t
        if same not in self.places:
            row, steps = _row(t.array)
            self.places[same] = _Place(_Record(row, str(t.device), str(len(self.records()))), 0, steps)
        return self.places[same]

    def records(self) -> list[_Record]:
        """The memories, each once."""
        return list({id(place.record): place.record for place in self.places.values()}.values())


def _pickled(obj: Any, legacy: bool = False) -> tuple[bytes, list[_Record]]:
    """The structure and the memories; written anew where tensors turn out to have memory in common."""
    structure = io.BytesIO()
    pickler = _Pickler(structure, legacy)
    pickler.dump(obj)
    common = _in_common(pickler.tensors)
    if common:
        structure = io.BytesIO()
        pickler = _Pickler(structure, legacy, common)
        pickler.dump(obj)
    return structure.getvalue(), pickler.records()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when it is complete, and leaves nothing behind when it is not."""
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        with open(draft, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@function
def save(
    obj: Any,
    f: Any,
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Write tensors in containers (a `state_dict()`) to a path or a binary file, in PyTorch's format.

    Anything that can be pickled is written, but `load` reads tensors, numbers, strings and containers alone, and other
    classes when they are admitted. `_use_new_zipfile_serialization=False`: the format before PyTorch 1.6.
    pickle_protocol: of the pickle in it.
    """
    write = _write if _use_new_zipfile_serialization else _write_legacy
    if hasattr(f, "write"):
        write(obj, f)
    else:
        with replacing(Path(f)) as file:
            write(obj, file)


#: how a file of the older format begins: three pickles; see `_write_legacy`
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def _write_legacy(obj: Any, file: Any) -> None:
    """Pickles one after another (magic number, version, system, structure, keys), then each memory with its length."""
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": _PROTOCOL, "little_endian": sys.byteorder == "little", "type_sizes": sizes}
    for part in (_MAGIC, _PROTOCOL, system):
        pickle.dump(part, file, protocol=DEFAULT_PROTOCOL)
    structure, records = _pickled(obj, legacy=True)
    file.write(structure)
    records.sort(key=lambda record: record.key)
    pickle.dump([record.key for record in records], file, protocol=DEFAULT_PROTOCOL)
    for record in records:
        file.write(int(record.described[-1]).to_bytes(8, sys.byteorder))
        file.write(record.data())


def _write(obj: Any, file: Any) -> None:
    import zipfile

    structure, records = _pickled(obj)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", structure)
        archive.writestr("archive/byteorder", sys.byteorder)
        for record in records:
            record.write(archive, f"archive/data/{record.key}")
        archive.writestr("archive/version", "3\n")


# -- load -------------------------------------------------------------------------------------------------------------


class _Memory:
    """A row of numbers from a file, and the device that it came from."""

    def __init__(self, array: Any, place: Any) -> None:
        self.array, self.place, self.taken = array, place, False


def _rebuild_tensor(
    memory: Any, offset: int, shape: Any, steps: Any, requires_grad: bool = False, hooks: Any = None, more: Any = None
) -> Tensor:
    """The tensor on its memory. more: {"conj": True}, {"neg": True} where PyTorch has put off to compute them."""
    array, size = memory.array, memory.array.itemsize
    strides = tuple([s * size for s in steps])
    if any(s < 0 for s in strides) or offset < 0:
        raise pickle.UnpicklingError("the file describes a tensor outside its memory")
    try:  # NumPy refuses what reaches beyond the memory
        view = np.ndarray(tuple(shape), array.dtype, array, offset * size, strides)
    except (TypeError, ValueError) as error:
        raise pickle.UnpicklingError(f"the file describes a tensor outside its memory: {error}") from None
    if memory.taken:  # by another tensor, which must see what is written into this one
        storage.share(array)
    memory.taken = True
    given = more or {}
    view = view.conj() if given.get("conj") else view
    t = wrap(move(-view if given.get("neg") else view, memory.place), None)
    t.requires_grad = requires_grad
    return t


def _rebuild_parameter(data: Tensor, requires_grad: bool, *rest: Any) -> Tensor:
    if PARAMETER:
        made: Tensor = PARAMETER[0](data, requires_grad)
        return made
    return data.requires_grad_(requires_grad)


def _bytes(text: str, encoding: str) -> bytes:
    """Bytes as protocol 2 writes them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are written in latin1, not {encoding}")
    return text.encode("latin1")


def _rebuild_meta(kind: Any, size: Any, steps: Any, requires_grad: bool) -> Tensor:
    return empty(tuple(size), dtype=kind, device="meta", requires_grad=requires_grad)


#: what every file may name, and call
ADMITTED: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _bytes,
    ("__builtin__", "complex"): complex,  # as protocol 2 calls it
    ("builtins", "complex"): complex,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "Counter"): collections.Counter,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _rebuild_meta,
    ("torch", "Size"): Size,
    ("torch", "device"): device,
    **{("torch", name): kind for name, kind in {**_STORAGES, **_DTYPES}.items()},
}


_NOTHING: dict[str, Any] = {}
#: what the program admits besides, by name; replaced, never changed
SAFE: ContextVar[dict[str, Any]] = ContextVar("chainrule_safe_globals", default=_NOTHING)


def _named(safe_globals: Any) -> dict[str, Any]:
    pairs = [x if isinstance(x, tuple) else (x, f"{x.__module__}.{x.__qualname__}") for x in safe_globals]
    return {name: value for value, name in pairs}


def add_safe_globals(safe_globals: Any) -> None:
    """Admit classes and functions (or pairs of one and its name in files) that `load` may then make and call."""
    SAFE.set({**SAFE.get(), **_named(safe_globals)})


def get_safe_globals() -> list[Any]:
    """What has been admitted."""
    return list(SAFE.get().values())


def clear_safe_globals() -> None:
    """Admit nothing any more."""
    SAFE.set({})


def remove_safe_globals(safe_globals: Any) -> None:
    """Admit these no more."""
    gone = _named(safe_globals)
    SAFE.set({name: value for name, value in SAFE.get().items() if name not in gone})


class safe_globals:
    """`with safe_globals([Class]):` admits classes and functions inside."""

    def __init__(self, safe_globals: Any) -> None:
        self._added, self._tokens = _named(safe_globals), []  # type: tuple[dict[str, Any], list[Any]]

    def __enter__(self) -> None:
        self._tokens.append(SAFE.set({**SAFE.get(), **self._added}))

    def __exit__(self, *exc: Any) -> None:
        SAFE.reset(self._tokens.pop())


@function
def load(
    f: Any, map_location: Any = None, pickle_module: Any = None, *, weights_only: bool = True, mmap: Any = None
) -> Any:
    """Read what `save`, or PyTorch, wrote: tensors, numbers, strings and containers.

    map_location: where the tensors go: a device, a dict of devices by name, or a function of (memory, device's name);
    None: to where they were. weights_only=False: also whole modules, objects of our classes and of the program's own
    (in modules that it has imported), functions of both as values that the file cannot call, NumPy's arrays, and plain
    values (settings, dates, paths); never what else a pickle may name. What the program's classes do when they are
    made, and what a loaded model does when it is called, is theirs. `add_safe_globals` admits more. mmap and
    pickle_module are PyTorch's, without effect. pickle.UnpicklingError for a file that holds others, or is broken.
    """
    import zipfile

    from .unpickler import Unpickler

    ours = weights_only is False
    with contextlib.ExitStack() as stack:
        file = f if hasattr(f, "read") else stack.enter_context(open(f, "rb"))
        if not zipfile.is_zipfile(file):
            return _guarded(lambda: _read_legacy(file, map_location, ours))
        archive = stack.enter_context(zipfile.ZipFile(file))
        names = archive.namelist()
        root = next((n.removesuffix("data.pkl") for n in names if n.endswith("data.pkl")), None)
        if root is None:
            raise pickle.UnpicklingError("the archive has no data.pkl: it is not a file of save()")
        swapped = f"{root}byteorder" in names and archive.read(f"{root}byteorder").decode() != sys.byteorder
        known: dict[str, _Memory] = {}

        def memory(key: str, kind: Any, place: str) -> _Memory:
            if key not in known:
                array = np.frombuffer(bytearray(archive.read(f"{root}data/{key}")), kind.dtype)
                known[key] = _Memory(array.byteswap() if swapped else array, _destination(array, place, map_location))
            return known[key]

        structure = io.BytesIO(archive.read(f"{root}data.pkl"))
        return _guarded(lambda: Unpickler(structure, memory, ours).load())


def _guarded(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:
        if isinstance(error, (pickle.UnpicklingError, OSError, _NoDevice)):
            raise
        raise pickle.UnpicklingError(f"the file is broken: {error}") from error


def _read_legacy(file: Any, map_location: Any, ours: bool) -> Any:
    """The format before PyTorch 1.6; see `_write_legacy`. The structure is read twice: its bytes come after it."""
    from .unpickler import Sketch, Unpickler

    file.seek(0)
    content = io.BytesIO(file.read())

    def part(memory: Any = None, ours: bool = False) -> Any:
        return Unpickler(content, memory, ours).load()

    try:
        magic, version = part(), part()
    except Exception:
        magic = version = None
    if (magic, version) != (_MAGIC, _PROTOCOL):
        raise pickle.UnpicklingError("not a file of save(): it is neither a zip archive nor PyTorch's older format")
    swapped = part()["little_endian"] != (sys.byteorder == "little")
    kinds: dict[str, tuple[Any, str]] = {}

    def noted(key: str, kind: Any, place: str) -> _Memory:
        kinds[key] = kind, place
        return _Memory(None, None)

    start = content.tell()
    Sketch(content, noted).load()
    known = {}
    for key in part():
        kind, place = kinds[str(key)]
        count = int.from_bytes(content.read(8), "big" if (sys.byteorder == "big") != swapped else "little")
        array = np.frombuffer(bytearray(content.read(count * kind.dtype.itemsize)), kind.dtype)
        known[str(key)] = _Memory(array.byteswap() if swapped else array, _destination(array, place, map_location))
    content.seek(start)
    return part(lambda key, kind, place: known[key], ours)


def default_restore_location(storage: Any, location: str) -> Any:
    """`storage` on the device that `location` names, for functions that are given as map_location."""
    return storage.to(location)


class _NoDevice(RuntimeError):
    """The device that a file names cannot be had."""


def _destination(array: Any, place: str, map_location: Any) -> device:
    """The device for memory that came from `place`."""
    if isinstance(map_location, dict):
        place = map_location.get(place, place)
    elif callable(map_location):
        chosen = map_location(wrap(array, None), place)
        place = place if chosen is None else chosen.device
    elif map_location is not None:
        place = map_location
    try:
        found = device(place)
        found.backend  # noqa: B018  the clear error, where the device cannot be had
    except RuntimeError as error:
        raise _NoDevice(f"{error}. To read the file without it: load(..., map_location='cpu')") from error
    return found
