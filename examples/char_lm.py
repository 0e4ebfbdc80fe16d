"""A character-level language model: an LSTM reads a text and writes in its style.

    python examples/char_lm.py                          # Python's own documentation, 465,000 characters
    python examples/char_lm.py --text book.txt --steps 3000
    python examples/char_lm.py --text book.txt --steps 6000 --resume

The default text is one that every machine with Python has: `pydoc_data.topics`, what `help()` prints. The last
twentieth is kept for measuring. Backpropagation is truncated: the state runs on through the text, gradients reach 50
characters back. A run that is stopped and resumed ends with the same bits as one that was not.

What to expect: a perplexity of about 3.6 per character on text that it has not read; frequencies alone give 24. About a
minute.

Writes to runs/char_lm/: perplexity.png, surprise.png, samples.txt, figures.json, checkpoint.pth.
"""

import math
import time
from pathlib import Path

import numpy as np
from common import (
    BLUE,
    INK,
    ORANGE,
    STYLE,
    command_line,
    plt,
    positive,
    save_figures,
    save_picture,
    start,
    whole,
)

import chainrule as cr
from chainrule import nn, optim
from chainrule.models import CharRNN, truncated_bptt
from chainrule.nn import functional as F
from chainrule.utils.progress import Progress

ROWS, SPAN, SHARE_KEPT, MEASURED = 32, 50, 0.05, 20_000
CHECKPOINT = "checkpoint.pth"


def read(path):
    """The text: a file's, or that of Python's documentation."""
    if path is not None:
        return path.read_text(encoding="utf-8")
    from pydoc_data.topics import topics

    return "\n\n".join([topics[name] for name in sorted(topics)])


def in_rows(numbers, rows):
    """A text (T,) cut into `rows` parts that are read side by side: inputs and what follows, (rows, T // rows)."""
    length = (len(numbers) - 1) // rows
    return numbers[: rows * length].view(rows, length), numbers[1 : rows * length + 1].view(rows, length)


def rate(step, peak):
    """Half of `peak` after 300 steps, a third after 600: whatever --steps is, so that a resumed run is no other run."""
    return peak / (1 + step / 300)


@cr.no_grad()
def surprise(model, numbers):
    """-ln p of each character of a text (T,) but the first, given those before it: (T - 1,)."""
    model.eval()
    state, found = None, []
    for i in range(0, len(numbers) - 1, 1000):
        x, y = numbers[i : i + 1000], numbers[i + 1 : i + 1001]
        logits, state = model(x[None, : len(y)], state)
        found.append(F.cross_entropy(logits[0], y, reduction="none"))
    model.train()
    return cr.cat(found).cpu().numpy()


def draw_curves(history, start, path):
    """history: rows (step, training perplexity, perplexity of the text that was kept)."""
    figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
    steps, training, kept = np.array(history).T
    axis.plot(steps, training, color=ORANGE, label="while training")
    axis.plot(steps, kept, color=BLUE, marker="o", markersize=3, label="on text that it has not read")
    axis.axhline(start, color=INK, linestyle=":", linewidth=0.8)
    axis.annotate("letters drawn by how often they occur", (1, start), xycoords=("axes fraction", "data"), ha="right",
                  xytext=(0, 3), textcoords="offset points", fontsize=8, color=INK)  # fmt: skip
    axis.set(yscale="log", xlabel="step", title="Perplexity per character")
    ticks = [t for t in (2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100) if kept.min() / 1.5 < t < 1.5 * max(start, kept.max())]
    axis.set_yticks(ticks, ticks)
    axis.minorticks_off()
    axis.legend(loc="best")
    save_picture(figure, path)


def draw_surprise(text, bits, path, width=72, rows=16):
    """A passage of the text, each character on a ground as dark as it surprised the model."""
    lines, row, column = [], 0, 0
    for character, b in zip(text, bits):
        if character == "\n" or column == width:
            row, column = row + 1, 0
        if row == rows:
            break
        if character != "\n":
            lines.append((row, column, character, b))
            column += 1
    shown = np.zeros((min(row + 1, rows), width))
    for r, c, _, b in lines:
        shown[r, c] = b
    figure, axis = plt.subplots(figsize=(9, 0.6 + 0.19 * len(shown)), layout="constrained")
    image = axis.imshow(shown, cmap="Oranges", vmin=0, vmax=10, aspect="auto")
    for r, c, character, _ in lines:
        axis.text(c, r, character.replace("$", r"\$"), ha="center", va="center", family="monospace", fontsize=7.5)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.set_title("How much each character of unread text surprised the model")
    figure.colorbar(image, ax=axis, label="bits", fraction=0.03)
    save_picture(figure, path)


