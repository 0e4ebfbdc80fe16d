"""CUDA C kernels: the table of them, how they are compiled, and how they are launched.

How to add a kernel:

1. Write it in backends/cupy/cuda/<file>.cu, as `extern "C" __global__ void name(...)`, with `#include "common.cuh"` and
   no other header (NVRTC then needs none of CUDA's). What the file leaves open are names: `T` for a type of elements,
   say, or `N` for a number. Arrays arrive as pointers, Python's int as `i64`, float as `double`, None as a null
   pointer: a kernel converts once, and nothing has to be said about it here.
2. Beside the host function that launches it: `SOURCE = Source("file.cu", T=FLOATS)` lists what each name may be, and
   `forward = SOURCE.kernel("name")` names a kernel. `forward[x.dtype](grid, block, x, y, rows, n)` launches it; with
   several names the key is a tuple in their order. A launch with an empty grid does nothing.
3. The host function gets arrays of any strides: `contiguous(x)` copies where it must, `new(shape, dtype)` takes memory,
   `wide_loads(n, x, y)` says whether rows of n elements can be read by 16 bytes. It never looks at values, so that it
   can be captured; what changes between replays (seeds, rates) it takes as an array of one element.
4. Import its module in kernels.py and enter it in KERNELS. tests/test_cuda_kernels.py then compiles each kernel in each
   form; a test there runs the host function on NumPy arrays: `machine` is swapped for a simulation on the CPU, which
   sees wrong argument types, writes beyond an array and threads that miss a barrier.

Each form (a file with its names given) is one module, compiled by CuPy at its first launch and kept in CuPy's cache on
disk. Turned down: C++ templates with name expressions, which make mangled names and one module for all dtypes, most of
which a program never uses. None of this has run on a GPU yet.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cupy
import numpy as np

__all__ = [
    "ADDRESSES",
    "FLOATS",
    "INDICES",
    "OPTIONS",
    "SOURCES",
    "Addresses",
    "Kernel",
    "Launch",
    "Source",
    "blocks",
    "contiguous",
    "in_one_order",
    "machine",
    "new",
    "new_like",
    "row_blocks",
    "signed",
    "wide_loads",
    "zeros",
]

FLOATS = ("float32", "float16", "bfloat16", "float64")
INDICES = ("int64", "int32")
#: what NVRTC is told: lambdas are the device's. CuPy adds -ftz=true: floats below 1e-38 count as zero, as in its own
#: kernels; division and square roots are exact
OPTIONS = ("--std=c++17", "--device-as-default-execution-space")
#: addresses in a struct that is handed over by value: CUDA's parameters of a kernel take up to 4096 bytes
ADDRESSES = 480
#: threads of a block, where nothing else decides
THREADS = 256

_C_TYPES = {
    "float32": "float",
    "float64": "double",
    "float16": "half_t",
    "bfloat16": "bfloat_t",
    "int64": "i64",
    "int32": "i32",
    "int16": "i16",
    "int8": "i8",
    "uint64": "u64",
    "uint32": "u32",
    "uint8": "u8",
    "bool": "u8",
}
_FOLDER = Path(__file__).parent / "cuda"
_INCLUDE = '#include "common.cuh"\n'


# -- the table ---------------------------------------------------------------------------------------------------------


class Source:
    """A .cu file and the values that each name it leaves open may take: names of dtypes, or numbers.

    `where(*values)` leaves combinations out.
    """

    def __init__(self, file: str, where: Callable[..., bool] | None = None, **choices: tuple[Any, ...]) -> None:
        self.file, self.names = file, tuple(choices)
        self.kernels: dict[str, Kernel] = {}
        self.forms = [v for v in itertools.product(*choices.values()) if where is None or where(*v)]
        self._modules: dict[tuple[Any, ...], Any] = {}
        if file in SOURCES:
            raise ValueError(f"{file} is in the table already")
        SOURCES[file] = self

    def kernel(self, name: str) -> Kernel:
        """The kernel `name` of this file, in all its forms."""
        return self.kernels.setdefault(name, Kernel(self, name))

    def text(self, form: tuple[Any, ...]) -> str:
        """The file in one form, with our headers put in: CuPy's cache knows a kernel by its text and the options."""
        given = [
            f"typedef {_C_TYPES[value]} {name};" if value in _C_TYPES else f"static constexpr int {name} = {value};"
            for name, value in zip(self.names, form, strict=True)
        ]
        head, _, body = (_FOLDER / self.file).read_text(encoding="utf-8").partition(_INCLUDE)
        return "\n".join([head, (_FOLDER / "common.cuh").read_text(encoding="utf-8"), *given, body])

    def module(self, form: tuple[Any, ...]) -> Any:
        """The file compiled in one form."""
        if form not in self._modules:
            self._modules[form] = cupy.RawModule(code=self.text(form), options=OPTIONS)
        return self._modules[form]


SOURCES: dict[str, Source] = {}


class Kernel:
    """A kernel in all its forms: `kernel[dtype]` is one of them."""

    def __init__(self, source: Source, name: str) -> None:
        self.source, self.name = source, name
        self._launches: dict[Any, Launch] = {}

    def __getitem__(self, key: Any) -> Launch:
        found = self._launches.get(key)
        if found is None:
            form = tuple(_value(part) for part in (key if isinstance(key, tuple) else (key,)))
            if form not in self.source.forms:
                raise KeyError(f"{self.source.file}: there is no {self.name} for {form}")
            found = self._launches[key] = Launch(self.source, self.name, form)
        return found

    def __contains__(self, key: Any) -> bool:
        return tuple(_value(part) for part in (key if isinstance(key, tuple) else (key,))) in self.source.forms

    def __iter__(self) -> Iterator[Launch]:
        return iter([Launch(self.source, self.name, form) for form in self.source.forms])


