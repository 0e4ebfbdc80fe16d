"""Memory that several tensors share: views, writes in place, and the checks against stale gradients.

Three rules (design section 4):

* Recording, an in-place op computes a new array and re-binds the tensor, so what nodes kept stays right. Tensors that
  share its memory belong to one `Family`; the others are made anew as views of the changed base, with their gradients.
* Not recording, it writes into the memory, and the write gets a serial number from the same count as the nodes. A node
  whose serial is older than the last write to memory that it kept raises in backward. That is one comparison of two
  integers per node, and nothing at all in the forward; turned down: a version number kept with every saved array.
  Writes into a part of the memory harm only who kept elements of that part: programs fill memory slot by slot, and
  hand on what is filled. Where PyTorch refuses such a write unless it goes through `.data`, it is allowed here.
* Memory shared with NumPy (`from_numpy`, `numpy()`) can change unseen, so nodes keep copies of it; and what they kept
  before it was handed out is compared by checksum.
"""

from __future__ import annotations

import weakref
from typing import Any

from .. import backends
from ..backends import np
from .dtypes import check_castable
from .errors import OpError, describe, device_name, user_place, warn
from .modes import MODES
from .tensor import Node, Tensor, next_serial, wrap

__all__ = [
    "SHARED",
    "Family",
    "as_memory",
    "assign",
    "dense_order",
    "last_write",
    "link",
    "protect",
    "share",
    "verify",
    "write",
    "writes",
]

#: id of the owner of memory -> (weak reference to it, serial of the last write, number of writes, the user's file and
#: line, the parts that writes went to: see `_parts`)
_WRITES: dict[int, tuple[Any, int, int, tuple[str, int] | None, list[Any]]] = {}
#: so many parts are told apart; one more, and all of the memory counts as written
_PARTS = 256
_last = 0
#: id of the owner of memory that NumPy sees, too -> (weak reference, serial, checksum when it was handed out)
SHARED: dict[int, tuple[Any, int, int | None]] = {}


#: True once a tensor has gone from one device to another: only then can a graph lie on two
_crossed = False


def note_crossing() -> None:
    """A tensor goes to another device."""
    global _crossed
    _crossed = True


def crossed() -> bool:
    """Whether a tensor has ever gone to another device."""
    return _crossed


# -- writes -----------------------------------------------------------------------------------------------------------


def last_write() -> int:
    """The serial of the newest write to any memory."""
    return _last


def _reference(owner: Any, table: dict[int, Any], key: int) -> Any:
    """A weak reference to `owner` that takes its entry out of `table` when it goes."""
    try:
        return weakref.ref(owner, lambda _: table.pop(key, None))
    except TypeError:  # bytes and the like, under a read-only array: keep it
        return lambda: owner


def mark_written(array: Any, line: tuple[str, int] | None = None) -> None:
    """Note that the memory of `array` was written into, at the user's `line` (None: by an optimizer)."""
    _note(array, backends.of(array), line)


def _note(array: Any, backend: backends.Backend, line: tuple[str, int] | None) -> None:
    global _last
    owner = array if type(array) is np.ndarray and array.base is None else backend.owner(array)
    key, _last = id(owner), next_serial()
    old = _WRITES.get(key)
    parts = _parts(array, owner, old)
    if old is None:
        _WRITES[key] = (_reference(owner, _WRITES, key), _last, 1, line, parts)
    else:
        _WRITES[key] = (old[0], _last, old[2] + 1, line, parts)


def _parts(array: Any, owner: Any, old: Any) -> list[Any]:
    """The writes to memory so far, as (serial, what `_Place` makes of the part), after one into `array`.

    A write to all of the memory is (serial, None), and stands for those before it.
    """
    if owner is array or array.nbytes >= getattr(owner, "nbytes", 0) or (old is not None and len(old[4]) >= _PARTS):
        return [(_last, None)]
    return [*(old[4] if old is not None else ()), (_last, _Place(array))]


def writes(array: Any) -> list[int]:
    """The serials of the writes into the memory of `array`, from the last one to all of it on."""
    entry = _WRITES.get(id(backends.of(array).owner(array)))
    return [] if entry is None else [serial for serial, _ in entry[4]]


class _Place:
    """Where the elements of an array lie. NumPy takes it for an array, which nobody reads: it may be on a GPU."""

    def __init__(self, array: Any) -> None:
        self.__array_interface__ = {
            "data": (backends.of(array).pointer(array), True),
            "shape": tuple(array.shape),
            "strides": tuple(array.strides),
            "typestr": f"|V{array.dtype.itemsize}",
            "version": 3,
        }


