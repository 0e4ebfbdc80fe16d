"""LU factors, which `chainrule.linalg` imports when they are asked for."""

import numpy as np
from scipy import linalg

import chainrule.autograd.factors  # noqa: F401  defines the op
from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import floats, well_conditioned


def _reference(a, pivot=True):
    def one(m):
        p, lower, upper = linalg.lu(m)
        return np.argmax(p, 0), lower, upper

    parts = [one(m) for m in a.reshape(-1, *a.shape[-2:])]
    return tuple(np.stack(x).reshape(*a.shape[:-2], *x[0].shape) for x in zip(*parts, strict=True))


def _torch(a, pivot=True):
    import torch

    p, lower, upper = torch.linalg.lu(a)
    return p.argmax(-2), lower, upper


RECORDS = [
    OpRecord(
        "lu_parts",
        samples=lambda: [Sample(well_conditioned(3)), Sample(floats((2, 2, 2), 0.3, 2))],
        reference=_reference,
        torch=_torch,
    ),
]
