"""The layout: which folder may import which, and what pyproject.toml says of it."""

import ast
import tomllib
from pathlib import Path

import pytest

import chainrule

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# What each top-level folder may import of ours, besides itself. The package's own __init__.py and the modules beside
# it stand on top and may import everything. A new folder needs a reason, and a line here.
ON_TOP_OF_NN = {"backends", "autograd", "nn", "optim", "distributed", "distributions"}
ON_TOP_OF_NN |= {"utils", "models", "testing", "runtime"}
MAY_IMPORT = {
    "backends": set(),
    "autograd": {"backends"},
    "nn": {"autograd"},
    "optim": {"autograd"},
    "distributed": {"backends", "autograd", "nn", "optim", "runtime"},  # has a program, distributed.run
    "distributions": {"autograd"},
    "utils": ON_TOP_OF_NN,
    "models": ON_TOP_OF_NN,
    "testing": ON_TOP_OF_NN,
    "explain": ON_TOP_OF_NN,  # looking into networks; above nn, models and utils, and nothing stands on it
    "runtime": ON_TOP_OF_NN,  # PyTorch's names around the engine: cuda, amp, jit, distributed ...
}
NOT_PACKAGED = {"tests", "examples", "benchmarks", "notebooks", "docs", "build", "dist"}
ARRAY_LIBRARIES = {"numpy", "cupy", "cupyx", "cupy_backends", "numba", "llvmlite", "cudnn"}
# Modules outside backends/ that may import an array library, and why.
MAY_IMPORT_ARRAYS: dict[str, str] = {}


def packages():
    """The folders of the package, as paths relative to the root: every folder with an __init__.py."""
    inits = (path.relative_to(ROOT).parent for path in ROOT.rglob("__init__.py"))
    return sorted(p for p in inits if not p.parts or (p.parts[0] not in NOT_PACKAGED and p.parts[0][0] != "."))


def modules():
    return [path.relative_to(ROOT) for package in packages() for path in sorted((ROOT / package).glob("*.py"))]


def imports(path):
    """Yield (line, dots, dotted name) for each name that a module imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, 0, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, node.level, ".".join(filter(None, [node.module, alias.name]))


def target(path, dots, name):
    """The top-level folder that a relative import reaches into; "" for the root's own modules."""
    parts = [*path.parent.parts[: len(path.parent.parts) - (dots - 1)], *name.split(".")]
    return parts[0] if (ROOT / parts[0] / "__init__.py").exists() else ""


def wrong_imports(path):
    folder = path.parts[0] if len(path.parts) > 1 else ""
    for line, dots, name in imports(path):
        where = f"{path}:{line}"
        top = name.split(".")[0]
        if dots == 0:
            if top == "chainrule":
                yield f"{where}: inside the package imports are relative, not {name!r}"
            elif top in ARRAY_LIBRARIES and folder != "backends" and str(path) not in MAY_IMPORT_ARRAYS:
                yield f"{where}: only backends/ imports {top}"
        elif dots > len(path.parts):
            yield f"{where}: reaches above the package"
        elif folder:
            to = target(path, dots, name)
            if to != folder and to not in MAY_IMPORT[folder]:
                yield f"{where}: {folder}/ may not import {to + '/' if to else 'from the root'} ({name!r})"


@pytest.mark.parametrize("path", modules(), ids=str)
def test_import_directions(path):
    assert list(wrong_imports(path)) == []


def test_every_folder_has_its_directions():
    folders = {p.parts[0] for p in packages() if p.parts}
    assert folders <= MAY_IMPORT.keys(), "a new top-level folder needs a reason and a line in MAY_IMPORT"


def test_exceptions_are_still_used():
    for path in map(Path, MAY_IMPORT_ARRAYS):
        assert any(name.split(".")[0] in ARRAY_LIBRARIES for _, _, name in imports(path)), path


def test_the_test_sees_wrong_arrows(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    for folder in ("autograd", "nn", "optim"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()

    def wrong(path, source):
        (tmp_path / path).write_text(source)
        return len(list(wrong_imports(Path(path))))

    assert wrong("nn/a.py", "from ..autograd import Tensor\nfrom . import b\nfrom .b import c\nimport math") == 0
    assert wrong("nn/a.py", "from ..optim import SGD") == 1
    assert wrong("nn/a.py", "from .. import optim, autograd") == 1
    assert wrong("nn/a.py", "from .. import Tensor") == 1
    assert wrong("nn/a.py", "from ..cuda import Stream") == 1
    assert wrong("nn/a.py", "from ... import x") == 1
    assert wrong("nn/a.py", "import chainrule.autograd") == 1
    assert wrong("nn/a.py", "def f():\n    import numpy as np") == 1
    assert wrong("autograd/a.py", "from ..nn.linear import Linear\nfrom numpy import array") == 2
    assert wrong("cuda.py", "from .nn import Module\nfrom .autograd import Tensor") == 0
    assert wrong("cuda.py", "import numpy") == 1


def test_packages_are_listed():
    listed = PYPROJECT["tool"]["setuptools"]["packages"]
    assert listed == [".".join(("chainrule", *p.parts)) for p in packages()]


def test_versions_are_the_same_in_all_places():
    """Ours, and that of the PyTorch which the tests compare with."""
    assert PYPROJECT["project"]["version"] == chainrule.version.chainrule
    assert f"TORCH ?= torch=={chainrule.__version__.partition('+')[0]}\n" in (ROOT / "Makefile").read_text()
    assert f"`{chainrule.__version__}`" in (ROOT / "README.md").read_text()


def test_root_has_no_conftest_and_tests_are_no_package():
    # Either would make pytest import the root under the name of the checkout's folder.
    assert not (ROOT / "conftest.py").exists()
    assert not (ROOT / "tests" / "__init__.py").exists()
