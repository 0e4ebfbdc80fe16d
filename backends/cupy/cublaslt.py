"""cuBLASLt by ctypes: the products of matrices of the GPU backend. This file has not run on a GPU yet.

CuPy's own route to cuBLAS refuses to work while a CUDA graph is captured (stream and workspace belong to its handle),
and multiplies stacks of 16-bit matrices in a kernel for integers. cuBLASLt takes stream and workspace with each call,
and adds biases, ReLU, GELU (its tanh form) and their gradients in the product's epilogue.

Constants and structs are those of cublasLt.h 12.9.1 and 13.1.0 (nvidia-cublas-cu12 12.9.3.13, nvidia-cublas 13.1.0.3),
which agree in all that is used here; tests/test_cublaslt.py compares them with the header beside the library.

A product is described once (`Prepared`): descriptors, layouts and the algorithm that the library's heuristics or a
measurement chose. The memory that an algorithm works in is taken from CuPy's pool for each call: the pool keeps what a
stream has freed for that stream, or the graph that is being captured, so no two of them share it. Turned down: 32 MiB
held for each stream.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from ctypes import POINTER, Structure, byref, c_float, c_int, c_int64, c_size_t, c_uint64, c_void_p
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from ..matrices import Gemm

__all__ = ["Compute", "CublasError", "Epilogue", "Library", "Missing", "Prepared", "Setup", "Type", "load"]

#: how much memory an algorithm may ask for, as PyTorch has it for Hopper
WORKSPACE = 32 << 20


# -- names ------------------------------------------------------------------------------------------------------------


class Type(IntEnum):
    """cudaDataType_t."""

    R_32F = 0
    R_64F = 1
    R_16F = 2
    R_16BF = 14


class Compute(IntEnum):
    """cublasComputeType_t: in what products are summed."""

    F16 = 64
    F32 = 68
    F32_FAST_TF32 = 77
    F64 = 70


class Epilogue(IntEnum):
    """cublasLtEpilogue_t: what is done to a product before it is written.

    Bias and bias gradients are vectors along the rows of D, BGRADB's along its columns. AUX: the input of GELU is
    written (for ReLU a bit per element); DGELU and DRELU read it.
    """

    DEFAULT = 1
    RELU = 2
    BIAS = 4
    RELU_BIAS = 6
    RELU_AUX = 130
    RELU_AUX_BIAS = 134
    DRELU = 136
    DRELU_BGRAD = 152
    GELU = 32
    GELU_BIAS = 36
    GELU_AUX = 160
    GELU_AUX_BIAS = 164
    DGELU = 192
    DGELU_BGRAD = 208
    BGRADA = 256
    BGRADB = 512


class Desc(IntEnum):
    """cublasLtMatmulDescAttributes_t, as far as they are set here."""

    COMPUTE_TYPE = 0
    SCALE_TYPE = 1
    TRANSA = 3
    TRANSB = 4
    EPILOGUE = 7
    BIAS_POINTER = 8
    EPILOGUE_AUX_POINTER = 11
    EPILOGUE_AUX_LD = 12


class Layout(IntEnum):
    """cublasLtMatrixLayoutAttribute_t, as far as they are set here."""

    TYPE = 0
    ORDER = 1
    ROWS = 2
    COLS = 3
    LD = 4
    BATCH_COUNT = 5
    STRIDED_BATCH_OFFSET = 6


class Preference(IntEnum):
    """cublasLtMatmulPreferenceAttributes_t, as far as they are set here."""

    MAX_WORKSPACE_BYTES = 1
    REDUCTION_SCHEME_MASK = 3
    MIN_ALIGNMENT_A_BYTES = 5
    MIN_ALIGNMENT_B_BYTES = 6
    MIN_ALIGNMENT_C_BYTES = 7
    MIN_ALIGNMENT_D_BYTES = 8


class Reduction(IntEnum):
    """cublasLtReductionScheme_t: how the parts of a sum that is split are added up."""

    NONE = 0
    INPLACE = 1
    COMPUTE_TYPE = 2
    OUTPUT_TYPE = 4
    MASK = 7


_STATUS = {
    1: "NOT_INITIALIZED",
    3: "ALLOC_FAILED",
    7: "INVALID_VALUE",
    8: "ARCH_MISMATCH",
    11: "MAPPING_ERROR",
    13: "EXECUTION_FAILED",
    14: "INTERNAL_ERROR",
    15: "NOT_SUPPORTED",
    16: "LICENSE_ERROR",
}


class Algorithm(Structure):
    """cublasLtMatmulAlgo_t."""

    _fields_ = [("data", c_uint64 * 8)]


class Found(Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = [
        ("algorithm", Algorithm),
        ("workspace", c_size_t),
        ("state", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    ]


#: C types of the attributes that are no int32_t or uint32_t, by name (equal numbers of two enumerations are equal keys)
_WIDE: dict[str, Any] = {
    **dict.fromkeys(["BIAS_POINTER", "EPILOGUE_AUX_POINTER"], c_void_p),
    **dict.fromkeys(["EPILOGUE_AUX_LD", "LD", "STRIDED_BATCH_OFFSET"], c_int64),
    **dict.fromkeys(["ROWS", "COLS", "MAX_WORKSPACE_BYTES"], c_uint64),
}
_KINDS = {Desc: "MatmulDesc", Layout: "MatrixLayout", Preference: "MatmulPreference"}


# -- the library ------------------------------------------------------------------------------------------------------


class Missing(RuntimeError):
    """There is no cuBLASLt; the message says where it was looked for."""


class CublasError(RuntimeError):
    """A call that cuBLASLt refused. `status`: its cublasStatus_t."""

    def __init__(self, call: str, status: int) -> None:
        super().__init__(f"{call}: CUBLAS_STATUS_{_STATUS.get(status, status)}")
        self.status = status


_SIGNATURES: dict[str, list[Any]] = {
    "cublasLtCreate": [POINTER(c_void_p)],
    "cublasLtMatmulDescCreate": [POINTER(c_void_p), c_int, c_int],
    "cublasLtMatrixLayoutCreate": [POINTER(c_void_p), c_int, c_uint64, c_uint64, c_int64],
    "cublasLtMatmulPreferenceCreate": [POINTER(c_void_p)],
    "cublasLtMatmulAlgoGetHeuristic": [*[c_void_p] * 7, c_int, POINTER(Found), POINTER(c_int)],
    "cublasLtMatmul": [*[c_void_p] * 14, c_size_t, c_void_p],
    **{f"cublasLt{kind}Destroy": [c_void_p] for kind in _KINDS.values()},
    **{f"cublasLt{kind}SetAttribute": [c_void_p, c_int, c_void_p, c_size_t] for kind in _KINDS.values()},
    **{
        f"cublasLt{kind}GetAttribute": [c_void_p, c_int, c_void_p, c_size_t, POINTER(c_size_t)]
        for kind in _KINDS.values()
    },
}


class Library:
    """The functions of one libcublasLt."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._library = ctypes.CDLL(path)
        self._library.cublasLtGetVersion.restype = c_size_t
        for name, types in _SIGNATURES.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = types, c_int
        self.matmul = self._library.cublasLtMatmul
        self._handles: dict[int, c_void_p] = {}
        self._lock = threading.Lock()

    @property
    def version(self) -> int:
        """major * 10000 + minor * 100 + patch; those before 11 by another formula."""
        return int(self._library.cublasLtGetVersion())

    def call(self, name: str, *args: Any) -> None:
        """Call a function; CublasError unless it succeeds."""
        status = getattr(self._library, name)(*args)
        if status:
            raise CublasError(name, status)

    def handle(self, device: int) -> c_void_p:
        """The handle of a device, which must be the current one."""
        with self._lock:
            if device not in self._handles:
                made = c_void_p()
                self.call("cublasLtCreate", byref(made))
                self._handles[device] = made
            return self._handles[device]

    def make(self, kind: type[IntEnum], *args: Any) -> Descriptor:
        """A descriptor, with the arguments of its C function that makes it."""
        made = c_void_p()
        self.call(f"cublasLt{_KINDS[kind]}Create", byref(made), *args)
        return Descriptor(self, kind, made)


