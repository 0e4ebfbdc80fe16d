"""`chainrule.export`: the names of PyTorch's exporter. Programs are not traced, so nothing is exported."""

from __future__ import annotations

from typing import Any

__all__ = ["Dim", "ExportedProgram", "export", "load", "save"]


class ExportedProgram:
    """PyTorch's exported program; `isinstance` is False for everything here, and NotImplementedError for a new one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        export(None)


class Dim:
    """The name of a size that may vary, from min (0) to max (None: no bound)."""

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None) -> None:
        self.__name__, self.min, self.max = name, min or 0, max


def export(mod: Any, *args: Any, **kwargs: Any) -> Any:
    """NotImplementedError: modules are not traced into programs."""
    raise NotImplementedError(
        "chainrule exports no programs: save the weights with chainrule.save(model.state_dict(), path), or in the "
        "format safetensors, and load them into the model made by its class"
    )


def save(ep: Any, f: Any, **options: Any) -> None:
    """NotImplementedError: there is no traced program to write."""
    export(ep)


def load(f: Any, **options: Any) -> Any:
    """NotImplementedError: such a file holds a traced program."""
    export(f)
