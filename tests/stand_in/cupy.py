"""`PYTHONPATH=tests/stand_in python program.py --device cuda` runs on the fake CuPy, CUDA graphs included."""

import importlib
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import cublaslt_simulation
import fake_cupy
import fake_graphs

from chainrule import backends


def _note_launches():
    """Once the backend is loaded: a capture notes what the simulation of CUDA C runs."""
    launch = sys.modules.get("chainrule.backends.cupy.launch")
    if launch is not None and not isinstance(launch.machine, launch.Machine):
        fake_graphs.note(type(launch.machine), "launch")
        backends.ON_FOREIGN.remove(_note_launches)


fake_cupy.install()
fake_graphs.install()
fake_graphs.note(cublaslt_simulation.Simulated, "run")
backends.ON_FOREIGN.append(_note_launches)
importlib.import_module("chainrule")
