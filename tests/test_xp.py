"""Each function and keyword that the ops take from `xp` exists in CuPy: by the strict backend's lists, and in truth.

The strict backend sees what runs; this reads the source, so that a branch which no sample takes is seen as well. Blind
to methods of arrays and to values.
"""

import ast
import functools
import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest

from chainrule import backends
from chainrule.backends import strict

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*(ROOT / "autograd").rglob("*.py"), *(ROOT / "backends").glob("*.py")])
WITH_CUPY = pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")


def dotted(node):
    """["linalg", "inv"] for the expression `xp.linalg.inv`; None for what does not start at `xp`."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if names and isinstance(node, ast.Name) and node.id == "xp":
        return names[::-1]
    return None


def uses(source):
    """(line, names, keywords, number of positional arguments or None where it is unknown) of each use of `xp`."""
    tree, called = ast.parse(source), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (names := dotted(node.func)):
            called.add(id(node.func))
            plain = not any(isinstance(a, ast.Starred) for a in node.args) and all(k.arg for k in node.keywords)
            yield node.lineno, names, [k.arg for k in node.keywords if k.arg], len(node.args) if plain else None
    inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    for node in ast.walk(tree):
        if id(node) not in called | inner and (names := dotted(node)):
            yield node.lineno, names, [], None


def problems(source, check):
    return [f"line {line}: {error}" for line, *use in uses(source) if (error := check(*use))]


def in_strict(names, keywords, count):
    try:
        thing = functools.reduce(getattr, names, backends.by_name("strict").xp)
        if isinstance(thing, strict._Ufunc):
            assert set(keywords) <= strict.UFUNC_KEYWORDS, f"{names[-1]}() has no keyword {keywords}"
        else:
            strict._check_keywords(".".join(names), keywords)
    except (AttributeError, TypeError, AssertionError) as error:
        return str(error)
    return None


def in_cupy(names, keywords, count):
    import cupy

    try:
        thing = functools.reduce(getattr, names, cupy)
    except AttributeError as error:
        return str(error)
    if count is None or not callable(thing) or isinstance(thing, type):
        return None
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):  # an elementwise function, or compiled
        return None
    try:
        signature.bind(*range(count), **dict.fromkeys(keywords))
    except TypeError as error:
        return f"{'.'.join(names)}: {error}"
    return None


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_and_keywords(path):
    assert problems(path.read_text(), in_strict) == []


@WITH_CUPY
def test_names_and_keywords_in_cupy():
    assert {str(p): found for p in FILES if (found := problems(p.read_text(), in_cupy))} == {}


def test_something_is_read():
    found = [use for path in FILES for use in uses(path.read_text())]
    assert len(found) > 100
    assert {"linalg", "exp", "where"} <= {names[0] for _, names, _, _ in found}


WRONG = """
def f(xp, x):
    xp.vecdot(x, x)
    xp.sum(x, where=x > 0)
    xp.clip(x, min=0)
    xp.exp(x, where=x)
    y = xp.linalg.vector_norm
    return xp.linalg.svd(x, hermitian=True)
"""
RIGHT = """
def f(xp, x):
    xp.add.at(x, 0, xp.linalg.inv(x))
    return xp.sum(x, axis=0, keepdims=True), xp.clip(x, 0, 1), xp.where(x, 1, xp.inf), xp.float32
"""


def test_the_reader_sees_faults():
    assert len(problems(WRONG, in_strict)) == 6
    assert problems(RIGHT, in_strict) == []


@WITH_CUPY
def test_the_reader_sees_faults_in_cupy():
    assert len(problems(WRONG, in_cupy)) == 5  # keywords of elementwise functions are not in their signatures
    assert problems(RIGHT, in_cupy) == []


@WITH_CUPY
def test_the_lists_are_true():
    """What the strict backend says CuPy lacks, CuPy lacks, and no more of what NumPy has in these namespaces."""
    import cupy

    for path, names in strict.LACKS.items():
        ours, theirs = (functools.reduce(getattr, filter(None, [path]), m) for m in (np, cupy))
        assert [n for n in names.split() if hasattr(theirs, n)] == [], path
        more = {n for n in dir(ours) if n[0] != "_" and callable(getattr(ours, n)) and not hasattr(theirs, n)}
        assert sorted(n for n in more - set(names.split()) if not isinstance(getattr(ours, n), type)) == [], path
    assert [n for n in strict.LACKS_METHODS if hasattr(cupy.ndarray, n)] == []
