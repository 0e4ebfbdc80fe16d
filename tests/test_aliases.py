"""PyTorch's module paths: each line of the table of aliases gives the module that it names."""

import importlib
import pickle

import pytest
from test_import import python

import chainrule
from chainrule import aliases


def by_attributes(path):
    found = chainrule
    for name in path.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("path", aliases.PATHS)
def test_path(path):
    served = aliases.PATHS[path]
    module = importlib.import_module(f"chainrule.{path}")
    assert by_attributes(path) is module
    if isinstance(served, str):
        real = importlib.import_module(f"chainrule.{served}")
        assert module is real
        assert (real.__name__, real.__spec__.name) == (f"chainrule.{served}",) * 2
    else:
        assert module.__name__ == f"chainrule.{path}"
        assert set(module.__all__) >= set(importlib.import_module(f"chainrule.{served[0]}").__all__)


@pytest.mark.parametrize("path", aliases.NAMES)
def test_name(path):
    assert by_attributes(path) is getattr(
        importlib.import_module(f"chainrule.{aliases.NAMES[path]}"), path.rpartition(".")[2]
    )


def test_modules_below_an_alias_are_not_imported_twice():
    dropout = importlib.import_module("chainrule.nn.modules.dropout")
    assert dropout is importlib.import_module("chainrule.nn.dropout")
    from chainrule.nn.modules.utils import _pair

    assert _pair(3) == (3, 3)
    assert chainrule.nn.utils.__name__ == "chainrule.nn.utils"  # nn.modules.utils is another


@pytest.mark.parametrize("first", ["chainrule.nn.modules.conv", "chainrule.nn.modules", "chainrule.cuda"])
def test_first_import_of_a_process(first):
    code = f"import {first} as m, chainrule; chainrule.nn.modules.batchnorm._BatchNorm; print(m.__name__)"
    assert python(code).strip()


def test_packages_are_attributes_without_an_import_of_their_own():
    paths = [path for path in aliases.PACKAGES if path != "explain"]
    code = f"import chainrule, operator; print(*(operator.attrgetter(p)(chainrule).__name__ for p in {paths}))"
    assert python(code).split() == [f"chainrule.{path}" for path in paths]
    assert (
        python("import chainrule as c; print(c.autograd.forward_ad.unpack_dual(c.ones(2)).tangent)").strip() == "None"
    )


def test_star_import():
    names = {}
    exec("from chainrule.nn.modules import *", names)
    assert names["Linear"] is chainrule.nn.Linear


def test_errors_are_python_s():
    with pytest.raises(AttributeError, match="'chainrule' has no attribute 'nosuch'"):
        _ = chainrule.nosuch
    with pytest.raises(AttributeError, match=r"'chainrule\.nn' has no attribute 'nosuch'"):
        _ = chainrule.nn.nosuch
    with pytest.raises(AttributeError, match=r"'chainrule\.nn\.modules' has no attribute 'nosuch'"):
        _ = chainrule.nn.modules.nosuch
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("chainrule.nn.modules.nosuch")


def test_classes_pickle_by_their_own_module():
    layer = by_attributes("nn.modules.linear").Linear(2, 3)
    assert type(layer).__module__ == "chainrule.nn.linear"
    assert type(pickle.loads(pickle.dumps(layer))) is chainrule.nn.Linear


def test_nothing_is_imported_before_it_is_named():
    code = (
        "import sys, chainrule; print([n for n in sys.modules if n.startswith(('chainrule.nn', 'chainrule.runtime'))])"
    )
    assert python(code).strip() == "[]"


def test_dir_names_what_is_served():
    assert set(aliases.top_names()) <= set(dir(chainrule))
