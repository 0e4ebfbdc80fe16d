"""`import chainrule` is quick and drags nothing optional in."""

import os
import statistics
import subprocess
import sys

OPTIONAL = {
    *("IPython", "PIL", "cupy", "einops", "graphviz", "hypothesis", "matplotlib", "ml_dtypes"),
    *("llvmlite", "numba", "safetensors", "scipy", "sklearn", "tensorboard", "torch", "tqdm"),
}


# numpy's bytecode was written when it was installed; ours is by the first import, unless the environment forbids it.
ENV = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def python(code, *flags):
    ran = subprocess.run([sys.executable, *flags, "-c", code], env=ENV, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def import_ratio():
    # NumPy's part and the whole in one process, by processor time: the machine's speed changes, and cancels.
    code = (
        "from time import process_time as now; start = now(); import numpy; between = now(); import chainrule\n"
        "print((now() - start) / (between - start))"
    )
    return float(python(code))


def test_time_beside_numpy():
    import_ratio()  # writes the bytecode
    ratio = statistics.median([import_ratio() for _ in range(15)])
    assert ratio < 1.5, f"{ratio:.2f} times numpy's"


def test_no_optional_dependency():
    loaded = python(f"import sys, chainrule; print(*(name for name in {OPTIONAL} if name in sys.modules))").split()
    assert loaded == []


def test_no_warning():
    python("import chainrule", "-W", "error")


def test_no_name_beside_chainrule():
    # The root's folders are chainrule.nn and so on; none of them is importable by its bare name.
    code = "import sys, chainrule; sys.path.remove('') if '' in sys.path else None; import importlib.util as u\n"
    names = ["nn", "optim", "backends", "models", "testing"]
    found = python(code + f"print(*(name for name in {names} if u.find_spec(name)))").split()
    assert found == []
