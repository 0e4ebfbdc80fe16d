"""The binding of cuBLASLt. Constants are compared with the library's header, descriptors are made and read back.

Needs CuPy (for its package alone) and libcublasLt, and no GPU: `make test-gpu-static` runs this.
"""

import ctypes
import re
from pathlib import Path

import pytest

pytest.importorskip("cupy", reason="CuPy is not installed; `make test-gpu-static` runs this")

from chainrule.backends.cupy import cublaslt
from chainrule.backends.cupy.cublaslt import Compute, CublasError, Desc, Epilogue, Layout, Preference, Reduction, Type
from chainrule.backends.matrices import matmul

#: copied by hand from cublasLt.h, cublas_api.h and library_types.h of CUDA 12.9 (nvidia-cublas-cu12 12.9.3.13)
COPIED = {
    "CUDA_R_": "32F 0 64F 1 16F 2 16BF 14",
    "CUBLAS_COMPUTE_": "16F 64 32F 68 64F 70 32F_FAST_TF32 77",
    "CUBLASLT_EPILOGUE_": """
        DEFAULT 1 RELU 2 BIAS 4 RELU_BIAS 6 RELU_AUX 130 RELU_AUX_BIAS 134 DRELU 136 DRELU_BGRAD 152 GELU 32
        GELU_BIAS 36 GELU_AUX 160 GELU_AUX_BIAS 164 DGELU 192 DGELU_BGRAD 208 BGRADA 256 BGRADB 512""",
    "CUBLASLT_MATMUL_DESC_": """
        COMPUTE_TYPE 0 SCALE_TYPE 1 TRANSA 3 TRANSB 4 EPILOGUE 7 BIAS_POINTER 8 EPILOGUE_AUX_POINTER 11
        EPILOGUE_AUX_LD 12""",
    "CUBLASLT_MATRIX_LAYOUT_": "TYPE 0 ORDER 1 ROWS 2 COLS 3 LD 4 BATCH_COUNT 5 STRIDED_BATCH_OFFSET 6",
    "CUBLASLT_MATMUL_PREF_": """
        MAX_WORKSPACE_BYTES 1 REDUCTION_SCHEME_MASK 3 MIN_ALIGNMENT_A_BYTES 5 MIN_ALIGNMENT_B_BYTES 6
        MIN_ALIGNMENT_C_BYTES 7 MIN_ALIGNMENT_D_BYTES 8""",
    "CUBLASLT_REDUCTION_SCHEME_": "NONE 0 INPLACE 1 COMPUTE_TYPE 2 OUTPUT_TYPE 4 MASK 7",
}
NAMES = {"CUDA_R_": Type, "CUBLAS_COMPUTE_": Compute, "CUBLASLT_EPILOGUE_": Epilogue, "CUBLASLT_MATMUL_DESC_": Desc,
         "CUBLASLT_MATRIX_LAYOUT_": Layout, "CUBLASLT_MATMUL_PREF_": Preference,
         "CUBLASLT_REDUCTION_SCHEME_": Reduction}  # fmt: skip


def spelled(prefix, name):
    """The library's name of a constant."""
    if prefix == "CUDA_R_":
        return name.removeprefix("R_")
    return re.sub(r"^F(16|32|64)", r"\1F", name) if prefix == "CUBLAS_COMPUTE_" else name


@pytest.mark.parametrize("prefix", NAMES)
def test_constants(prefix):
    words = COPIED[prefix].split()
    assert {spelled(prefix, c.name): c.value for c in NAMES[prefix]} == dict(zip(words[::2], map(int, words[1::2])))


def test_structs():
    assert ctypes.sizeof(cublaslt.Algorithm) == 64
    offsets = {name: getattr(cublaslt.Found, name).offset for name, _ in cublaslt.Found._fields_}
    assert offsets == {"algorithm": 0, "workspace": 64, "state": 72, "waves": 76, "reserved": 80}
    assert ctypes.sizeof(cublaslt.Found) == 96


