"""Transfer learning: which parts of a network are trained.

freeze(model)
model.fc = nn.Linear(512, 5)  # the new head is not frozen
optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-2)
"""

from __future__ import annotations

from typing import Any

__all__ = ["freeze", "unfreeze"]


def freeze(module: Any) -> Any:
    """Take a module out of training: requires_grad off and, since statistics move too, eval mode. Returns it.

    `model.train()` sets the mode again; call `freeze` after it.
    """
    return module.requires_grad_(False).eval()


def unfreeze(module: Any) -> Any:
    """Put a frozen module back into training. Returns it."""
    return module.requires_grad_(True).train()