def _harmed(value: Any, parts: list[Any], serial: int) -> bool:
    """Whether one of the writes after `serial` went to elements of `value`."""
    later = [part for written, part in parts if written > serial]
    if None in later:
        return True
    place = np.asarray(_Place(value))
    return any(np.may_share_memory(place, p, max_work=1000) for p in map(np.asarray, later))


def mark_all_written(arrays: Any) -> None:
    """Note that the memory of each of `arrays`, all of one backend, was written into: one serial for all of them."""
    global _last
    _last, owner_of = next_serial(), backends.of(arrays[0]).owner
    for array in arrays:
        owner = owner_of(array)
        key = id(owner)
        old = _WRITES.get(key)
        entry = (_reference(owner, _WRITES, key), 0) if old is None else (old[0], old[2])
        _WRITES[key] = (entry[0], _last, entry[1] + 1, None, _parts(array, owner, old))


class Replayed:
    """The memory of `arrays`, which each replay of a captured step writes into: one mark for all of it."""

    __slots__ = ("count", "serial")

    def __init__(self, arrays: Any) -> None:
        self.serial = self.count = 0
        for array in arrays:
            owner = backends.of(array).owner(array)
            key = id(owner)
            known = _REPLAYED.setdefault(key, (_reference(owner, _REPLAYED, key), []))
            known[1].append(self)

    def mark(self) -> None:
        """Note that it was written into once more."""
        global _last
        self.serial = _last = next_serial()
        self.count += 1


#: id of the owner of memory -> (weak reference, what marks the replays that write into it)
_REPLAYED: dict[int, tuple[Any, list[Replayed]]] = {}


def version(array: Any) -> int:
    """How often the memory of `array` was written into."""
    key = id(backends.of(array).owner(array))
    entry = _WRITES.get(key)
    replays = sum(r.count for r in _REPLAYED[key][1]) if key in _REPLAYED else 0
    return replays + (entry[2] if entry else 0)


def verify(node: Node) -> None:
    """Raise when memory that `node` kept was changed since it was recorded."""
    for value in _arrays(node.saved):
        key = id(backends.of(value).owner(value))
        entry = _WRITES.get(key)
        if entry is not None and entry[1] > node.serial and _harmed(value, entry[4], node.serial):
            raise OpError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"{node.plan.op.name} kept a {describe(value)}, written into at {_said(entry[3])}. "
                "Write into a clone(), or run backward() before the change"
            )
        if key in _REPLAYED and any(r.serial > node.serial for r in _REPLAYED[key][1]):
            raise OpError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"{node.plan.op.name} kept a {describe(value)}, written into by a captured step that was replayed since"
            )
        shared = SHARED.get(key)
        if (
            shared is not None
            and shared[2] is not None
            and shared[1] > node.serial
            and _checksum(shared[0]()) != shared[2]
        ):
            raise OpError(
                f"{node.plan.op.name} kept a {describe(value)}, whose memory was handed out by numpy() and changed "
                "since: change a copy instead"
            )


def _said(line: tuple[str, int] | None) -> str:
    return "an optimizer step" if line is None else "{}:{}".format(*line)


def _arrays(values: Any) -> Any:
    for v in values if isinstance(values, tuple) else ():
        if isinstance(v, tuple):
            yield from _arrays(v)
        elif hasattr(v, "dtype") and hasattr(v, "nbytes") and not isinstance(v, (Tensor, np.generic)):
            yield v


# -- memory that NumPy sees -------------------------------------------------------------------------------------------


def share(array: Any, kept: bool = False) -> None:
    """Note that others can write into the memory of `array`; `kept`: nodes may hold it already."""
    global _last
    owner = backends.of(array).owner(array)
    key = id(owner)
    if key in SHARED:
        return
    serial = next_serial()
    SHARED[key] = (_reference(owner, SHARED, key), serial, _checksum(owner) if kept else None)
    if kept:
        _last = serial  # so that backward looks at what older nodes kept


def _checksum(owner: Any) -> int | None:
    if not isinstance(owner, np.ndarray):
        return None
    import zlib

    return zlib.crc32(owner if owner.flags.c_contiguous else np.ascontiguousarray(owner))


def is_shared(array: Any) -> bool:
    """True where NumPy code of the user's can write into the memory of `array`."""
    return bool(SHARED) and id(backends.of(array).owner(array)) in SHARED