def _value(part: Any) -> Any:
    return part if isinstance(part, (int, str)) else np.dtype(part).name


class Launch:
    """One form of a kernel. Called with a grid, a block (numbers or tuples) and the kernel's arguments."""

    __slots__ = ("form", "function", "name", "source")

    def __init__(self, source: Source, name: str, form: tuple[Any, ...]) -> None:
        self.source, self.name, self.form = source, name, form
        self.function: Any = None

    def __call__(self, grid: Any, block: Any, *args: Any, shared: int = 0) -> None:
        """`shared`: bytes of dynamic shared memory."""
        grid = grid if isinstance(grid, tuple) else (grid,)
        block = block if isinstance(block, tuple) else (block,)
        if math.prod(grid):
            machine.launch(self, grid, block, args, shared)


# -- what runs them ----------------------------------------------------------------------------------------------------


class Machine:
    """The GPU. Tests put a simulation in its place."""

    xp: Any = cupy

    def launch(self, kernel: Launch, grid: Any, block: Any, args: Any, shared: int) -> None:
        """Queue the kernel on the current stream."""
        function = kernel.function
        if function is None:
            function = kernel.function = kernel.source.module(kernel.form).get_function(kernel.name)
        if shared > 48 << 10:
            function.max_dynamic_shared_size_bytes = shared
        function(grid, block, tuple([_argument(a) for a in args]), shared_mem=shared)

    def pointer(self, array: Any) -> int:
        """The address of its first element."""
        return array.data.ptr


class Addresses:
    """The addresses of arrays as one argument, handed over by value with the launch: `struct Addresses` of common.cuh.

    For a kernel over many arrays, found anew at each launch: no table on the device has to be filled before.
    `columns`: lists of up to ADDRESSES / len(columns) arrays; column c begins at c · ADDRESSES / len(columns).
    """

    __slots__ = ("columns",)

    def __init__(self, *columns: Sequence[Any]) -> None:
        self.columns = columns

    def table(self, address: Callable[[Any], int]) -> Any:
        """The struct, as NumPy's array."""
        found = np.zeros(ADDRESSES, np.uint64)
        for first, column in zip(range(0, ADDRESSES, ADDRESSES // len(self.columns)), self.columns):
            found[first : first + len(column)] = [address(a) for a in column]
        return found


_NULL = np.uint64(0)  # None would be an argument that is not there


def _argument(value: Any) -> Any:
    """What CuPy takes for it; of Python's int and float it makes int64 and float64 itself."""
    if value is None:
        return _NULL
    return cupy.cuda.function.CNumpyArray(value.table(machine.pointer)) if type(value) is Addresses else value


machine: Any = Machine()


# -- for host functions ------------------------------------------------------------------------------------------------


def new(shape: Any, dtype: Any) -> Any:
    """Memory for an array in C order."""
    return machine.xp.empty(shape, dtype)


def new_like(x: Any) -> Any:
    """Memory for an array of the shape and dtype of `x`, in C order."""
    return machine.xp.empty(x.shape, x.dtype)


def zeros(shape: Any, dtype: Any) -> Any:
    """Zeros in C order."""
    return machine.xp.zeros(shape, dtype)


def contiguous(x: Any) -> Any:
    """`x` in C order: itself, or a copy."""
    return x if x.flags.c_contiguous else machine.xp.ascontiguousarray(x)


def _order(x: Any) -> tuple[int, ...] | None:
    """The steps of an array's dimensions, in elements, where its memory has no gaps; dimensions of size 1 have none."""
    steps = tuple([0 if n == 1 else s // x.itemsize for s, n in zip(x.strides, x.shape)])
    expected = 1
    for step, n in sorted((s, n) for s, n in zip(steps, x.shape) if n > 1):
        if step != expected:
            return None
        expected *= n
    return steps


def in_one_order(*arrays: Any, dtype: Any = None) -> list[Any]:
    """Arrays of one shape as they are or copied, so that all lie in memory as the first one does, and memory for a
    result (of `dtype`) that lies so, too: an elementwise kernel goes through them as through vectors. Channels-last
    images stay that.
    """
    first = arrays[0]
    order = None if first.flags.c_contiguous else _order(first)
    if order is None:
        found = [contiguous(x) for x in arrays]
        return [*found, machine.xp.empty(first.shape, dtype or first.dtype)]
    found = [first]
    for x in arrays[1:]:
        if _order(x) != order:
            moved = machine.xp.empty_like(first, dtype=x.dtype)
            moved[...] = x
            x = moved
        found.append(x)
    return [*found, machine.xp.empty_like(first, dtype=dtype or first.dtype)]


def wide_loads(*arrays: Any) -> int:
    """1 where the memory of all arrays begins at a multiple of 16 bytes, as vector loads want it; else 0."""
    return int(all(x is None or machine.pointer(x) % 16 == 0 for x in arrays))


def signed(bits: int) -> int:
    """64 bits, as an int that a kernel's `i64` takes."""
    return (bits + 2**63) % 2**64 - 2**63


def blocks(count: int, per_block: int = THREADS, at_most: int = 1 << 30) -> int:
    """How many blocks it takes for `count` things."""
    return min(-(-count // per_block), at_most)


def row_blocks(n: int, itemsize: int, most: int = 512) -> tuple[int, int]:
    """(threads of a row, rows of a block) for rows of n elements, each thread with about two loads of 16 bytes.

    A warp or more for a row, a power of two; several rows share a block of 256 threads where they are short.
    """
    loads = -(-n * itemsize // 32)
    threads = min(max(32, 1 << max(loads - 1, 0).bit_length()), most)
    return threads, max(THREADS // threads, 1)
