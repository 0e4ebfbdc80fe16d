"""Codes: what a layer makes of samples, and pictures of it in two dimensions by scikit-learn (extra `explain`)."""

from __future__ import annotations

from typing import Any

from .. import nn
from ..autograd import FUNCTIONS, Tensor, no_grad
from ..backends import np
from ..utils.reports import host
from .batches import batches, place_of
from .scope import Layer, looking

__all__ = ["codes", "pca", "tsne"]


def codes(model: nn.Module, data: Any, layer: Layer | None = None, *, targets: bool = False, batch: int = 64) -> Any:
    """What a layer (None: the model) gives for each sample, flattened: (N, features), on the model's device.

    data: a tensor of inputs (N, ...), a pair (inputs, targets), a Dataset or a DataLoader. targets: return the pair
    (codes, the data's targets), which belong together also where a loader shuffles. The model runs in evaluation mode,
    as far as the layer. ValueError for a layer that is not there or not called, and for targets that the data lacks;
    TypeError for an output that is no tensor.
    """
    rows, wanted = [], []
    with looking(model) as at, no_grad():
        run = at.until(model, [layer], tensors=True)
        for inputs, answers in batches(data, batch, place_of(model)):
            (output,) = run(inputs)
            rows.append(output.detach().reshape(len(inputs), -1))
            wanted.append(answers)
    if not rows:
        raise ValueError("there are no samples in the data")
    found = FUNCTIONS["cat"](rows)
    if not targets:
        return found
    if any(answers is None for answers in wanted):
        raise ValueError("the data has inputs alone: targets=True needs pairs (input, target)")
    return found, FUNCTIONS["cat"](wanted)


def _points(x: Any, n: int) -> tuple[Any, Any]:
    """(the array (N, features), a function that makes of an array a tensor like x)."""
    array = host(x)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"codes are of shape (N, features), not {array.shape}")
    if not 1 <= n <= min(array.shape):
        raise ValueError(f"{n} dimensions of codes {array.shape}: at most the smaller of the two")
    array = array.astype(array.dtype if array.dtype.kind == "f" and array.dtype.itemsize > 2 else np.float32)
    device = x.device if isinstance(x, Tensor) else None
    return array, lambda found: FUNCTIONS["tensor"](np.ascontiguousarray(found, array.dtype), device=device)


def pca(x: Any, n: int = 2) -> Tensor:
    """Codes (N, features) along their n principal axes, (N, n): (x - mean) V, V the first right singular vectors.

    The sign of an axis, which is free, is such that its entry of the largest magnitude is positive; so the same codes
    give the same picture. Source: K. Pearson, "On lines and planes of closest fit to systems of points in space", 1901.
    """
    array, like = _points(x, n)
    try:
        from sklearn.decomposition import PCA
    except ImportError:
        raise ImportError("pca needs scikit-learn: pip install 'chainrule[explain]'") from None
    fitted = PCA(n, svd_solver="full").fit(array)
    axes = fitted.components_
    signs = np.sign(np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1))
    return like((array - fitted.mean_) @ (axes * signs).T)


def tsne(x: Any, n: int = 2, *, perplexity: float | None = None, seed: int = 0, steps: int = 1000) -> Tensor:
    """Codes (N, features) as points (N, n) whose neighbours are the neighbours of the codes; n is 2 or 3.

    Distances between far groups and their sizes mean nothing. perplexity: how many neighbours count, below N; by
    default 30, of few samples a third. The same seed gives the same points. steps: of the descent. Source: L. van der
    Maaten, G. Hinton, "Visualizing data using t-SNE", 2008.
    """
    array, like = _points(x, n)
    if len(array) < 3 or n > 3:
        raise ValueError(
            f"t-SNE of {len(array)} samples in {n} dimensions: it takes 3 samples or more, and 3 dimensions or less"
        )
    perplexity = min(30.0, (len(array) - 1) / 3) if perplexity is None else perplexity
    if not 0 < perplexity < len(array):
        raise ValueError(f"perplexity {perplexity} of {len(array)} samples: it lies above 0 and below their number")
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise ImportError("tsne needs scikit-learn: pip install 'chainrule[explain]'") from None
    return like(TSNE(n, perplexity=perplexity, init="pca", random_state=seed, max_iter=steps).fit_transform(array))
