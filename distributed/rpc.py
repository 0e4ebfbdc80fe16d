"""`chainrule.distributed.rpc`: whether processes can call functions in one another. They cannot, as in a PyTorch that
was built without it; libraries ask `is_available` before they use anything else.
"""

from __future__ import annotations

__all__ = ["is_available"]


def is_available() -> bool:
    """False: no process can call functions in another one."""
    return False
