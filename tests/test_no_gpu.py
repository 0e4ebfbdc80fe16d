"""What is said where no GPU can be used: one clear error, whichever of package, driver, device, compiler is missing."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

#: what is missing -> (how that comes about, what the error must say)
MISSING = {
    "package": (
        "sys.modules['cupy'] = None",
        ["CuPy cannot be imported", "chainrule[cuda12]", "chainrule[cuda13]"],
    ),
    "library": (
        """
        class Broken:
            def find_spec(self, name, path=None, target=None):
                if name == "cupy":
                    raise ImportError("\\n=====\\nFailed to import CuPy.\\n\\nlibcuda.so.1: cannot open\\n=====")
        sys.meta_path.insert(0, Broken())
        """,
        ["CuPy cannot be imported (Failed to import CuPy.)", "chainrule[cuda12]"],
    ),
    "driver": (
        """
        import fake_cupy
        cupy = fake_cupy.install()
        def count():
            raise cupy.cuda.runtime.CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
        cupy.cuda.runtime.getDeviceCount = count
        """,
        ["the driver is missing, or older than CuPy's CUDA", "nvidia-smi", "chainrule[cuda13]"],
    ),
    "device": (
        """
        import fake_cupy
        cupy = fake_cupy.install()
        def count():
            raise cupy.cuda.runtime.CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        cupy.cuda.runtime.getDeviceCount = count
        """,
        ["the driver finds no device", "NVIDIA GPU", "CUDA_VISIBLE_DEVICES"],
    ),
    "no device counted": (
        "import fake_cupy; fake_cupy.install().cuda.runtime.getDeviceCount = lambda: 0",
        ["the driver finds no device", "NVIDIA GPU"],
    ),
    "compiler": (
        """
        import fake_cupy
        cupy = fake_cupy.install()
        def version():
            raise RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: no such file\\nand more")
        cupy.cuda.nvrtc.getVersion = version
        """,
        ["CUDA's compiler is missing (CuPy failed to load libnvrtc.so.13", "pip install 'cupy-cuda13x[ctk]'"],
    ),
}

PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
{missing}
import io
import warnings
import chainrule as cr
from chainrule import nn

assert not cr.cuda.is_available() and cr.cuda.device_count() == 0
asked = [
    lambda: cr.zeros(2, device="cuda"),
    lambda: cr.ones(2).to("cuda:1"),
    lambda: cr.ones(2).cuda(),
    lambda: cr.tensor([1.0], device=cr.device("cuda")),
    lambda: cr.arange(3, device="cuda"),
    lambda: cr.randn(2, device="cuda"),
    lambda: cr.zeros_like(cr.ones(2), device="cuda"),
    lambda: nn.Linear(2, 2).cuda(),
    lambda: nn.Linear(2, 2, device="cuda"),
    lambda: cr.Generator("cuda"),
    lambda: cr.set_default_device("cuda"),
    lambda: cr.cuda.current_device(),
    lambda: cr.cuda.set_device(0),
    lambda: cr.cuda.synchronize(),
    lambda: cr.cuda.get_device_name(),
    lambda: cr.cuda.get_device_properties(0),
    lambda: cr.cuda.get_device_capability(),
    lambda: cr.cuda.mem_get_info(),
    lambda: cr.cuda.init(),
    lambda: cr.cuda.Stream(),
    lambda: cr.cuda.Event().record(),
    lambda: cr.cuda.FloatTensor([1.0]),
    lambda: cr.cuda.initial_seed(),
    lambda: cr.cuda.get_rng_state(),
]
said = set()
for call in asked:
    try:
        call()
    except RuntimeError as error:
        said.add(str(error))
    else:
        raise AssertionError("no error")
assert len(said) == 1, said
print(*said)
cr.manual_seed(3), cr.cuda.manual_seed_all(3), cr.cuda.empty_cache()  # what only prepares says nothing
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    assert cr.ones(2).pin_memory().tolist() == [1, 1]
assert cr.cuda.memory_allocated() == 0 and not cr.ones(2).is_pinned()
with cr.cuda.device(0):
    assert (cr.ones(2) * 2).sum().item() == 4
file = io.BytesIO()
cr.save(cr.ones(2), file)
file.seek(0)
try:
    cr.load(file, map_location="cuda")
except RuntimeError as error:
    assert str(error).startswith(*said) and "map_location='cpu'" in str(error)
else:
    raise AssertionError("no error")
"""


@pytest.mark.parametrize("missing", MISSING)
def test_one_clear_error(missing):
    how, words = MISSING[missing]
    program = PROGRAM.format(tests=str(TESTS), missing=textwrap.dedent(how))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    text = done.stdout.strip()
    assert text.startswith("no CUDA device can be used: ")
    assert "\n" not in text
    for word in words:
        assert word in text


def test_the_demo_says_it_too():
    program = (
        f"import sys; sys.modules['cupy'] = None; sys.argv = ['digits.py', '--device', 'cuda']; "
        f"import runpy; runpy.run_path({str(TESTS.parent / 'examples' / 'digits.py')!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert "argument --device: 'cuda' cannot be had: no CUDA device can be used: CuPy cannot be imported" in last
