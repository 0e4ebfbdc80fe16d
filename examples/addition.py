"""A small GPT learns to add from examples alone.

    python examples/addition.py
    python examples/addition.py --digits 3 --steps 6000

The network reads "27+65=" one character at a time and writes the sum, 092, from its last digit to its first ("290"): so
each carry comes before the digit that needs it. The 10,000 sums of two-digit numbers are split: a fifth of the pairs
{a, b} is never seen in training, in neither order, and on these the accuracy is measured; an answer is right if all
its digits are.

What to expect: 100 % of the unseen sums after some 900 of the 1,200 steps; 25 to 40 s.

Writes to runs/addition/: curves.png, figures.json, model.pth.
"""

import math
import time

import numpy as np
from common import BLUE, GREEN, INK, ORANGE, RED, STYLE, command_line, plt, save_figures, save_picture, start

import chainrule as cr
from chainrule import nn, optim
from chainrule.models import GPT, GPTConfig
from chainrule.utils.progress import Progress

SYMBOLS = "0123456789+="
BATCH, SHARE_UNSEEN, MOST_UNSEEN, WARM_UP, MEASUREMENTS = 128, 0.2, 2000, 0.05, 30


def split(digits, seed):
    """Pairs (a, b) with a <= b: those to learn from, those never to be seen."""
    pairs = np.stack(np.triu_indices(10**digits), 1)
    np.random.default_rng(seed).shuffle(pairs)
    unseen = min(int(SHARE_UNSEEN * len(pairs)), MOST_UNSEEN)
    return pairs[unseen:], pairs[:unseen]


def written(a, b, digits):
    """Numbers (N,) and (N,) → the characters of "a+b=" and of the sum, last digit first: (N, 2 d + 2), (N, d + 1)."""

    def places(n, count):
        return n[:, None] // 10 ** np.arange(count) % 10  # the last digit is the first column

    sign = np.full((len(a), 1), SYMBOLS.index("+"))
    question = [places(a, digits)[:, ::-1], sign, places(b, digits)[:, ::-1], sign + 1]
    return np.concatenate(question, 1), places(a + b, digits + 1)


def learning_rate(step, steps):
    """The share of the full rate: up in a straight line, then down along half a cosine to a hundredth."""
    warm_up = max(1, int(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def training_batch(pairs, digits, random, device):
    """Inputs (B, T) and the characters that follow (B, T); -1, which the loss leaves out, within the question."""
    chosen = pairs[random.integers(len(pairs), size=BATCH)]
    question, answer = written(*random.permuted(chosen, axis=1).T, digits)
    characters = np.concatenate([question, answer], 1)
    following = characters[:, 1:].copy()
    following[:, : question.shape[1] - 1] = -1
    return cr.tensor(characters[:, :-1], device=device), cr.tensor(following, device=device)


def answers(model, a, b, digits):
    """What the network writes (N, d + 1), and what is right."""
    model.eval()
    question, right = written(a, b, digits)
    found = model.generate(cr.tensor(question, device=model.lm_head.weight.device), digits + 1, temperature=0)
    model.train()
    return found[:, question.shape[1] :].cpu().numpy(), right


def draw(losses, rates, at, by_place, whole, path):
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(np.arange(1, len(losses) + 1), losses, color=BLUE, linewidth=0.8)
    left.axhline(math.log(10), color=INK, linestyle=":", linewidth=0.8)
    left.text(len(losses), math.log(10), "guessing: ln 10", ha="right", va="bottom", fontsize=8, color=INK)
    left.set(yscale="log", xlabel="step", title="Cross-entropy per digit, and learning rate")
    left.tick_params(which="both", axis="y", colors=BLUE)
    rate = left.twinx()
    rate.plot(np.arange(1, len(rates) + 1), rates, color=ORANGE)
    rate.set_ylim(bottom=0)
    rate.tick_params(axis="y", colors=ORANGE)
    rate.spines["right"].set_visible(True)
    names = ["ones", "tens", "hundreds", "thousands", "ten thousands"]
    for place, colour in enumerate([BLUE, ORANGE, GREEN, RED, INK][: by_place.shape[1]]):
        right.plot(at, 100 * by_place[:, place], color=colour, linewidth=1, label=names[place])
    right.plot(at, 100 * whole, color=INK, linewidth=2, label="the whole sum")
    right.set(ylim=(0, 102), xlabel="step", title="Right answers to unseen sums, in per cent")
    right.legend(loc="lower right")
    save_picture(figure, path)


def main(argv=None):
    """Train, measure, draw. Returns the figures of the run."""
    parser = command_line(__doc__, "addition", steps=1200)
    parser.add_argument("--digits", type=int, choices=(1, 2, 3), default=2, help="of the numbers (2)")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    cr.manual_seed(args.seed)
    random = np.random.default_rng(args.seed)

    learned, unseen = split(args.digits, args.seed)
    config = GPTConfig(len(SYMBOLS), 3 * args.digits + 3, n_layer=2, n_head=4, n_embd=64, dropout=0.0)
    model = GPT(config).to(args.device)
    optimizer = optim.AdamW(model.parameter_groups(weight_decay=0.1), lr=3e-3, betas=(0.9, 0.98))
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, args.steps))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; {len(learned):,} pairs to learn from, ", end="")
    print(f"{len(unseen):,} never seen, on {args.device}")

    losses, rates, at, by_place, sums = [], [], [], [], []
    every = max(20, args.steps // MEASUREMENTS)
    with Progress(args.steps, "steps") as progress:
        for step in range(1, args.steps + 1):
            loss = model(*training_batch(learned, args.digits, random, args.device))[1]
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            if step % every == 0 or step == args.steps:
                found, right = answers(model, *unseen[:500].T, args.digits)
                at.append(step)
                by_place.append((found == right).mean(0))
                sums.append((found == right).all(1).mean())
            progress.update(loss=f"{losses[-1]:.4f}", unseen=f"{sums[-1]:.1%}" if sums else "-")

    a, b = np.concatenate([unseen, unseen[:, ::-1]]).T
    found, right = answers(model, a, b, args.digits)
    correct = (found == right).all(1)
    powers = 10 ** np.arange(args.digits + 1)
    for i in [*np.flatnonzero(correct)[:4], *np.flatnonzero(~correct)[:4]]:
        wrong = "" if correct[i] else f"   wrong: it is {a[i] + b[i]}"
        print(f"  {a[i]} + {b[i]} = {found[i] @ powers}{wrong}")
    cr.save(model.state_dict(), args.out / "model.pth")
    with plt.rc_context(STYLE):
        draw(losses, rates, at, np.array(by_place), np.array(sums), args.out / "curves.png")
    accuracy, seconds = float(correct.mean()), time.perf_counter() - started
    print(f"{accuracy:.2%} of {len(a):,} unseen sums right, {seconds:.1f} s; results in {args.out}/")
    return save_figures(
        args.out, {"accuracy": accuracy, "first_loss": losses[0], "last_loss": losses[-1], "seconds": seconds}
    )


if __name__ == "__main__":
    start(main)