# -- with the library -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library():
    cupy = pytest.importorskip("cupy")
    try:
        return cublaslt.load(cupy.cuda.runtime.runtimeGetVersion() // 1000)
    except cublaslt.Missing as missing:
        pytest.skip(f"{missing}")


def test_the_header(library):
    folder = Path(library.path).resolve().parent.parent / "include"
    if not (folder / "cublasLt.h").exists():
        pytest.skip(f"the library came without its header: there is no {folder / 'cublasLt.h'}")
    text = "".join([(folder / name).read_text(errors="replace") for name in ("cublasLt.h", "cublas_api.h")])
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    values = dict(re.findall(r"\b(CUBLAS\w+)\s*=\s*([^,}\n]+)", text))
    resolve = lambda value: eval(re.sub(r"CUBLAS\w+", lambda m: f"({resolve(values[m[0]])})", value))
    for prefix, names in NAMES.items():
        if prefix != "CUDA_R_":
            for constant in names:
                assert resolve(values[prefix + spelled(prefix, constant.name)]) == constant.value, constant
    struct = re.search(r"typedef struct \{([^}]*)\} cublasLtMatmulHeuristicResult_t", text).group(1)
    fields = re.findall(r"(\w+) (\w+)(?:\[(\d+)\])?;", struct)
    assert [(kind, size) for kind, _, size in fields] == [
        ("cublasLtMatmulAlgo_t", ""), ("size_t", ""), ("cublasStatus_t", ""), ("float", ""), ("int", "4")
    ]  # fmt: skip
    opaque = re.search(r"uint64_t data\[(\d+)\];\s*\} cublasLtMatmulAlgo_t", text).group(1)
    assert int(opaque) * 8 == ctypes.sizeof(cublaslt.Algorithm)


def setup(left, right, epilogue=Epilogue.DEFAULT, kind=Type.R_16BF, compute=Compute.F32, **options):
    return cublaslt.Setup(matmul(*left, *right).gemm, kind, compute, epilogue, **options)


@pytest.mark.parametrize(
    ("kind", "compute", "scale"),
    [
        (Type.R_64F, Compute.F64, Type.R_64F),
        (Type.R_32F, Compute.F32, Type.R_32F),
        (Type.R_32F, Compute.F32_FAST_TF32, Type.R_32F),
        (Type.R_16F, Compute.F32, Type.R_32F),
        (Type.R_16F, Compute.F16, Type.R_16F),
        (Type.R_16BF, Compute.F32, Type.R_32F),
    ],
)
def test_descriptors_hold_what_they_are_given(library, kind, compute, scale):
    # x (3, 4) as a transpose, y (2, 4, 5): the right factor is A
    made = cublaslt.Prepared(library, setup(((3, 4), (1, 8)), ((2, 4, 5), (40, 5, 1)), kind=kind, compute=compute))
    assert (made.desc[Desc.COMPUTE_TYPE], made.desc[Desc.SCALE_TYPE]) == (compute, scale)
    assert (made.desc[Desc.TRANSA], made.desc[Desc.TRANSB]) == (0, 1)
    assert made.desc[Desc.EPILOGUE] == Epilogue.DEFAULT
    read = lambda layout: [layout[name] for name in Layout]
    assert read(made.a) == [kind, 0, 5, 4, 5, 2, 40]
    assert read(made.b) == [kind, 0, 3, 4, 8, 2, 0]
    assert read(made.d) == [kind, 0, 5, 3, 5, 2, 15]
    preference = made.preference()
    assert [preference[name] for name in Preference] == [cublaslt.WORKSPACE, Reduction.MASK, 256, 256, 256, 256]


@pytest.mark.parametrize("epilogue", [e for e in Epilogue if e != Epilogue.DEFAULT])
def test_epilogues(library, epilogue):
    pair = ((3, 4), (4, 1)), ((4, 8), (8, 1))
    made = cublaslt.Prepared(library, setup(*pair, epilogue, alignments=(256, 256, 256, 16, 32), aux_ld=128))
    assert made.desc[Desc.EPILOGUE] == epilogue
    biased = "BIAS" in epilogue.name or "BGRAD" in epilogue.name
    assert made.desc[Desc.BIAS_POINTER] == (16 if biased else None)
    helped = "AUX" in epilogue.name or "DGELU" in epilogue.name or "DRELU" in epilogue.name
    assert (made.desc[Desc.EPILOGUE_AUX_POINTER], made.desc[Desc.EPILOGUE_AUX_LD]) == (
        (32, 128) if helped else (None, 0)
    )


def test_addresses_of_a_launch(library, monkeypatch):
    """What is handed to cublasLtMatmul, and that the addresses of bias and aux are those of the launch."""
    launched = []

    def matmul(*args):
        launched.append((args, made.desc[Desc.BIAS_POINTER], made.desc[Desc.EPILOGUE_AUX_POINTER]))
        return 15 if len(launched) > 3 else 0

    monkeypatch.setattr(library, "matmul", matmul)
    made = cublaslt.Prepared(library, setup(((3, 4), (4, 1)), ((4, 8), (8, 1)), Epilogue.GELU_AUX_BIAS, aux_ld=8))
    made.choose(cublaslt.Algorithm(), 64)
    for bias, aux in ((512, 1024), (512, 2048), (768, 2048)):
        made.run("handle", 1, 2, 3, 77, 4096, bias, aux)
        args, *found = launched[-1]
        assert found == [bias, aux]
    one, zero = (ctypes.c_float.from_address(args[i]).value for i in (2, 7))
    assert (one, zero) == (1, 0)
    handles = made.a.handle, made.b.handle, made.d.handle
    algorithm = ctypes.addressof(made.algorithm)
    assert (args[0], args[1].value) == ("handle", made.desc.handle.value)
    assert args[3:7] == (1, handles[0], 2, handles[1])
    assert args[8:] == (3, handles[2], 3, handles[2], algorithm, 4096, 64, 77)
    with pytest.raises(CublasError, match="cublasLtMatmul: CUBLAS_STATUS_NOT_SUPPORTED"):
        made.run("handle", 1, 2, 3, 77, 4096, bias, aux)


def test_a_wrong_attribute_is_refused(library):
    desc = library.make(Desc, Compute.F32, Type.R_32F)
    with pytest.raises(CublasError, match="cublasLtMatmulDescSetAttribute: CUBLAS_STATUS_INVALID_VALUE"):
        desc[Layout.ROWS] = 1  # eight bytes for number 2, which takes four


def test_versions(library):
    assert library.version >= 120000
    import cupy

    if cupy.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(CublasError, match="cublasLtCreate: CUBLAS_STATUS_NOT_INITIALIZED"):
        library.handle(0)


# -- without one ------------------------------------------------------------------------------------------------------


def test_where_it_is_looked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(cublaslt.sys, "path", [str(tmp_path)])
    monkeypatch.setenv("CUDA_PATH", str(tmp_path / "toolkit"))
    places = list(cublaslt._places(12))
    assert places[-1] == "libcublasLt.so.12"
    assert str(tmp_path / "nvidia/cublas/lib/libcublasLt.so.12") in places
    assert str(tmp_path / "toolkit/lib64/libcublasLt.so.12") in places
    assert str(tmp_path / "nvidia/cu13/lib/libcublasLt.so.13") in cublaslt._places(13)


def test_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(cublaslt, "_places", lambda major: [str(tmp_path / "libcublasLt.so.12"), "libnone.so.12"])
    monkeypatch.setitem(__import__("sys").modules, "cuda.pathfinder", None)
    with pytest.raises(cublaslt.Missing, match="nvidia-cublas-cu12"):
        cublaslt.find(12)


def test_the_fastest_of_those_that_run():
    class Timed:
        def choose(self, algorithm, workspace):
            self.chosen = algorithm

    timed, times = Timed(), {"slow": 3.0, "fast": 1.0, "later": 2.0}

    def time():
        if timed.chosen == "broken":
            raise CublasError("cublasLtMatmul", 15)
        return times[timed.chosen]

    assert cublaslt.fastest(timed, [("slow", 0), ("broken", 0), ("fast", 7), ("later", 0)], time) == ("fast", 7)
    with pytest.raises(CublasError, match="NOT_SUPPORTED"):
        cublaslt.fastest(timed, [("broken", 0)], time)
