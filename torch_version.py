"""`chainrule.__version__`, which compares as a version.

Programs ask `torch.__version__` which functions there are. What answers them is the version of the PyTorch whose names
and behaviour these are, with this package's own behind the plus sign, as PyTorch puts how it was built there. (Python's
other implementations do likewise: PyPy's sys.version_info is that of the language.) Turned down: the package's own
version alone. Programs took it for a PyTorch before 0.4, and some computed other values without a word.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["TorchVersion"]

# compiled when asked
_FORM = r"\s*v?(\d+(?:\.\d+)*)[-_.]?(dev|post|alpha|a|beta|b|c|rc|preview|pre)?[-_.]?(\d*)[^+]*(\+.*)?"
_STAGES = {"dev": "", "post": "~post", "alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}


def _key(version: Any) -> Any:
    """What orders versions, as PEP 440 does; None for what is none. Numbers, as in (1, 5), are versions, too."""
    text = ".".join(map(str, version)) if isinstance(version, (tuple, list)) else version
    found = re.match(_FORM, text, re.IGNORECASE) if isinstance(text, str) else None
    if found is None:
        return None
    release = [int(n) for n in found[1].split(".")]
    while release and not release[-1]:
        release.pop()
    stage = (found[2] or "").lower()
    return release, (_STAGES.get(stage, stage), int(found[3] or 0)) if stage else ("~", 0), found[4] or ""


class TorchVersion(str):
    """A version as text that compares by its numbers: `"2.13.0" >= "2.2"`, `>= (2, 2)`.

    Anything that is no version is compared as text, and anything else is unequal, as in PyTorch. Source: PEP 440.
    """

    __slots__ = ()
    __hash__ = str.__hash__

    def _compare(self, other: Any, name: str) -> Any:
        mine, theirs = _key(self), _key(other)
        if mine is None or theirs is None:
            return getattr(str, name)(self, other)
        return getattr(mine, name)(theirs)

    def __eq__(self, other: object) -> bool:
        return self._compare(other, "__eq__") is True

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> Any:
        return self._compare(other, "__lt__")

    def __le__(self, other: Any) -> Any:
        return self._compare(other, "__le__")

    def __gt__(self, other: Any) -> Any:
        return self._compare(other, "__gt__")

    def __ge__(self, other: Any) -> Any:
        return self._compare(other, "__ge__")


__version__ = TorchVersion("2.13.0+chainrule.0.1.0")  # of the PyTorch whose API this is, and ours
