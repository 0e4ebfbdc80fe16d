"""The allocator's thresholds: set before the first walk, unless the user forbids it."""

import ctypes
import subprocess
import sys
import types

import pytest

from chainrule.backends.numpy import memory


@pytest.fixture
def calls(monkeypatch):
    made = []
    libc = types.SimpleNamespace(gnu_get_libc_version=None, mallopt=lambda key, value: made.append((key, value)))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: libc)
    return made


def test_freed_memory_is_kept(calls, monkeypatch):
    monkeypatch.delenv("CHAINRULE_KEEP_MEMORY", raising=False)
    memory.keep_freed_memory()
    assert calls == [(-3, 32 << 20), (-1, 256 << 20)]


def test_the_user_may_forbid_it(calls, monkeypatch):
    monkeypatch.setenv("CHAINRULE_KEEP_MEMORY", "0")
    memory.keep_freed_memory()
    assert calls == []


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.delenv("CHAINRULE_KEEP_MEMORY", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: types.SimpleNamespace())
    memory.keep_freed_memory()


def test_only_the_first_walk_asks_for_it():
    program = (
        "from chainrule.backends.numpy import BACKEND\n"
        "import chainrule as cr\n"
        "n = []\n"
        "BACKEND.before_training = lambda: n.append(1)\n"
        "x = cr.ones(3, requires_grad=True)\n"
        "y = (x * 2).sum()\n"
        "assert not n\n"
        "y.backward()\n"
        "(x * 2).sum().backward()\n"
        "assert len(n) == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
