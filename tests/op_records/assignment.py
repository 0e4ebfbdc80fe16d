"""Records of `copy`, `fill` and `to_device`, the ops behind `copy_`, `fill_`, `zero_` and `to`."""

import numpy as np

from chainrule.autograd.device import CPU
from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import empty, floats

RECORDS = [
    OpRecord(
        "copy",
        samples=lambda: [
            Sample(floats((2, 3)), floats((2, 3))),
            Sample(floats((2, 3)), floats((3,))),
            Sample(floats((2, 3)), floats((2, 1))),
            Sample(floats((2, 3)), 1.5),
            Sample(floats(()), floats(())),
            Sample(empty((0, 3)), floats((3,))),
        ],
        reference=lambda x, src: np.broadcast_to(src, x.shape),
        torch=lambda x, src: x.clone().copy_(src) if hasattr(src, "shape") else x.clone().fill_(src),
    ),
    OpRecord(
        "fill",
        samples=lambda: [Sample(floats((2, 3)), 2.0), Sample(floats((2, 3)), floats(())), Sample(floats(()), -1.0)],
        reference=lambda x, value: np.full(x.shape, value),
        torch="fill",
    ),
    OpRecord(
        "to_device",
        samples=lambda: [Sample(floats((2, 3)), device=CPU, source=CPU)],
        reference=lambda x, device, source: x,
        torch=lambda x, device, source: x.to("cpu"),
    ),
]
