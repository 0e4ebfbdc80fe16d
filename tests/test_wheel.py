"""The built wheel: what is in it, and that it works where nothing else is installed."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile

import pytest
from test_import import OPTIONAL
from test_layout import ROOT, modules

pytestmark = pytest.mark.slow

DATA = [path.relative_to(ROOT) for path in ROOT.glob("backends/cupy/cuda/*")]

IMPORT_ALL = """
import importlib, pathlib
import chainrule
assert "site-packages" in chainrule.__file__, chainrule.__file__
root = pathlib.Path(chainrule.__file__).parent
# By file: pkgutil does not look into a package that cannot be imported, as backends.cupy where there is no CuPy.
for path in sorted(root.rglob("*.py")):
    name = ".".join(("chainrule", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
    if name == "chainrule":
        continue
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module for an optional dependency may say that it is missing; nothing else may be.
        if (error.name or "chainrule").split(".")[0] not in {optional!r}:
            raise
    print(name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the sdist, as a release is: neither a stale build/ nor a file missing from the sdist goes unseen."""
    out = tmp_path_factory.mktemp("dist")
    # A copy: setuptools writes into the tree that it builds, and a second test process may be building, too.
    tree = shutil.copytree(
        ROOT, out / "tree", ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    )
    subprocess.run([sys.executable, "-m", "build", "--outdir", out, tree], check=True)
    (path,) = out.glob("*.whl")
    return path


def test_contents(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {f"chainrule/{path.as_posix()}" for path in [*modules(), *DATA]} | {"chainrule/py.typed"}
    assert wheel.stat().st_size < 5e6


def test_every_module_imports_in_a_clean_environment(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True, cwd=tmp_path, env=env)
    code = IMPORT_ALL.format(optional=OPTIONAL)
    ran = subprocess.run([python, "-W", "error", "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    expected = {".".join(("chainrule", *path.with_suffix("").parts)) for path in modules()}
    expected = {name.removesuffix(".__init__") for name in expected} - {"chainrule"}
    assert set(ran.stdout.split()) == expected
