"""Transfer learning: a network that knows the digits 0 to 4 learns 5 to 9 from a handful of examples.

    python examples/transfer.py
    python examples/transfer.py --draws 20

A small convolutional network learns 0 to 4 from scikit-learn's images. Then there are 1, 2, 5, 10 or 20 labelled images
of each of 5 to 9, and three ways to use them, each tried on several random draws of the labels and tested on all that
are left:

    from scratch    a new network, all weights trained
    new head        the trained body is frozen, its features are computed once, and a linear layer is trained on them
    fine-tuned      the new head as it is then, and all weights trained on at a small rate

What to expect: 98 to 100 % on 0 to 4, and no gain on 5 to 9: images of 8 x 8 are so easy that a network trained from
scratch is as good as the fine-tuned one (95 % at 10 labels per digit) or better by a point or two. What transfer saves
is time: a head on features that are computed once takes an eighth of it. About 20 s.

Writes to runs/transfer/: accuracy.png, table.txt, figures.json, base.pth.
"""

import copy
import sys
import time

import numpy as np
from common import BLUE, GREEN, ORANGE, STYLE, command_line, plt, save_figures, save_picture, start, whole

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn import functional as F
from chainrule.utils.progress import Progress
from chainrule.utils.transfer import cached_features, freeze, unfreeze

try:
    from sklearn.datasets import load_digits
except ImportError as missing:
    sys.exit(f"This program needs {missing.name}: pip install 'chainrule[examples]'")

LABELS, SHARE_TEST, FEATURES = (1, 2, 5, 10, 20), 0.2, 128
WAYS = {"from scratch": ORANGE, "new head": BLUE, "fine-tuned": GREEN}


class Network(nn.Module):
    """A convolutional body (N, 1, 8, 8) → (N, 128), and a linear head for five classes."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, 5)

    def forward(self, x):
        return self.head(self.body(x))


def load_halves(device):
    """(images, classes 0 to 4) of the digits 0 to 4, and of 5 to 9."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, None]
    for chosen in (digits.target < 5, digits.target >= 5):
        yield cr.tensor(images[chosen], device=device), cr.tensor(digits.target[chosen] % 5, device=device)


def train(model, x, y, steps, lr, batch=64):
    """`steps` steps of Adam on the parameters that are free; the losses."""
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=1e-4)
    losses, order = [], cr.randperm(len(x))
    for _ in range(steps):
        if len(order) < min(batch, len(x)):
            order = cr.randperm(len(x))
        chosen, order = order[:batch].to(x.device), order[batch:]
        loss = F.cross_entropy(model(x[chosen]), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@cr.no_grad()
def accuracy(model, x, y):
    return (model(x).argmax(1) == y).float().mean().item()


def three_ways(base, labelled, test, steps):
    """Of each way to learn from the labelled images: accuracy on the test images, and seconds of training."""
    begun = time.perf_counter()
    scratch = Network().to(labelled[0].device)
    train(scratch, *labelled, steps, lr=3e-3)
    took = {"from scratch": time.perf_counter() - begun}

    begun = time.perf_counter()
    model = copy.deepcopy(base)
    freeze(model)
    model.head = nn.Linear(FEATURES, 5, device=labelled[0].device)  # after freeze: the head is free
    features, targets = cached_features(model.body, [labelled]).tensors
    train(model.head, features, targets, steps, lr=1e-2)
    took["new head"] = time.perf_counter() - begun
    found = {"from scratch": accuracy(scratch, *test), "new head": accuracy(model, *test)}

    unfreeze(model)
    train(model, *labelled, steps, lr=1e-3)
    took["fine-tuned"] = time.perf_counter() - begun
    return {**found, "fine-tuned": accuracy(model, *test)}, took


def table(means, deviations, seconds, labels):
    rows = ["labels per digit" + "".join([f"{way:>18}" for way in WAYS])]
    for i, n in enumerate(labels):
        cells = [f"{100 * means[way][i]:.1f} ± {100 * deviations[way][i]:.1f} %" for way in WAYS]
        rows.append(f"{n:>16}" + "".join([f"{cell:>18}" for cell in cells]))
    times = [f"{np.mean(seconds[way]):.2f} s" for way in WAYS]
    return "\n".join([*rows, "time to train".rjust(16) + "".join([f"{cell:>18}" for cell in times])])


def draw(results, path):
    """results: way → labels per digit → accuracies, one for each draw."""
    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for shift, (way, colour) in zip((-1, 0, 1), WAYS.items()):
        places = np.array(list(results[way])) * 1.035**shift  # side by side where they would hide each other
        values = 100 * np.array(list(results[way].values()))
        axis.errorbar(places, values.mean(1), values.std(1), color=colour, marker="o", capsize=2, label=way)
    labels = list(results["new head"])
    axis.set_xscale("log")
    axis.set_xticks(labels, labels)
    axis.minorticks_off()
    axis.set(xlabel="labelled images of each digit", title="Accuracy on the digits 5 to 9 in per cent, ± one deviation")
    axis.legend(loc="lower right")
    save_picture(figure, path)


def main(argv=None):
    """Train the base, transfer it, compare. Returns the figures of the run."""
    parser = command_line(__doc__, "transfer", steps=200)
    parser.add_argument("--draws", type=whole, default=5, help="of the labelled images, for each number of them (5)")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    cr.manual_seed(args.seed)
    random = np.random.default_rng(args.seed)

    (x, y), (new_x, new_y) = load_halves(args.device)
    order = cr.tensor(random.permutation(len(x)), device=args.device)
    cut = int(SHARE_TEST * len(x))
    base = Network().to(args.device)
    losses = train(base, x[order[cut:]], y[order[cut:]], args.steps, lr=3e-3)
    known = accuracy(base, x[order[:cut]], y[order[:cut]])
    cr.save(base.state_dict(), args.out / "base.pth")
    print(f"{known:.1%} of the digits 0 to 4 right, on {cut} test images; now 5 to 9, on {args.device}")

    results, times = {way: {n: [] for n in LABELS} for way in WAYS}, {way: [] for way in WAYS}
    with Progress(len(LABELS) * args.draws, "trials") as progress:
        for n in LABELS:
            for _ in range(args.draws):
                places = [random.permutation(np.flatnonzero(new_y.cpu().numpy() == c)) for c in range(5)]
                few, rest = (
                    cr.tensor(np.concatenate([p[part] for p in places]), device=args.device)
                    for part in (slice(n), slice(n, None))
                )
                found, took = three_ways(base, (new_x[few], new_y[few]), (new_x[rest], new_y[rest]), args.steps)
                for way, share in found.items():
                    results[way][n].append(share)
                    times[way].append(took[way])
                progress.update(labels=n, **{way.replace(" ", "_"): f"{share:.0%}" for way, share in found.items()})

    means = {way: [float(np.mean(v)) for v in results[way].values()] for way in WAYS}
    deviations = {way: [float(np.std(v)) for v in results[way].values()] for way in WAYS}
    text = table(means, deviations, times, LABELS)
    print(text)
    (args.out / "table.txt").write_text(text + "\n", encoding="utf-8")
    with plt.rc_context(STYLE):
        draw(results, args.out / "accuracy.png")
    seconds = time.perf_counter() - started
    print(f"{seconds:.1f} s; results in {args.out}/")
    figures = {"known": known, "first_loss": losses[0], "last_loss": losses[-1], "labels": LABELS, **means}
    return save_figures(args.out, {**figures, "seconds": seconds})


if __name__ == "__main__":
    start(main)
