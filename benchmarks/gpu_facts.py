"""What a machine with a GPU is and has, printed for the record; each part by itself, so that a failure hides none."""

import importlib
import importlib.metadata
import platform
import subprocess
import sys

PACKAGES = (
    "numpy cupy-cuda12x cupy-cuda13x torch triton ml_dtypes scipy pytest hypothesis mpi4py nvidia-cudnn-frontend "
    "nvidia-cudnn-cu12 nvidia-cudnn-cu13 nvidia-cublas nvidia-cublas-cu12 nvidia-cuda-nvrtc nvidia-cuda-nvrtc-cu12"
)


def told(name, work):
    """Print what `work` gives, or why it gives nothing."""
    try:
        print(f"{name}: {work()}", flush=True)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}", flush=True)


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "-"


def smi():
    query = "name,driver_version,memory.total,clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def properties():
    cupy = importlib.import_module("cupy")
    found = cupy.cuda.runtime.getDeviceProperties(0)
    names = ("name", "major", "minor", "multiProcessorCount", "l2CacheSize", "totalGlobalMem", "sharedMemPerBlockOptin")
    return {name: found.get(name) for name in names}


def chainrule_sees():
    chainrule = importlib.import_module("chainrule")
    return chainrule.cuda.device_count(), chainrule.cuda.get_device_name(), chainrule.cuda.mem_get_info()


def cudnn():
    chainrule = importlib.import_module("chainrule")
    return chainrule.backends.cudnn.is_available(), chainrule.backends.cudnn.version()


def real_device_description():
    """The description by which cuDNN plans can be built without a device, as this device gives it."""
    return importlib.import_module("cudnn").create_device_properties(0).serialize()


def main():
    print(platform.platform(), sys.version)
    print({package: version(package) for package in PACKAGES.split()})
    told("nvidia-smi", smi)
    told("cupy", lambda: importlib.import_module("cupy").show_config() or "")
    told("device", properties)
    told("nvrtc", lambda: importlib.import_module("cupy").cuda.nvrtc.getVersion())
    told("torch", lambda: importlib.import_module("torch").cuda.get_device_name())
    told("chainrule", chainrule_sees)
    told("cuDNN", cudnn)
    told("cuDNN's description of the device", real_device_description)


if __name__ == "__main__":
    main()
