"""`pytest --redzones`: arrays lie between bytes that no kernel may touch.

Machine code that writes past the end of an array harms whatever lies there, and shows much later or never. With the
option `np.empty` and `np.zeros` give arrays with a zone of known bytes on both sides, which are looked at after every
call of a compiled kernel and every stretch of them in a program. `make test-fast` runs the tests of kernels this way.
"""

import weakref

import numpy as np

from chainrule.backends.compiled import build, lockstep
from chainrule.backends.numpy import memory

ZONE, MARK = 256, 0xA5
_UNTOUCHED = bytes([MARK]) * ZONE
_empty = np.empty
_living = {}


def surrounded(shape, dtype=float, order="C", *, zero=False):
    dtype, shape = np.dtype(dtype), (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if not size or dtype.hasobject:
        return np.zeros_like(_empty(shape, dtype)) if zero else _empty(shape, dtype, order)
    memory = _empty(size + 2 * ZONE, np.uint8)
    memory[:ZONE] = memory[ZONE + size :] = MARK
    if zero:
        memory[ZONE : ZONE + size] = 0
    key = id(memory)
    _living[key] = weakref.ref(memory, lambda _: _living.pop(key, None)), size
    return memory[ZONE : ZONE + size].view(dtype).reshape(shape, order="F" if order == "F" else "C")


def check(kernel, args):
    for reference, size in list(_living.values()):
        memory = reference()
        if memory is None:
            continue
        if memory[:ZONE].tobytes() != _UNTOUCHED or memory[ZONE + size :].tobytes() != _UNTOUCHED:
            before, after = memory[:ZONE] != MARK, memory[ZONE + size :] != MARK
            memory[:ZONE] = memory[ZONE + size :] = MARK
            shown = ", ".join(f"{a.dtype}{list(a.shape)}" if isinstance(a, np.ndarray) else str(a) for a in args)
            raise AssertionError(
                f"{kernel!r} wrote {before.sum()} bytes before and {after.sum()} behind an array of {size}: ({shown})"
            )


def install():
    """For the rest of the process."""
    call = build.Kernel.__call__

    def checked(self, *args):
        call(self, *args)
        check(self, args)

    run = lockstep.Stretch.run

    def checked_run(self):
        run(self)
        check(self, ())

    build.Kernel.__call__, lockstep.Stretch.run = checked, checked_run
    np.empty = surrounded
    np.zeros = lambda shape, dtype=float, order="C", **_: surrounded(shape, dtype, order, zero=True)
    memory.LARGE = float("inf")  # all from np.empty
