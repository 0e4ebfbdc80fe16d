"""An encoder and a decoder with attention learn to spell words backwards.

    python examples/reverse.py
    python examples/reverse.py --words chainrule differentiable gradient

Training sees random strings of 3 to 12 letters only. The test is on real words, those of Python's own documentation
(`pydoc_data.topics`): a word counts as right if every letter and the end sign are. The pictures show where the decoder
looks while it writes: along the diagonal that runs backwards.

What to expect: more than 98 % of 2,900 words, 99.9 % with 1,200 steps; about a minute.

Writes to runs/reverse/: attention.png (of --words), curves.png, figures.json, model.pth.
"""

import re
import string
import time
from pydoc_data.topics import topics

import numpy as np
from common import BLUE, ORANGE, STYLE, command_line, plt, save_figures, save_picture, start

import chainrule as cr
from chainrule import nn, optim
from chainrule.models import Seq2Seq
from chainrule.nn import functional as F
from chainrule.utils.progress import Progress

SYMBOLS = string.ascii_lowercase + "<>"  # the last two begin and end what is written
BEGIN, END, IGNORED = 26, 27, -1
BATCH, SHORTEST, LONGEST = 64, 3, 12


def random_strings(random, count):
    """`count` strings of random letters, as rows of numbers, and their lengths."""
    lengths = random.integers(SHORTEST, LONGEST + 1, size=count)
    return [random.integers(26, size=n) for n in lengths]


def batch(strings, device):
    """Source (B, S), the decoder's inputs (B, S + 1), what it should write (B, S + 1), lengths (B,)."""
    longest = max(map(len, strings))
    source = np.zeros((len(strings), longest), np.int64)
    inputs, wanted = (np.full((len(strings), longest + 1), fill) for fill in (BEGIN, IGNORED))
    for row, letters in enumerate(strings):
        n = len(letters)
        source[row, :n] = letters
        inputs[row, 1 : n + 1] = wanted[row, :n] = letters[::-1]
        wanted[row, n] = END
    tensors = [cr.tensor(a, device=device) for a in (source, inputs, wanted)]
    return (*tensors, cr.tensor([len(s) for s in strings]))


def real_words():
    """The different words of Python's documentation that are as long as the training strings, in alphabetical order."""
    found = re.findall("[a-z]+", "\n".join(topics.values()).lower())
    return sorted({w for w in found if SHORTEST <= len(w) <= LONGEST})


def numbered(word):
    return np.array([SYMBOLS.index(c) for c in word])


def spelled(model, words, device):
    """Words → what the model writes for each, and where it looked (N, T, S)."""
    model.eval()
    source, _, _, lengths = batch([numbered(w) for w in words], device)
    written, looked = model.translate(source, BEGIN, source.shape[1] + 1, end=END, lengths=lengths)
    model.train()
    texts = ["".join([SYMBOLS[n] for n in row]) for row in written.tolist()]
    return [t.split(SYMBOLS[END])[0] if SYMBOLS[END] in t else t + "..." for t in texts], looked.cpu().numpy()


def share_right(model, words, device):
    written, _ = spelled(model, words, device)
    return float(np.mean([w[::-1] == t for w, t in zip(words, written)]))


def draw_attention(words, written, looked, path):
    figure, axes = plt.subplots(1, len(words), figsize=(0.8 + 3 * len(words), 3.4), layout="constrained", squeeze=False)
    for axis, word, text, weights in zip(axes[0], words, written, looked):
        text = text.rstrip(".")
        rows = len(text) + 1
        shown = axis.imshow(weights[:rows, : len(word)], cmap="Blues", vmin=0, vmax=1)
        axis.set_xticks(range(len(word)), list(word))
        axis.set_yticks(range(rows), [*text, "end"][:rows])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_xlabel("letter that it looks at")
    axes[0][0].set_ylabel("letter that it writes")
    figure.colorbar(shown, ax=axes, label="weight of the attention", shrink=0.8)
    save_picture(figure, path)


def draw_curves(losses, at, accuracy, path):
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot(np.arange(1, len(losses) + 1), losses, color=BLUE, linewidth=0.8)
    left.set(yscale="log", xlabel="step", title="Cross-entropy per letter, random strings")
    right.plot(at, 100 * np.array(accuracy), color=ORANGE)
    right.set(ylim=(0, 102), xlabel="step", title="Real words spelled backwards without a fault, in per cent")
    save_picture(figure, path)


def main(argv=None):
    """Train, test, draw. Returns the figures of the run."""
    parser = command_line(__doc__, "reverse", steps=600)
    parser.add_argument("--words", nargs="+", default=["gradient", "backwards", "attention"], help="to draw, a to z")
    args = parser.parse_args(argv)
    args.words = [w.lower() for w in args.words]
    for word in args.words:
        if not re.fullmatch("[a-z]+", word):
            parser.error(f"--words: {word!r} has other characters than a to z")
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    cr.manual_seed(args.seed)
    random = np.random.default_rng(args.seed)

    words = real_words()
    sample = [words[i] for i in random.choice(len(words), 200, replace=False)]
    model = Seq2Seq(len(SYMBOLS), len(SYMBOLS), embedding=32, hidden=96).to(args.device)
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps, eta_min=1e-5)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; random strings to learn from, ", end="")
    print(f"{len(words):,} real words to test, on {args.device}")

    losses, at, accuracy = [], [], []
    every = max(20, args.steps // 20)
    with Progress(args.steps, "steps") as progress:
        for step in range(1, args.steps + 1):
            source, inputs, wanted, lengths = batch(random_strings(random, BATCH), args.device)
            logits, _ = model(source, inputs, lengths)
            loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            if step % every == 0 or step == args.steps:
                at.append(step)
                accuracy.append(share_right(model, sample, args.device))
            progress.update(loss=f"{losses[-1]:.4f}", words=f"{accuracy[-1]:.1%}" if accuracy else "-")

    whole = share_right(model, words, args.device)
    written, looked = spelled(model, args.words, args.device)
    for word, text in zip(args.words, written):
        print(f"  {word} -> {text}")
    cr.save(model.state_dict(), args.out / "model.pth")
    with plt.rc_context(STYLE):
        draw_attention(args.words, written, looked, args.out / "attention.png")
        draw_curves(losses, at, accuracy, args.out / "curves.png")
    seconds = time.perf_counter() - started
    print(f"{whole:.2%} of {len(words):,} real words right, {seconds:.1f} s; results in {args.out}/")
    return save_figures(
        args.out, {"accuracy": whole, "first_loss": losses[0], "last_loss": losses[-1], "seconds": seconds}
    )


if __name__ == "__main__":
    start(main)
