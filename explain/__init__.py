"""Looking into networks: why a score is what it is, what a unit answers to, what fools a network.

Every method takes a `Module` as it is and leaves it as it was: hooks are taken out again, modes and gradients put
back, also when an exception passes through. Results are detached tensors on the input's device, so that they can be fed
to the next method or to NumPy. Pictures are drawn by `explain.plots` (extra `explain`), which nothing else here needs.
"""

from .activations import activations, gallery, kernels
from .adversarial import adversarial_patch, apply_patch, fgsm, pgd
from .attention import attention_maps, attention_rollout
from .attribution import input_x_gradient, integrated_gradients, saliency, smooth_grad
from .classes import Confused, confusion, decision_grid, most_confused
from .codes import codes, pca, tsne
from .dataset import TopInputs, top_inputs
from .descent import total_variation
from .diagram import Graph
from .grad_cam import grad_cam
from .graph import draw_graph
from .inversion import invert
from .maximisation import activation_maximization, deep_dream
from .occlusion import occlusion
from .receptive_field import ReceptiveField, receptive_field
from .rectifiers import deconvnet, guided_backprop
from .scope import looking
from .scores import Target, scores
from .style import style_transfer
from .summary import Summary, summary

__all__ = [
    "Confused",
    "Graph",
    "ReceptiveField",
    "Summary",
    "Target",
    "TopInputs",
    "activation_maximization",
    "activations",
    "adversarial_patch",
    "apply_patch",
    "attention_maps",
    "attention_rollout",
    "codes",
    "confusion",
    "decision_grid",
    "deconvnet",
    "deep_dream",
    "draw_graph",
    "fgsm",
    "gallery",
    "grad_cam",
    "guided_backprop",
    "input_x_gradient",
    "integrated_gradients",
    "invert",
    "kernels",
    "looking",
    "most_confused",
    "occlusion",
    "pca",
    "pgd",
    "receptive_field",
    "saliency",
    "scores",
    "smooth_grad",
    "style_transfer",
    "summary",
    "top_inputs",
    "total_variation",
    "tsne",
]