class Descriptor:
    """An opaque struct of the library's: a matmul, a layout or a preference. Its attributes are items."""

    def __init__(self, library: Library, kind: type[IntEnum], handle: c_void_p) -> None:
        self._library, self._kind, self.handle = library, _KINDS[kind], handle

    def __setitem__(self, name: IntEnum, value: int) -> None:
        cell = _WIDE.get(name.name, c_int)(value)
        self._library.call(f"cublasLt{self._kind}SetAttribute", self.handle, name, byref(cell), ctypes.sizeof(cell))

    def __getitem__(self, name: IntEnum) -> Any:
        cell, written = _WIDE.get(name.name, c_int)(), c_size_t()
        arguments = self.handle, name, byref(cell), ctypes.sizeof(cell), byref(written)
        self._library.call(f"cublasLt{self._kind}GetAttribute", *arguments)
        return cell.value

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self._library.call(f"cublasLt{self._kind}Destroy", self.handle)


def _places(major: int) -> Iterator[str]:
    """Where a libcublasLt of CUDA `major` may lie: NVIDIA's wheels, conda, a toolkit, the loader's own places."""
    name, folders = f"libcublasLt.so.{major}", ["lib", "lib64"]
    if sys.platform == "win32":
        name, folders = f"cublasLt64_{major}.dll", ["bin", "bin/x64"]
    for entry in sys.path:
        for package in (f"nvidia/cu{major}", "nvidia/cublas"):
            yield from [str(Path(entry, package, folder, name)) for folder in folders]
    roots = [os.environ.get("CUDA_PATH"), os.environ.get("CUDA_HOME"), sys.prefix, "/usr/local/cuda"]
    for root in filter(None, roots):
        yield from [str(Path(root, folder, name)) for folder in folders]
    yield name


