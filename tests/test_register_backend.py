"""A backend of one's own is registered, and then serves its arrays; names and arrays of others are refused.

The whole of such a backend, with gradients of three orders, runs in docs/extending/backend.md.
"""

import numpy as np
import pytest

from chainrule import backends
from chainrule.backends import Backend


class Box:
    """An array of a library that nobody knows."""


class BoxBackend(Backend):
    name = "box"
    xp = np
    array_types = (Box,)
    kernels = {}


@pytest.fixture
def registries(monkeypatch):
    for name in ("_LOADED", "_BY_TYPE"):
        monkeypatch.setattr(backends, name, dict(getattr(backends, name)))


def test_a_registered_backend_serves_its_arrays(registries):
    with pytest.raises(TypeError, match="Box"):
        backends.of(Box())
    with pytest.raises(ValueError, match="no backend 'box'"):
        backends.by_name("box")
    backend = BoxBackend()
    backends.register(backend)
    backends.register(backend)  # again is no harm
    assert backends.of(Box()) is backends.by_name("box") is backends.loaded("box") is backend


def test_names_and_arrays_of_others_are_refused(registries):
    backends.register(BoxBackend())
    with pytest.raises(ValueError, match="another backend has the name 'box'"):
        backends.register(BoxBackend())

    class Greedy(BoxBackend):
        name = "greedy"
        array_types = (np.ndarray,)

    backends.by_name("numpy")
    with pytest.raises(ValueError, match="'numpy' has the arrays ndarray"):
        backends.register(Greedy())
    assert backends.loaded("greedy") is None


def test_a_device_backend_is_announced(registries, monkeypatch):
    class DeviceBackend(BoxBackend):
        device_type = "cuda"

    called = []
    monkeypatch.setattr(backends, "ON_FOREIGN", [lambda: called.append(1)])
    foreign = set(backends.FOREIGN)
    try:
        backends.register(DeviceBackend())
        assert called == [1]
        assert Box in backends.FOREIGN
    finally:
        backends.FOREIGN.clear()
        backends.FOREIGN.update(foreign)
