"""PyTorch's names around the engine: devices, settings, mixed precision, compilers, processes, profiles.

They exist so that a program that names them runs, and they say what is so: no CUDA where there is none, nothing is
compiled, a group of processes has one member. What cannot be done raises an error that names another way. The package
itself is reached by PyTorch's paths (`chainrule.jit`, `chainrule.cuda.amp`); see the table in aliases.py.
"""

__all__: list[str] = []
