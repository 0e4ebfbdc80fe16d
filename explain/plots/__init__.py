"""The pictures: one function for each kind of result, drawn by matplotlib (extra `explain`).

Every function takes tensors (of any device), arrays or lists, and returns the matplotlib `Figure`; none shows it or
touches pyplot. What is one panel takes `axes=` to be drawn into axes that are there; what is several takes `figure=`, a
figure or a part of one (`Figure.subfigures`). A picture is kept by `figure.savefig(path)`; a notebook shows it as the
last value of a cell.

Colours: what has a sign is drawn from blue through white to red with limits that are symmetric around 0, what has none
from black to yellow; over an image, red and blue cover it the more the larger the value. Images with values from 0 to 1
are drawn as they are, others between their least and largest value, over all images of the picture; `limits`, the
values drawn black and white, says otherwise. title, titles: above the picture, and above each panel or column. size:
the width of a panel in inches. columns: at most so many panels in a row. xlabel, ylabel: of the axes.
"""

from .classes import codes, confusion, decision
from .heat import heatmap, overlays, saliency
from .layers import activations, attention, gallery, kernels
from .lines import curves
from .pixels import attack, image, images, octaves, rows
from .training import training

__all__ = [
    "activations",
    "attack",
    "attention",
    "codes",
    "confusion",
    "curves",
    "decision",
    "gallery",
    "heatmap",
    "image",
    "images",
    "kernels",
    "octaves",
    "overlays",
    "rows",
    "saliency",
    "training",
]
