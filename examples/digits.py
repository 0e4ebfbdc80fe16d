"""Train a small LeNet on scikit-learn's handwritten digits (1,797 real images of 8 x 8), test it, draw what it learned.

    make demo
    make demo DEMO_ARGS="--epochs 30 --lr 0.002"
    python examples/digits.py --resume --epochs 80

Every epoch draws its random numbers from (seed, epoch) and the checkpoint holds all the rest, so a run that is stopped
and resumed ends with the same bits as one that was not.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn import functional as F
from chainrule.utils import safetensors

try:
    import matplotlib
    from sklearn.datasets import load_digits
    from tqdm import tqdm
except ImportError as missing:
    sys.exit(f"This program needs {missing.name}. `make demo` installs it, or: pip install 'chainrule[examples]'")

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BATCH, HELD_OUT, SPLIT_SEED = 32, 300, 0
CHECKPOINT = "checkpoint.safetensors"


class LeNet(nn.Module):
    """Convolution, pooling, convolution, pooling, two linear layers, as Y. LeCun et al. had it in 1998; with ReLU."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(32 * 2 * 2, 128)
        self.fc2 = nn.Linear(128, 10)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(self.dropout(x))


# -- data -------------------------------------------------------------------------------------------------------------


def load_data(device):
    """Three pairs (images, classes): training, validation, test. The split is always the same."""
    digits = load_digits()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(digits.target))
    images = (digits.images[order] / 16.0).astype(np.float32)[:, None]
    classes = digits.target[order].astype(np.int64)
    cuts = [slice(2 * HELD_OUT, None), slice(0, HELD_OUT), slice(HELD_OUT, 2 * HELD_OUT)]
    return [(cr.tensor(images[c]).to(device), cr.tensor(classes[c]).to(device)) for c in cuts]


def distorted(images):
    """Images turned by up to 12 degrees, scaled by up to a tenth and shifted by up to a pixel, each in its own way."""
    n = len(images)
    angle, scale = (cr.rand(n) - 0.5) * (24 * math.pi / 180), 1 + (cr.rand(n) - 0.5) * 0.2
    cos, sin, shift = angle.cos() * scale, angle.sin() * scale, (cr.rand(n, 2) - 0.5) * 0.5
    maps = cr.stack([cr.stack([cos, -sin, shift[:, 0]], 1), cr.stack([sin, cos, shift[:, 1]], 1)], 1).to(images.device)
    return F.grid_sample(images, F.affine_grid(maps, images.shape, align_corners=False), align_corners=False)


# -- training ---------------------------------------------------------------------------------------------------------


def train_epoch(model, optimizer, data, seed, epoch, bar):
    """One pass over the training images; the mean cross-entropy and the share of right answers."""
    cr.manual_seed(1000 * seed + epoch)
    images, classes = data
    order, losses, right, done = cr.randperm(len(images)), 0.0, 0, 0
    model.train()
    for start in range(0, len(images), BATCH):
        index = order[start : start + BATCH].to(images.device)
        target = classes[index]
        optimizer.zero_grad()
        scores = model(distorted(images[index]))
        loss = F.cross_entropy(scores, target, label_smoothing=0.05)
        loss.backward()
        optimizer.step()
        with cr.no_grad():  # reported without the smoothing, beside the loss on the validation images
            losses += F.cross_entropy(scores, target, reduction="sum").item()
            right += (scores.argmax(1) == target).sum().item()
        done += len(target)
        bar.set_postfix(loss=f"{losses / done:.3f}", accuracy=f"{right / done:.1%}", refresh=False)
        bar.update()
    return losses / done, right / done


@cr.no_grad()
def evaluate(model, data):
    """The mean loss, the share of right answers, and the probabilities (N, 10)."""
    images, classes = data
    model.eval()
    scores = model(images)
    loss = F.cross_entropy(scores, classes)
    return loss.item(), (scores.argmax(1) == classes).float().mean().item(), F.softmax(scores, 1).cpu().numpy()


# -- the checkpoint ---------------------------------------------------------------------------------------------------


