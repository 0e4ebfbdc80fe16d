"""CUDA C kernels on the CPU: compiled by g++ with simulate.h, called through ctypes, between zones nothing may touch.

`Simulation()` takes the place of backends/cupy/launch.py's `machine`; host functions then compute with NumPy arrays.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
COMPILER = shutil.which("g++") or shutil.which("c++")
OPTIONS = ["-std=c++17", "-O1", "-shared", "-fPIC", "-w", "-fwrapv", "-fno-strict-aliasing", "-ffp-contract=off"]
LETTERS = {
    "int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q",
    "float16": "e", "bfloat16": "E", "float32": "f", "float64": "d", "bool": "B",
}  # fmt: skip
#: bytes before and behind each array; filled with ones, which as floats are NaN
ZONE = 4096
_FUNCTIONS = {}


def library(source, form):
    """A .cu file in one form as a shared library."""
    text = source.text(form) + "".join(f"SIMULATED({name})\n" for name in source.kernels)
    header = (HERE / "simulate.h").read_text()
    key = hashlib.sha256("\0".join([text, header, COMPILER, *OPTIONS]).encode()).hexdigest()[:24]
    folder = Path(os.environ.get("CHAINRULE_CACHE") or tempfile.gettempdir()) / f"cuda-simulation-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{key}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            file, made = Path(scratch, source.file).with_suffix(".cpp"), Path(scratch, "made.so")
            file.write_text(text)
            command = [COMPILER, *OPTIONS, "-include", str(HERE / "simulate.h"), "-o", str(made), str(file)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{source.file} {form}:\n{done.stderr}")
            made.replace(path)
    return ctypes.CDLL(str(path))


class Fault(AssertionError):
    """What a kernel must not do."""


class Guarded:
    """The memory of an array and what lies around it, as a kernel sees it."""

    def __init__(self, root):
        memory = np.full(root.nbytes + 2 * ZONE + 512, 0xFF, np.uint8)
        start = -memory.ctypes.data % 512 + ZONE
        self.data = memory[start : start + root.nbytes]
        self.zones = memory[:start], memory[start + root.nbytes :]
        self.address = memory.ctypes.data + start
        self.data[:] = bytes_of(root)

    def untouched(self):
        return all((zone == 0xFF).all() for zone in self.zones)


def bytes_of(array):
    """All bytes of an array without gaps, as a vector that shares its memory."""
    return np.ndarray(array.nbytes, np.uint8, (ctypes.c_char * array.nbytes).from_address(array.ctypes.data))


def arrays_of(args):
    """The arrays among a kernel's arguments, those behind a table of addresses too."""
    for a in args:
        if isinstance(a, np.ndarray):
            yield a
        elif hasattr(a, "table"):
            for column in a.columns:
                yield from column


def root_of(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _about_equal(root, *bytes_of_each):
    """Whether both are the same but for rounding, as sums in another order are."""
    values = [x.view(root.dtype).astype("float64") for x in bytes_of_each]
    tolerance = 1e-12 if root.dtype.itemsize == 8 else 1e-5
    return np.allclose(*values, rtol=tolerance, atol=tolerance, equal_nan=True)


class Simulation:
    """A machine whose memory is NumPy's."""

    xp = np

    def __init__(self):
        self.launches = []  # (name, form) of each kernel that ran

    def pointer(self, array):
        """As on a GPU, where each array taken from the pool begins at a multiple of 512 bytes."""
        return 1 << 20 | (array.ctypes.data - root_of(array).ctypes.data)

    def launch(self, kernel, grid, block, args, shared):
        run, letters, atomic_sums = self._function(kernel)
        self._check(kernel, letters, args)
        shape = [(*s, 1, 1)[:3] for s in (grid, block)]
        if max(shape[0][1:]) > 65535 or shape[0][0] >= 2**31 or shared > 227 << 10:
            raise Fault(f"{kernel.name}: no GPU launches a grid {grid} with {shared} bytes of shared memory")
        self.launches.append((kernel.name, kernel.form))
        roots = {id(r): r for r in map(root_of, arrays_of(args))}
        results = []
        for backwards in (0, 1):
            guarded = {key: Guarded(root) for key, root in roots.items()}
            pointers = []

            def address(a, guarded=guarded):
                root = root_of(a)
                return guarded[id(root)].address + a.ctypes.data - root.ctypes.data

            for a in args:
                if isinstance(a, np.ndarray):
                    value = ctypes.c_uint64(address(a))
                elif hasattr(a, "table"):
                    value = np.ctypeslib.as_ctypes(a.table(address))
                elif type(a) is float:
                    value = ctypes.c_double(a)
                else:
                    value = ctypes.c_int64(0 if a is None else int(a))
                pointers.append(value)
            addresses = (ctypes.c_void_p * len(pointers))(*[ctypes.addressof(p) for p in pointers])
            fault = run(addresses, *[(ctypes.c_uint * 3)(*s) for s in shape], backwards)
            if fault:
                raise Fault(f"{kernel.name} {kernel.form}: {fault.decode()}")
            if not all(g.untouched() for g in guarded.values()):
                raise Fault(f"{kernel.name} {kernel.form}: it wrote outside its arrays")
            results.append(guarded)
        for key, root in roots.items():
            first, second = (r[key].data for r in results)
            if not np.array_equal(first, second) and not (atomic_sums() and _about_equal(root, first, second)):
                raise Fault(f"{kernel.name} {kernel.form}: the result depends on the order in which threads run")
            bytes_of(root)[:] = first

    def _function(self, kernel):
        key = kernel.name, kernel.form
        if key not in _FUNCTIONS:
            made = library(kernel.source, kernel.form)
            run, letters, sums = (getattr(made, f"{what}_{kernel.name}") for what in ("run", "letters", "atomic_sums"))
            run.restype = letters.restype = ctypes.c_char_p
            _FUNCTIONS[key] = run, letters().decode(), sums
        return _FUNCTIONS[key]

    def _check(self, kernel, letters, args):
        """The arguments have the types that the kernel declares."""
        wants = re.findall("p?.", letters)
        if len(wants) != len(args):
            raise Fault(f"{kernel.name} takes {len(wants)} arguments, got {len(args)}")
        for number, (want, a) in enumerate(zip(wants, args)):
            if isinstance(a, np.ndarray):
                found = "p" + LETTERS[a.dtype.name]
                if want == "pv":
                    continue
            elif hasattr(a, "table"):
                found = "A"
            elif a is None:
                found = "p?" if not want.startswith("p") else want
            elif type(a) is int:
                found = "q"
            elif type(a) is float:
                found = "d"
            else:
                raise Fault(f"{kernel.name}: argument {number} is a {type(a).__name__}")
            if found != want:
                raise Fault(f"{kernel.name}: argument {number} is declared {want!r} and was given as {found!r}")