def find(major: int) -> str:
    """The path of the library that CuPy would load; `Missing` where there is none. `major`: CuPy's CUDA version."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        return str(load_nvidia_dynamic_lib("cublasLt").abs_path)
    except (ImportError, RuntimeError):  # DynamicLibNotFoundError is one
        pass
    for path in _places(major):
        if os.path.sep in path:
            if os.path.exists(path):
                return path
            continue
        try:
            ctypes.CDLL(path)
        except OSError:
            continue
        return path
    raise Missing(
        f"there is no libcublasLt of CUDA {major}: it comes with pip install nvidia-cublas"
        f"{'-cu12' if major < 13 else ''} or a CUDA toolkit (set CUDA_PATH where that lies in no usual place)"
    )


@functools.cache
def load(major: int) -> Library:
    """The library, loaded once; `Missing` where there is none."""
    return Library(find(major))


# -- products ---------------------------------------------------------------------------------------------------------


class Setup(NamedTuple):
    """All of a product but its addresses. `alignments`: bytes that divide the addresses of A, B, D, bias and aux.

    `aux_ld`: the distance of two columns of the input of GELU (in elements, a multiple of 8) or of the bits of ReLU (in
    bits, a multiple of 128). `reduction`: `Reduction`s that may be used.
    """

    gemm: Gemm
    type: Type
    compute: Compute
    epilogue: Epilogue = Epilogue.DEFAULT
    alignments: tuple[int, ...] = (256, 256, 256, 256, 256)
    aux_ld: int = 0
    reduction: int = Reduction.MASK


_ONE_HALF = (ctypes.c_uint16(0x3C00), ctypes.c_uint16(0))
#: compute type -> (type of alpha and beta, (1, 0) in it)
_SCALES: dict[Compute, tuple[Type, tuple[Any, Any]]] = {
    Compute.F16: (Type.R_16F, _ONE_HALF),
    Compute.F32: (Type.R_32F, (c_float(1), c_float(0))),
    Compute.F32_FAST_TF32: (Type.R_32F, (c_float(1), c_float(0))),
    Compute.F64: (Type.R_64F, (ctypes.c_double(1), ctypes.c_double(0))),
}


class Prepared:
    """A product that is ready to run: its descriptors, and once `choose` has been called, its algorithm."""

    def __init__(self, library: Library, setup: Setup) -> None:
        gemm = setup.gemm
        self.library, self.setup = library, setup
        scale, (one, zero) = _SCALES[setup.compute]
        self._one, self._zero = ctypes.addressof(one), ctypes.addressof(zero)
        self.desc = desc = library.make(Desc, setup.compute, scale)
        desc[Desc.TRANSA], desc[Desc.TRANSB] = int(gemm.turn_a), int(gemm.turn_b)
        desc[Desc.EPILOGUE] = setup.epilogue
        # the heuristics read the alignment of bias and aux off their addresses
        self._has_bias = bool(setup.epilogue & (Epilogue.BIAS | 16 | Epilogue.BGRADA | Epilogue.BGRADB))
        self._has_aux = bool(setup.epilogue & 128)
        self._bias, self._aux = setup.alignments[3:]
        if self._has_bias:
            desc[Desc.BIAS_POINTER] = self._bias
        if self._has_aux:
            desc[Desc.EPILOGUE_AUX_POINTER] = self._aux
            desc[Desc.EPILOGUE_AUX_LD] = setup.aux_ld
        a = (gemm.k, gemm.m) if gemm.turn_a else (gemm.m, gemm.k)
        b = (gemm.n, gemm.k) if gemm.turn_b else (gemm.k, gemm.n)
        self.a = self._layout(a, gemm.ld_a, gemm.step_a)
        self.b = self._layout(b, gemm.ld_b, gemm.step_b)
        self.d = self._layout((gemm.m, gemm.n), gemm.ld_d, gemm.step_d)
        self.algorithm: Any = None
        self.workspace = 0
        self._lock = threading.Lock()

    def _layout(self, shape: tuple[int, int], ld: int, step: int) -> Descriptor:
        layout = self.library.make(Layout, self.setup.type, *shape, ld)
        if self.setup.gemm.batch > 1:
            layout[Layout.BATCH_COUNT], layout[Layout.STRIDED_BATCH_OFFSET] = self.setup.gemm.batch, step
        return layout

    def preference(self) -> Descriptor:
        """What an algorithm may need."""
        preference = self.library.make(Preference)
        preference[Preference.MAX_WORKSPACE_BYTES] = WORKSPACE
        preference[Preference.REDUCTION_SCHEME_MASK] = self.setup.reduction
        a, b, d, _, _ = self.setup.alignments
        for name, value in zip(list(Preference)[2:], (a, b, d, d), strict=True):
            preference[name] = value
        return preference

    def candidates(self, handle: Any, count: int = 1) -> list[tuple[Any, int]]:
        """(algorithm, bytes that it works in), the best first by the library's heuristics; [] where none does it."""
        found, n = (Found * count)(), c_int()
        layouts = self.a.handle, self.b.handle, self.d.handle, self.d.handle
        preference = self.preference()
        arguments = handle, self.desc.handle, *layouts, preference.handle, count, found, byref(n)
        try:
            self.library.call("cublasLtMatmulAlgoGetHeuristic", *arguments)
        except CublasError as error:
            if error.status in (7, 15):  # a combination that no algorithm serves
                return []
            raise
        good = [f for f in found[: n.value] if f.state == 0]
        return [(Algorithm.from_buffer_copy(f.algorithm), f.workspace) for f in good]

    def choose(self, algorithm: Any, workspace: int) -> None:
        """Use `algorithm`, which works in `workspace` bytes, from now on."""
        self.algorithm, self.workspace = algorithm, workspace
        self._algorithm = ctypes.addressof(algorithm)

    def run(
        self, handle: Any, a: int, b: int, d: int, stream: int, workspace: int = 0, bias: int = 0, aux: int = 0
    ) -> None:
        """Launch the product on addresses of the device; `workspace`: that of `self.workspace` bytes."""
        if not (self._has_bias or self._has_aux):
            self._launch(handle, a, b, d, stream, workspace)
            return
        with self._lock:  # the addresses are attributes of the descriptor, which threads share
            if self._has_bias and bias != self._bias:
                self.desc[Desc.BIAS_POINTER] = self._bias = bias
            if self._has_aux and aux != self._aux:
                self.desc[Desc.EPILOGUE_AUX_POINTER] = self._aux = aux
            self._launch(handle, a, b, d, stream, workspace)

    def _launch(self, handle: Any, a: int, b: int, d: int, stream: int, workspace: int) -> None:
        status = self.library.matmul(
            *(handle, self.desc.handle, self._one, a, self.a.handle, b, self.b.handle),
            *(self._zero, d, self.d.handle, d, self.d.handle),
            *(self._algorithm, workspace, self.workspace, stream),
        )
        if status:
            raise CublasError("cublasLtMatmul", status)


def fastest(prepared: Prepared, candidates: list[tuple[Any, int]], time: Callable[[], float]) -> tuple[Any, int]:
    """The candidate for which `time()` is least: milliseconds of one launch of `prepared`, whose algorithm is set."""
    best = None
    for algorithm, workspace in candidates:
        prepared.choose(algorithm, workspace)
        try:
            took = time()
        except CublasError:  # a candidate that does not run after all
            continue
        if best is None or took < best[0]:
            best = took, algorithm, workspace
    if best is None:
        raise CublasError("cublasLtMatmul", 15)
    return best[1], best[2]
