"""Looking into networks: why a score is what it is, what a unit answers to, what fools a network.

Every method takes a `Module` as it is and leaves it as it was: hooks are taken out again, modes and gradients put
back, also when an exception passes through. Results are detached tensors on the input's device, so that they can be fed
to the next method or to NumPy. Pictures are drawn by `explain.plots` (extra `explain`), which nothing else here needs.
"""

from .adversarial import adversarial_patch, apply_patch, fgsm, pgd
from .attribution import input_x_gradient, integrated_gradients, saliency, smooth_grad
from .maximisation import activation_maximization, deep_dream, total_variation
from .scope import looking
from .scores import Target, scores
from .summary import Summary, summary

__all__ = [
    "Summary",
    "Target",
    "activation_maximization",
    "adversarial_patch",
    "apply_patch",
    "deep_dream",
    "fgsm",
    "input_x_gradient",
    "integrated_gradients",
    "looking",
    "pgd",
    "saliency",
    "scores",
    "smooth_grad",
    "summary",
    "total_variation",
]