def save_checkpoint(path, model, optimizer, scheduler, best, notes):
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    state = optimizer.state_dict()
    for i, entry in state["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in entry.items()}
    notes = {**notes, "groups": state["param_groups"], "scheduler": scheduler.state_dict()}
    safetensors.save_file(tensors, path, {"notes": json.dumps(notes)})


def load_checkpoint(path, model, optimizer, scheduler, device):
    """Bring everything back to where it was; returns (best weights, notes)."""
    tensors, notes = safetensors.load_file(path, device), json.loads(safetensors.metadata(path)["notes"])
    parts = {"model": {}, "best": {}, "optimizer": {}}
    for name, t in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = t
    model.load_state_dict(parts["model"])
    state = {}
    for name, t in parts["optimizer"].items():
        i, _, key = name.partition(".")
        state.setdefault(int(i), {})[key] = t
    optimizer.load_state_dict({"state": state, "param_groups": notes.pop("groups")})
    scheduler.load_state_dict(notes.pop("scheduler"))
    return parts["best"], notes


# -- pictures ---------------------------------------------------------------------------------------------------------

INK, BLUE, ORANGE, RED = "#333333", "#2a6fbb", "#e07b28", "#b3261e"
STYLE = {
    "figure.dpi": 130,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
}


def draw_curves(history, best_epoch, path):
    epochs = np.arange(1, len(history) + 1)
    train_loss, train_right, val_loss, val_right = np.array(history).T
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, training, validation in ((left, train_loss, val_loss), (right, 100 * train_right, 100 * val_right)):
        axis.plot(epochs, training, color=ORANGE, label="training (distorted images, dropout)")
        axis.plot(epochs, validation, color=BLUE, label="validation")
        axis.axvline(best_epoch, color=INK, linewidth=0.8, linestyle=":", zorder=0)
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    left.set_yscale("log")
    left.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    left.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    left.set_title("Cross-entropy")
    left.annotate(
        f"epoch {best_epoch}, kept",
        (best_epoch, 0.97),
        xycoords=("data", "axes fraction"),
        ha="right",
        va="top",
        xytext=(-4, 0),
        textcoords="offset points",
        fontsize=8,
        color=INK,
    )
    right.set_ylim(80 if max(val_right) > 0.9 else 0, 100.4)
    right.set_title("Accuracy in per cent")
    right.legend(loc="lower right", facecolor="white", edgecolor="none", framealpha=1)
    figure.savefig(path)
    plt.close(figure)


def draw_confusion(classes, predicted, path):
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (classes, predicted), 1)
    figure, axis = plt.subplots(figsize=(4.8, 4.8), layout="constrained")
    axis.imshow(counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1.15)
    for i, j in zip(*np.nonzero(counts)):
        colour = "white" if i == j else RED
        axis.text(j, i, counts[i, j], ha="center", va="center", color=colour, fontweight="normal" if i == j else "bold")
    axis.set(xticks=range(10), yticks=range(10), xlabel="answer of the network", ylabel="digit that was written")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title(f"Confusion matrix: {np.trace(counts)} of {counts.sum()} test images right")
    figure.savefig(path)
    plt.close(figure)


def draw_kernels(weight, path):
    limit = np.abs(weight).max()
    figure, axes = plt.subplots(2, 8, figsize=(8.4, 2.5), layout="constrained")
    for i, (axis, kernel) in enumerate(zip(axes.flat, weight[:, 0])):
        shown = axis.imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_title(f"{i + 1}", fontsize=7, loc="center", pad=2)
    figure.colorbar(shown, ax=axes, shrink=0.8, label="weight")
    figure.suptitle("The 16 kernels of the first layer: red answers to ink, blue to its absence", fontsize=10)
    figure.savefig(path)
    plt.close(figure)


