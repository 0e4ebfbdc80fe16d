"""The first minute on a GPU: one thing after another that a training program does, each compared with the CPU.

    python benchmarks/gpu_smoke.py [cuda]

A line per thing: ok with the relative error, or the error with the last frames of its traceback. Ends with 1 if one
has failed.
"""

import sys
import time
import traceback

import numpy as np

import chainrule as cr
from chainrule import nn

F = nn.functional


def data(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def trained(make, x, y, steps=3, capture=False):
    """Losses of some steps of a model on both devices."""

    def run(device):
        cr.manual_seed(0)
        model = make().to(device)
        optimizer = cr.optim.AdamW(model.parameters(), lr=1e-3)
        inputs, targets = cr.tensor(x, device=device), cr.tensor(y, device=device)

        def step(inputs, targets):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            optimizer.step()
            return loss

        step = cr.capture(step, strict=True) if capture and device != "cpu" else step
        return cr.stack([step(inputs, targets).detach().clone() for _ in range(steps)])

    return run


def of(function, *arrays):
    """A function of tensors, with the gradients of its sum, on both devices."""

    def run(device):
        tensors = [cr.tensor(a, device=device, requires_grad=a.dtype.kind == "f") for a in arrays]
        out = function(*tensors)
        live = [t for t in tensors if t.requires_grad]
        found = cr.autograd.grad((out * out).sum(), live) if out.requires_grad else ()
        return cr.cat([t.detach().reshape(-1).float() for t in (out, *found)])

    return run


def image_net():
    conv = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(conv, nn.Flatten(), nn.Linear(8 * 16, 5))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(6, 8), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.cell(x)[0][-1])


LABELS = np.array([0, 1, 2, 3])
THINGS = {
    "copy": of(lambda x: x * 1, data(5, 7)),
    "elementwise and sum": of(lambda x, y: (x.tanh() * y.exp()).sum(1), data(33, 65), data(33, 65, seed=1)),
    "matmul": of(lambda x, y: x @ y, data(33, 17), data(17, 65, seed=1)),
    "batched matmul": of(lambda x, y: x @ y.transpose(1, 2), data(3, 33, 17), data(3, 9, 17, seed=1)),
    "linear + GELU": of(lambda x, w, b: F.gelu(F.linear(x, w, b)), data(32, 16), data(24, 16, seed=1), data(24)),
    "index": of(lambda x: x[cr.tensor([3, 0, 3], device=x.device)], data(5, 7)),
    "embedding": of(lambda w: F.embedding(cr.tensor([3, 0, 3], device=w.device), w), data(5, 8)),
    "softmax": of(lambda x: x.softmax(-1), data(8, 1000)),
    "cross entropy": of(lambda x: F.cross_entropy(x, cr.tensor(LABELS, device=x.device)), data(4, 5000)),
    "layer norm": of(lambda x, w: F.layer_norm(x, (64,), w), data(16, 64), data(64, seed=1)),
    "batch norm": of(lambda x: F.relu(F.batch_norm(x, None, None, training=True)), data(4, 8, 6, 6)),
    "conv": of(lambda x, w: F.conv2d(x, w, padding=1), data(2, 8, 9, 9), data(16, 8, 3, 3, seed=1)),
    "max pool": of(lambda x: F.max_pool2d(x, 2), data(2, 8, 8, 8)),
    "attention": of(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        *(data(2, 2, 16, 8, seed=i) for i in range(3)),
    ),
    "sort": of(lambda x: x.sort(1)[0], data(8, 33)),
    "solve": of(lambda a, b: cr.linalg.solve(a @ a.T + 9 * cr.eye(5, device=a.device), b), data(5, 5), data(5, 2)),
    "MLP trains": trained(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5)), data(4, 6), LABELS),
    "convolutions train": trained(image_net, data(4, 3, 8, 8), LABELS),
    "LSTM trains": trained(Recurrent, data(3, 4, 6), LABELS),
    "MLP trains, captured": trained(
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5)), data(4, 6), LABELS, 6, capture=True
    ),
    "convolutions train, captured": trained(image_net, data(4, 3, 8, 8), LABELS, 6, capture=True),
}


def main(device="cuda"):
    failed = 0
    cr.set_float32_matmul_precision("highest")
    cr.backends.cudnn.allow_tf32 = False
    for name, run in THINGS.items():
        begin = time.perf_counter()
        try:
            found, expected = run(device).cpu().numpy(), run("cpu").numpy()
            error = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))
            good = error < 1e-3  # NaN is not
            failed += not good
            print(
                f"{'ok' if good else 'WRONG':8} {name:32} {error:.1e}  {time.perf_counter() - begin:.2f} s", flush=True
            )
        except Exception as caught:
            failed += 1
            print(f"{'FAILED':8} {name:32} {type(caught).__name__}: {caught}")
            print("".join(traceback.format_tb(caught.__traceback__)[-4:]), flush=True)
    print(f"{failed} of {len(THINGS)} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
