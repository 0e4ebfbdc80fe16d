"""The public face: `__all__` of each package says what exists, and each name in it says what it is."""

import copy
import importlib
import inspect
import pickle

import pytest
from test_import import OPTIONAL
from test_layout import packages

import chainrule as cr
from chainrule.autograd.op import Op

PACKAGES = [".".join(("chainrule", *p.parts)) for p in packages()]


@pytest.fixture(params=PACKAGES)
def package(request):
    try:
        return importlib.import_module(request.param)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        return pytest.skip(f"{error.name} is not installed")


def documented(cls, name):
    """Whether a method has a docstring, its own or the one of the method that it overrides."""
    return any(inspect.getdoc(vars(base)[name]) for base in cls.__mro__ if name in vars(base))


def undocumented(package):
    for name in package.__all__:
        value = getattr(package, name)
        if inspect.isclass(value):
            if not value.__doc__:
                yield name
            if value.__module__.startswith("chainrule."):
                methods = (m for m, f in vars(value).items() if inspect.isfunction(f) or isinstance(f, property))
                yield from (f"{name}.{m}" for m in methods if not m.startswith("_") and not documented(value, m))
        # A plain value (a dtype, pi) has no place for a docstring.
        elif (inspect.isroutine(value) or isinstance(value, Op)) and not value.__doc__:
            yield name


def test_all_names_exist_once(package):
    assert len(set(package.__all__)) == len(package.__all__)
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def test_docstrings(package):
    assert package.__doc__
    assert sorted(undocumented(package)) == []


def test_functions_pickle_by_name():
    for f in (cr.relu, cr.tanh, cr.nn.functional.gelu, cr.nn.functional.relu, cr.nn.functional.cross_entropy):
        assert pickle.loads(pickle.dumps(f)) is f
        assert copy.deepcopy(f) is f