def main(argv=None):
    """Train, measure, write, draw. Returns the figures of the run."""
    parser = command_line(__doc__, "char_lm", steps=800)
    parser.add_argument("--text", type=Path, help="a file of UTF-8 text (Python's documentation)")
    parser.add_argument("--hidden", type=whole, default=192, help="units of the LSTM (192)")
    parser.add_argument("--lr", type=positive, default=5e-3, help="learning rate at the start (0.005)")
    parser.add_argument("--temperatures", type=positive, nargs="+", default=[0.3, 0.7, 1.0], help="of the samples")
    parser.add_argument("--start", help="what the samples begin with (The, or the beginning of the text)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    args = parser.parse_args(argv)
    path, started = args.out / CHECKPOINT, time.perf_counter()
    try:
        text = read(args.text)
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"--text {args.text}: {error}")
    cut = int(len(text) * (1 - SHARE_KEPT))
    vocabulary = sorted(set(text))
    if cut < ROWS * (SPAN + 1) or len(text) - cut < 2:
        parser.error(f"the text has {len(text):,} characters; {2 * ROWS * SPAN:,} are the least to learn from")
    if args.start and not set(args.start) <= set(vocabulary):
        parser.error(f"--start: the text has no {''.join(sorted(set(args.start) - set(vocabulary)))!r}")
    saved = None
    if args.resume:
        if not path.exists():
            parser.error(f"--resume: there is no checkpoint {path}")
        saved = cr.load(path, map_location=args.device)
        for name, value in (("text", text), ("hidden", args.hidden), ("seed", args.seed), ("lr", args.lr)):
            if saved[name] != value:
                parser.error(f"--resume: the checkpoint was made with another --{name}")
        if saved["steps"] > args.steps:
            parser.error(f"--steps {args.steps}: the checkpoint has {saved['steps']} steps already")
    args.out.mkdir(parents=True, exist_ok=True)

    cr.manual_seed(args.seed)
    model = CharRNN(vocabulary, hidden=args.hidden, embedding=48).to(args.device)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    x, y = in_rows(model.encode(text[:cut]), ROWS)
    unread = model.encode(text[cut:])
    state, done, history, losses = None, 0, [], []
    if saved:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        state, done, history, losses = saved["state"], saved["steps"], saved["history"], saved["losses"]
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; {cut:,} characters to learn from, ", end="")
    print(f"{len(text) - cut:,} kept, {len(vocabulary)} different, on {args.device}")

    spans = x.shape[1] // SPAN  # steps in one pass over the text
    every = 100
    with Progress(args.steps, "steps", initial=done) as progress:
        while done < args.steps:
            at = done % spans * SPAN
            state = None if at == 0 else state
            end = min(spans * SPAN, at + (args.steps - done) * SPAN)
            for loss, after in truncated_bptt(model, x[:, at:end], y[:, at:end], SPAN, state=state):
                optimizer.param_groups[0]["lr"] = rate(done, args.lr)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                losses.append(loss.item())
                state, done = after, done + 1
                if done % every == 0 or done == args.steps:
                    recent = losses[-every:]
                    kept = surprise(model, unread[:MEASURED]).mean()
                    history.append([done, math.exp(sum(recent) / len(recent)), math.exp(kept)])
                    made_with = {"text": text, "hidden": args.hidden, "seed": args.seed, "lr": args.lr}
                    learned = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": state}
                    cr.save({**made_with, **learned, "steps": done, "history": history, "losses": losses}, path)
                progress.update(
                    perplexity=f"{math.exp(losses[-1]):.2f}", unread=f"{history[-1][2]:.2f}" if history else "-"
                )

    nats = surprise(model, unread)
    counts = np.bincount(model.encode(text[:cut]).cpu().numpy(), minlength=len(vocabulary)) + 1
    share = counts / counts.sum()
    unigram = float(np.exp(-np.log(share)[unread[1:].cpu().numpy()].mean()))
    start_text = args.start or ("The " if set("The ") <= set(vocabulary) else text[:4])
    samples = []
    for temperature in args.temperatures:
        generator = cr.Generator(args.device).manual_seed(args.seed)
        written = model.sample(start_text, 400, temperature=temperature, generator=generator)
        samples.append(f"--- temperature {temperature:g}\n{written}\n")
    print("\n".join(samples))
    (args.out / "samples.txt").write_text("\n".join(samples), encoding="utf-8")
    with plt.rc_context(STYLE):
        draw_curves(history, unigram, args.out / "perplexity.png")
        passage = max(text.find("\n\n", (cut + len(text)) // 2) + 2, cut + 1)  # a paragraph of what was kept
        draw_surprise(text[passage:], nats[passage - cut - 1 :] / math.log(2), args.out / "surprise.png")
    perplexity, seconds = float(np.exp(nats.mean())), time.perf_counter() - started
    print(
        f"perplexity {perplexity:.2f} per character ({nats.mean() / math.log(2):.2f} bits) on text that it has not ",
        end="",
    )
    print(f"read, {unigram:.1f} by frequencies alone; {seconds:.1f} s; results in {args.out}/")
    figures = {"perplexity": perplexity, "unigram": unigram, "first_loss": losses[0], "last_loss": losses[-1]}
    return save_figures(args.out, {**figures, "seconds": seconds})


if __name__ == "__main__":
    start(main)
