"""`import chainrule` is quick and drags nothing optional in."""

import os
import subprocess
import sys

OPTIONAL = {
    *("cupy", "graphviz", "hypothesis", "matplotlib", "ml_dtypes"),
    *("numba", "safetensors", "scipy", "sklearn", "torch", "tqdm"),
}


# numpy's bytecode was written when it was installed; ours is by the first import, unless the environment forbids it.
ENV = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def python(code, *flags):
    ran = subprocess.run([sys.executable, *flags, "-c", code], env=ENV, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def import_seconds(module):
    # Processor time: other processes on the machine disturb it less than they disturb the clock.
    code = f"import time; start = time.process_time(); import {module}; print(time.process_time() - start)"
    return float(python(code))


def test_time_beside_numpy():
    import_seconds("chainrule")  # writes the bytecode
    rounds = [(import_seconds("chainrule"), import_seconds("numpy")) for _ in range(20)]
    ours, numpys = map(min, zip(*rounds))  # what else runs on the machine only adds
    assert ours < 1.5 * numpys, f"{ours / numpys:.2f} times numpy's {numpys * 1e3:.0f} ms"


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