def draw_mistakes(images, classes, probabilities, path):
    """All mistakes (up to 12), and the narrowest right answers in the places that are left."""
    predicted, certainty = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predicted != classes)
    wrong = wrong[np.argsort(-certainty[wrong])]
    close = np.flatnonzero(predicted == classes)
    close = close[np.argsort(certainty[close])]
    chosen = np.concatenate([wrong, close])[:12]
    figure, axes = plt.subplots(2, 6, figsize=(8.4, 3.7), layout="constrained")
    for axis, i in zip(axes.flat, chosen):
        axis.imshow(images[i, 0], cmap="gray_r", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
        mistaken = predicted[i] != classes[i]
        axis.spines[:].set(visible=True, color=RED if mistaken else "#cccccc", linewidth=1.6 if mistaken else 0.8)
        text = f"{classes[i]} taken for {predicted[i]}" if mistaken else f"{classes[i]}, barely"
        axis.set_title(f"{text}\n{certainty[i]:.0%} sure", color=RED if mistaken else INK, fontsize=8, loc="center")
    figure.suptitle(
        f"{len(wrong)} mistakes on the test images, and the right answers that were least sure", fontsize=10
    )
    figure.savefig(path)
    plt.close(figure)


# -- the program ------------------------------------------------------------------------------------------------------


def whole(text):
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return value


def seed_number(text):
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def rate(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 1")
    return value


def place(text):
    try:
        found = cr.device(text)
        cr.zeros(1, device=found)
    except (RuntimeError, ImportError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be had: {error}") from None
    return found


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=whole, default=60, help="how often to go over the training images (60)")
    parser.add_argument("--lr", type=rate, help="learning rate of the first epochs (0.003)")
    parser.add_argument("--seed", type=seed_number, help="of weights, order, distortions and dropout (0)")
    parser.add_argument("--device", type=place, default="cpu", help="cpu, cuda or cuda:1 (cpu)")
    parser.add_argument("--out", type=Path, default=Path("runs/digits"), help="folder of checkpoint and pictures")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in that folder")
    return parser, parser.parse_args(argv)


def main(argv=None):
    """Train, test, draw. Returns the accuracy on the test images."""
    parser, args = parse(argv)
    path, started = args.out / CHECKPOINT, time.perf_counter()
    notes = {"seed": args.seed or 0, "lr": args.lr or 0.003, "history": [], "best_epoch": 0, "best_loss": math.inf}
    if args.resume:
        if not path.exists():
            parser.error(f"--resume: there is no checkpoint {path}")
        notes = json.loads(safetensors.metadata(path)["notes"])
        for name in ("seed", "lr"):
            if getattr(args, name) not in (None, notes[name]):
                parser.error(
                    f"--{name} {getattr(args, name)}: the checkpoint was made with {notes[name]}; leave it out"
                )
        if len(notes["history"]) > args.epochs:
            parser.error(f"--epochs {args.epochs}: the checkpoint has {len(notes['history'])} epochs already")
    args.out.mkdir(parents=True, exist_ok=True)

    train, validation, test = load_data(args.device)
    cr.manual_seed(notes["seed"])
    model = LeNet().to(args.device)
    optimizer = optim.AdamW(model.parameters(), lr=notes["lr"], weight_decay=0.01)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=20, gamma=0.3)
    best = {}
    if args.resume:
        best, notes = load_checkpoint(path, model, optimizer, scheduler, args.device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; {len(train[0])} images to train on, ", end="")
    print(f"{len(validation[0])} to watch, {len(test[0])} to test, on {args.device}")

    first, steps = len(notes["history"]), math.ceil(len(train[0]) / BATCH)
    with tqdm(total=args.epochs * steps, initial=first * steps, unit=" steps", dynamic_ncols=True) as bar:
        for epoch in range(first, args.epochs):
            bar.set_description(f"epoch {epoch + 1}/{args.epochs}")
            result = train_epoch(model, optimizer, train, notes["seed"], epoch, bar)
            scheduler.step()
            loss, accuracy, _ = evaluate(model, validation)
            notes["history"].append([*result, loss, accuracy])
            if loss < notes["best_loss"]:
                notes["best_loss"], notes["best_epoch"] = loss, epoch + 1
                best = {k: v.clone() for k, v in model.state_dict().items()}
            save_checkpoint(path, model, optimizer, scheduler, best, notes)

    model.load_state_dict(best)
    _, accuracy, probabilities = evaluate(model, test)
    images, classes = (t.cpu().numpy() for t in test)
    with plt.rc_context(STYLE):
        draw_curves(notes["history"], notes["best_epoch"], args.out / "curves.png")
        draw_confusion(classes, probabilities.argmax(1), args.out / "confusion.png")
        draw_kernels(model.conv1.weight.detach().cpu().numpy(), args.out / "kernels.png")
        draw_mistakes(images, classes, probabilities, args.out / "mistakes.png")
    print(f"test accuracy {accuracy:.2%} with the weights of epoch {notes['best_epoch']}, ", end="")
    print(f"{time.perf_counter() - started:.1f} s; pictures and checkpoint in {args.out}/")
    return accuracy


if __name__ == "__main__":
    cr.set_num_threads(1)  # matrices this small gain nothing by a second one, and lose where others use the processor
    main()
