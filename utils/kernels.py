"""Compile the kernels of the extra `fast` ahead of time: `python -m chainrule.utils.kernels`, `--clear` deletes them.

Kernels are compiled when they are first called, once per machine, and kept (CHAINRULE_CACHE names the folder): a first
step of ResNet takes seconds longer. For an image of a container or a machine that others wait for, this calls those of
the usual models beforehand. Unusual shapes (other sizes of kernels, tiles of other heights) still compile their own.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from .. import nn, optim
from ..autograd import creation, no_grad, random
from ..backends import compiled

__all__ = ["compile_all"]


def _vision() -> Iterator[tuple[Any, Any]]:
    x = random.randn(4, 3, 32, 32)
    layers = [
        *(nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.MaxPool2d(3, 2, 1), nn.Conv2d(64, 64, 3, padding=1), nn.GroupNorm(8, 64), nn.SiLU()),
        *(nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.BatchNorm2d(64), nn.Hardswish()),
        *(nn.Conv2d(64, 128, 1), nn.LeakyReLU(0.2), nn.Conv2d(128, 128, 3, stride=2, padding=1, groups=4)),
        *(nn.Upsample(scale_factor=4, mode="bilinear"), nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.AvgPool2d(2)),
        *(nn.Dropout(0.1), nn.Conv2d(64, 16, 5, padding=2), nn.ELU(), nn.Flatten(), nn.LazyLinear(10)),
    ]
    yield nn.Sequential(*layers), x
    yield (
        nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1)),
        random.randn(8, 64, 32, 32),
    )


class _Recurrent(nn.Module):
    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.embed, self.layer, self.out = nn.Embedding(64, 64), kind(64, 64), nn.Linear(64, 64)

    def forward(self, x: Any) -> Any:
        return self.out(self.layer(self.embed(x))[0])


def _sequences() -> Iterator[tuple[Any, Any]]:
    x = creation.zeros(16, 64, dtype="int64")
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        yield _Recurrent(kind), x
    x = random.randn(4, 64, 128)
    for activation in ("gelu", "relu"):
        yield nn.TransformerEncoderLayer(128, 4, 256, 0.1, activation=activation, batch_first=True), x
    yield nn.Sequential(nn.RMSNorm(128), nn.Linear(128, 128), nn.GELU("tanh"), nn.Softmax(-1)), x
    activations = [nn.Sigmoid(), nn.Softplus(), nn.Mish(), nn.SELU(), nn.CELU(), nn.Hardsigmoid(), nn.PReLU()]
    yield nn.Sequential(*activations, nn.LogSigmoid(), nn.GLU(), nn.LogSoftmax(-1)), x


def _optimizers() -> Iterator[Callable[[Any], Any]]:
    yield lambda p: optim.Adam(p)
    yield lambda p: optim.AdamW(p)
    yield lambda p: optim.SGD(p, lr=1e-3, momentum=0.9)
    yield lambda p: optim.RMSprop(p)


def compile_all() -> None:
    """Train each of a few small models for one step with each of the usual optimizers."""
    makers = list(_optimizers())
    for model, x in (*_vision(), *_sequences()):
        out = model(x)
        classes = out.reshape(-1, out.shape[-1])
        loss = nn.functional.cross_entropy(classes, creation.zeros(classes.shape[0], dtype="int64"))
        loss.backward()
        parameters = list(model.parameters())
        if parameters:
            nn.utils.clip_grad_norm_(parameters, 1.0)
            for make in makers:
                make(parameters).step()
        with no_grad():
            model.eval()(x)


def _main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m chainrule.utils.kernels", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--clear", action="store_true", help="delete what is kept")
    options = parser.parse_args()
    if not compiled.available():
        sys.stderr.write('there is no compiler: pip install "chainrule[fast]" brings numba\n')
        return 1
    from ..backends.compiled import build

    if options.clear:
        sys.stdout.write(f"{build.clear()} files deleted from {build.cache_folder()}\n")
        return 0
    logging.getLogger("chainrule").setLevel(logging.ERROR)  # that it takes a while is no news here
    begun = time.perf_counter()
    compile_all()
    folder = build.cache_folder()
    if folder is None:
        sys.stderr.write("no folder can be written: nothing was kept; CHAINRULE_CACHE names another\n")
        return 1
    kept = [file.stat().st_size for file in folder.glob("*.o")]
    seconds = time.perf_counter() - begun
    sys.stdout.write(f"{len(kept)} kernels, {sum(kept) / 1e6:.1f} MB, are kept in {folder} ({seconds:.0f} s)\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(_main())