def protect(saved: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a node keeps, with copies of memory that others can write into."""
    return tuple([_protect(v) for v in saved])


def _protect(v: Any) -> Any:
    if type(v) is tuple:
        return protect(v) if any(hasattr(x, "nbytes") for x in v) else v
    if hasattr(v, "nbytes") and hasattr(v, "dtype") and not isinstance(v, (Tensor, np.generic)) and is_shared(v):
        return v.copy()
    return v


# -- views ------------------------------------------------------------------------------------------------------------


class Family:
    """Tensors on the same memory: the base as it is now (array and node), and weak references to the members.

    What a detach() makes stands in a family of its own, with a graph of its own: one of the `relatives` of this family,
    which are weak references to all families on the memory. `shadow` is the newest that was made from this one.
    """

    __slots__ = ("__weakref__", "array", "leaf", "members", "node", "relatives", "shadow")

    def __init__(self, array: Any, node: Node | None, leaf: bool) -> None:
        self.array, self.node, self.leaf = array, node, leaf
        self.members: list[Any] = []
        self.shadow: Family | None = None
        self.relatives: list[Any] | None = None

    def add(self, member: Tensor) -> None:
        """Take a tensor in; its `chain` says how it is viewed from the base."""
        if len(self.members) > 32 and len(self.members) & (len(self.members) - 1) == 0:
            self.members = [m for m in self.members if m() is not None]
        self.members.append(weakref.ref(member))
        member.family = self

    def living(self) -> list[Tensor]:
        """The members that still exist."""
        return [t for m in self.members if (t := m()) is not None and t.family is self]

    def others(self) -> list[Family]:
        """The families on the other sides of detach(), on the same memory."""
        return [f for r in self.relatives or () if (f := r()) is not None and f is not self]


def as_memory(t: Tensor) -> None:
    """A NumPy scalar has no memory to share: hold a 0-d array from now on."""
    if isinstance(t.array, np.generic):
        t.array = np.asarray(t.array)


def _family_of(t: Tensor) -> Family:
    if t.family is None:
        Family(t.array, t.node, t.node is None and t.leaf).add(t)
    return t.family


def _shares(out: Any, array: Any) -> bool:
    owner = backends.of(array).owner
    return owner(out) is owner(array)


def link(source: Tensor, result: Any, op: Any, params: tuple[Any, ...]) -> None:
    """Note that the result(s) of a view op share the memory of `source`, if they do."""
    if isinstance(result, tuple):
        for index, view in enumerate(result):
            link_one(source, view, op, params, index)
    else:
        link_one(source, result, op, params)


def link_one(source: Tensor, view: Tensor, op: Any, params: tuple[Any, ...], index: int | None = None) -> None:
    """Note that `view`, output `index` of a view op (None: its only one), shares the memory of `source`, if it does."""
    array, base = source.array, view.array.base
    plain = base is not None and (base is array or base is array.base)
    if not plain and not _shares(view.array, array):
        return
    family = source.family
    if family is None:
        family = _family_of(source)
    view.chain = (*source.chain, (op, params, index))
    family.add(view)


def link_detached(source: Tensor, result: Tensor) -> None:
    """Note that `result` is a detached alias of `source`."""
    family = source.family
    if family is None:
        family = _family_of(source)
    shadow = family.shadow
    if shadow is None or len(shadow.members) > 1 or shadow.members[0]() is not None:
        shadow = family.shadow = _shadow_of(family)
    else:  # its only member is gone
        shadow.members.clear()
        shadow.node = None
    result.chain = source.chain
    shadow.add(result)


def _shadow_of(family: Family) -> Family:
    relatives = family.relatives
    if relatives is None:
        relatives = family.relatives = [weakref.ref(family)]
    elif len(relatives) & (len(relatives) - 1) == 0:
        relatives[:] = [r for r in relatives if r() is not None]
    shadow = Family(family.array, None, False)
    relatives.append(weakref.ref(shadow))
    shadow.relatives = relatives
    return shadow


def replay(base: Tensor, chain: tuple[Any, ...]) -> Tensor:
    """The view of `base` that `chain` describes."""
    for op, params, index in chain:
        base = op.apply([base], dict(zip(op.params, params, strict=True)))
        if index is not None:
            base = base[index]
    return base


# -- in place ---------------------------------------------------------------------------------------------------------


def write(t: Tensor, value: Any) -> None:
    """Write an array into the memory of `t`, which is not being recorded."""
    array = t.array
    if isinstance(array, np.generic):
        t.array = np.asarray(value, array.dtype)
        return
    backend = backends.of(array)
    if not backend.writable(array):
        raise OpError(
            f"unsupported operation: {describe(t)} is an expanded view (or read-only memory), where elements share one "
            "memory location; clone() it before writing in place"
        )
    array[...] = value
    _note(array, backend, user_place())


def dense_order(array: Any) -> tuple[int, ...] | None:
    """The dimensions of an array from the one with the largest step to the one with the smallest.

    None where its elements do not fill their memory.
    """
    if array.flags.c_contiguous:
        return tuple(range(array.ndim))
    order = tuple(sorted(range(array.ndim), key=lambda d: (-array.strides[d], d)))
    span = array.itemsize
    for d in reversed(order):
        if array.shape[d] != 1:
            if array.strides[d] != span:
                return None
            span *= array.shape[d]
    return order


def scale(t: Tensor, factor: Any) -> None:
    """Multiply the elements of `t`, which is not being recorded, by a number or an array of its dtype, in place."""
    as_memory(t)
    array = t.array
    backend = backends.of(array)
    backend.select(backend.device_of(array)[1])
    if not backend.writable(array):
        write(t, array * factor)  # which says what is wrong
    array *= factor
    mark_written(array, user_place())


def check_assignable(t: Tensor, value: Tensor, name: str, recording: bool) -> None:
    """Raise, before anything is changed, when `value` cannot take the place of `t`."""
    if recording and t.node is None and t.leaf:
        raise OpError(
            f"{name}: a leaf Variable that requires grad is being used in an in-place operation; do it under "
            "no_grad(), or on a clone()"
        )
    if backends.FOREIGN and device_name(t) != device_name(value):
        first, second = sorted((device_name(t), device_name(value)), reverse=True)
        raise OpError(
            f"{name}: Expected all tensors to be on the same device, but found at least two devices, {first} and "
            f"{second}!"
        )
    if tuple(value.array.shape) != tuple(t.array.shape):
        raise OpError(
            f"{name}: output with shape {list(t.array.shape)} doesn't match the broadcast shape "
            f"{list(value.array.shape)}"
        )


def assign(t: Tensor, value: Tensor, name: str = "in-place op", recording: bool = True) -> Tensor:
    """Let `t` hold `value` from now on, as an in-place op does: seen by every tensor on the same memory."""
    check_assignable(t, value, name, recording)
    if not (recording and value.requires_grad):
        write(t, value.array)
        return t
    family = t.family
    if family is None:
        _rebind_alone(t, value)
        return t
    if family.leaf:
        raise OpError(f"{name}: a view of a leaf Variable that requires grad is being used in an in-place operation")
    from .op import OPS

    base = value
    if t.chain:
        base = OPS["view_assign"](wrap(family.array, family.node), value, chain=t.chain)
    others = family.others()
    if is_shared(family.array):  # nodes hold copies of it, so the others' view of it can be kept up to date
        family.array[...] = base.array
        base.array = family.array
    elif any(other.leaf for other in others):  # a leaf keeps its memory, which may be a piece of a larger one
        write(wrap(family.array, None), base.array)
        base.array = family.array
    elif t.chain == () and _shares_any(base.array, family.array):
        base = OPS["clone"](base)
    family.array, family.node = base.array, base.node
    for member in family.living():
        view = replay(wrap(family.array, family.node), member.chain) if member.chain else base
        member.array, member.node = view.array, view.node
    for other in others:  # on the other side of a detach() the values arrive, and no gradients
        other.array = family.array
        for member in other.living():
            member.array = replay(wrap(family.array, None), member.chain).array
    return t


def deliver(result: Any, target: Any, name: str) -> Any:
    """Put a result into the tensor(s) that the caller gave as `out=`."""
    if isinstance(result, tuple):
        for r, t in zip(result, target, strict=True):
            deliver(r, t, name)
        return target
    if not isinstance(target, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(target).__name__}")
    if result.requires_grad or (target.requires_grad and MODES.get().grad):
        raise OpError(f"{name}(): functions with out=... arguments don't support automatic differentiation")
    if target.array.dtype != result.array.dtype:
        check_castable(name, result.array.dtype, target.array.dtype)
    if target.array.shape == result.array.shape:
        write(target, result.array)
    elif target.array.size == 0:
        target.array, target.family = result.array.astype(target.array.dtype), None
    else:
        warn(
            f"An output with one or more elements was resized since it had shape {list(target.array.shape)}, which "
            f"does not match the required output shape {list(result.array.shape)}. Give one of that shape, or one "
            "without elements: t.resize_(0)."
        )
        into(target, result)
    return target


def into(target: Tensor, made: Tensor) -> Tensor:
    """`target` with the shape and the numbers of `made`: the `out=` of functions that make tensors."""
    if target.array.shape != made.array.shape:
        target.resize_(made.array.shape)
    return target.copy_(made)


def _shares_any(a: Any, b: Any) -> bool:
    return not isinstance(a, np.generic) and not isinstance(b, np.generic) and _shares(a, b)


def _rebind_alone(t: Tensor, value: Tensor) -> None:
    array = t.array
    if not isinstance(array, np.generic) and is_shared(array):
        array[...] = value.array
        t.node = value.node
        return
    if value.family is not None or value.leaf:  # an alias of another tensor: take its own memory
        from .op import OPS

        value = OPS["clone"](value)
    t.array, t.node = value.array, value.node
