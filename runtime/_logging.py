"""`chainrule._logging`: PyTorch's switches for what its compiler tells; here nothing is compiled, and nothing told."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

__all__ = ["getArtifactLogger", "set_logs", "warning_once"]

_said: set[tuple[str, str]] = set()


def set_logs(*, all: int | None = None, modules: Mapping[str, int | bool] | None = None, **names: int | bool) -> None:
    """Set levels of logging. `all` and the numbers in `modules` are those of Python's loggers of these names.

    The names of components (dynamo=logging.DEBUG) and of artifacts (graph_code=True) are PyTorch's, without effect.
    ValueError for a value that is neither a level nor a bool.
    """
    for name, value in {**names, **(modules or {})}.items():
        if not isinstance(value, (bool, int)):
            raise ValueError(f"set_logs: {name} is a level of logging or a bool, not {value!r}")
    if all is not None:
        logging.getLogger(__name__.partition(".")[0]).setLevel(all)
    for name, level in (modules or {}).items():
        if not isinstance(level, bool):
            logging.getLogger(name).setLevel(level)


def getArtifactLogger(module_qname: str, artifact_name: str) -> logging.Logger:
    """Python's logger `module_qname.artifact_name`."""
    return logging.getLogger(f"{module_qname}.{artifact_name}")


def warning_once(logger_obj: logging.Logger, message: str, *args: Any, **kwargs: Any) -> None:
    """Log a warning, the first time that this logger is asked to give it. args, kwargs: for `logger.warning`."""
    if (logger_obj.name, message) not in _said:
        _said.add((logger_obj.name, message))
        logger_obj.warning(message, *args, **kwargs)
