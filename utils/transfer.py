"""Transfer learning and learning of several tasks: what is trained, what is computed once, what is shared.

freeze(model)
model.fc = nn.Linear(512, 5)  # the new head is not frozen
optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-2)

Hard sharing needs no function: heads on one body, and the sum of their weighted losses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

from ..autograd import Tensor, linalg, no_grad
from ..autograd.ops.joining import concat, stack
from .data import TensorDataset

__all__ = ["cached_features", "freeze", "soft_sharing", "unfreeze"]


def freeze(module: Any) -> Any:
    """Take a module out of training: requires_grad off and, since statistics move too, eval mode. Returns it.

    `model.train()` sets the mode again; call `freeze` after it. Source: J. Yosinski, J. Clune, Y. Bengio, H. Lipson,
    "How transferable are features in deep neural networks?", 2014.
    """
    return module.requires_grad_(False).eval()


def unfreeze(module: Any) -> Any:
    """Put a frozen module back into training. Returns it."""
    return module.requires_grad_(True).train()


def cached_features(body: Any, batches: Iterable[Any]) -> TensorDataset:
    """What a frozen body makes of (inputs, targets) batches, a DataLoader's say: a data set to train a head on.

    The body runs once, in evaluation mode (and gets its mode back), instead of once per epoch. No augmentation then.

    A TensorDataset of (features, targets).
    """
    mode, features, targets = body.training, [], []
    body.eval()
    try:
        with no_grad():
            for inputs, target in batches:
                features.append(body(inputs))
                targets.append(target)
    finally:
        body.train(mode)
    if not features:
        raise ValueError("cached_features: there are no batches")
    return TensorDataset(concat(*features), concat(*targets))


def soft_sharing(modules: Sequence[Any], norm: str = "l2") -> Tensor:
    """A penalty that holds the parameters of networks for different tasks together: add λ times it to the loss.

    "l2": Σ ‖W_a - W_b‖² over pairs of networks and their parameters (Duong et al., "Low resource dependency parsing",
    2015). "trace": Σ of the sum of the singular values of the matrix whose rows are one parameter of all networks: few
    directions in common (Yang, Hospedales, "Trace norm regularised deep multi-task learning", 2017).
    ValueError where the networks' parameters differ in shape.
    """
    if norm not in ("l2", "trace"):
        raise ValueError(f'soft_sharing: norm is "l2" or "trace", not {norm!r}')
    groups = [list(module.parameters()) for module in modules]
    shapes = [[tuple(p.shape) for p in group] for group in groups]
    if len(groups) < 2 or not shapes[0] or any(other != shapes[0] for other in shapes[1:]):
        raise ValueError(f"soft_sharing needs two or more modules with parameters of the same shapes, not {shapes}")
    terms = []
    for same in zip(*groups):
        if norm == "l2":
            terms += [(a - b).square().sum() for a, b in combinations(same, 2)]
        else:
            terms.append(linalg.matrix_norm(stack(*[p.flatten() for p in same]), "nuc"))
    return stack(*terms).sum()
