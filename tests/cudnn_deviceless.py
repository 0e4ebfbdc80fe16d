"""The real cuDNN without a GPU: its frontend plans for a device that is described by h100.json.

Engines that are compiled at run time also load their kernels, by the driver's library. Where there is no driver, a
library of its name is compiled, in which every function fails but those few; so this needs a C compiler. Its functions
are the names that cuDNN's own files ask for.
"""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np

from chainrule.backends.cudnn import library, plans

DEVICE = Path(__file__).with_name("h100.json")

ANSWERS = """
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 0; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "no driver"; return 0; }
int cuGetErrorName(int error, const char **text) { *text = "no driver"; return 0; }
int cuLibraryLoadData(void **library, ...) { *library = (void *)library; return 0; }
int cuLibraryUnload(void *library) { return 0; }
int cuLibraryGetKernel(void **kernel, ...) { *kernel = (void *)kernel; return 0; }
int cuKernelGetFunction(void **function, ...) { *function = (void *)function; return 0; }
int cuKernelSetAttribute(void) { return 0; }
int cuFuncSetAttribute(void) { return 0; }
"""
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


def driver(folder):
    """Load a driver, or what stands in for one; False where that takes a compiler and there is none."""
    try:
        ctypes.CDLL("libcuda.so.1", ctypes.RTLD_GLOBAL)
        return True
    except OSError:
        pass
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return False
    answered = set(re.findall(r"int (cu\w+)", ANSWERS)) | {"cuGetProcAddress", "cuGetProcAddress_v2"}
    named = set()
    for file in (f for place in library._folders() for f in place.glob("libcudnn*.so.*")):
        named |= {
            m.decode() for m in re.findall(rb"\0(cu[A-Z][A-Za-z0-9]*(?:_v\d+)?(?:_ptsz|_ptds)?)\0", file.read_bytes())
        }
    source = folder / "driver.c"
    stubs = "\n".join(f"int {name}(void) {{ return {NO_DEVICE}; }}" for name in sorted(named - answered))
    source.write_text(ANSWERS + stubs)
    target = folder / "libcuda.so.1"
    command = [compiler, "-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", "-o", str(target), str(source)]
    subprocess.run(command, check=True)
    ctypes.CDLL(str(target), ctypes.RTLD_GLOBAL)
    return True


class Deviceless(plans.Runtime):
    """Plans for the described device, which nothing runs; `made` are the descriptions that were asked for."""

    def __init__(self, cudnn, arrays):
        super().__init__(cudnn, arrays)
        self.made, self.ran = [], []
        self.properties = DEVICE.read_text()

    def handle(self):
        return None

    def where(self):
        described = self.cudnn.create_device_properties(self.properties)
        return {"device_property": described, "sm_version": 90, "sm_count": 132}

    def _loaded(self, blob):
        graph = self.cudnn.pygraph(device_property=self.cudnn.create_device_properties(self.properties))
        graph.deserialize(list(blob))
        return graph

    def _find(self, description, operands):
        self.made.append(description)
        return super()._find(description, ())

    def run(self, plan, *operands):
        assert len(plan.uids) == len(operands)
        self.ran.append(plan)


class EmptyArrays:
    """NumPy's arrays, whose memory nobody touches: as large as a real network's, at no cost."""

    xp = np

    def pointer(self, array):
        return 0

    def empty(self, shape, dtype, last=False):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if not last:
            return np.empty(shape, dtype)
        return np.moveaxis(np.empty((shape[0], *shape[2:], shape[1]), dtype), -1, 1)

    def device(self):
        return "NVIDIA H100 80GB HBM3 9.0 x132#0"

    def stream(self):
        return 0

    def capturing(self):
        return False
