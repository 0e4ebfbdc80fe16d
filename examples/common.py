"""What the example programs share: the command line, the style of the pictures.

`examples/digits.py` stands alone; the others import this file, which lies beside them.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import chainrule as cr

try:
    import matplotlib
except ImportError as missing:
    sys.exit(f"This program needs {missing.name}: pip install 'chainrule[examples]'")

matplotlib.use("Agg")
import matplotlib.pyplot as plt

INK, GREY, BLUE, ORANGE, GREEN, RED = "#333333", "#9a9a9a", "#2a6fbb", "#e07b28", "#2f8f5b", "#b3261e"
STYLE = {
    "figure.dpi": 130,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}

# -- the command line -------------------------------------------------------------------------------------------------


def whole(text):
    """An argument that is a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def seed_number(text):
    """An argument that seeds a generator."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def positive(text):
    """An argument that is a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def place(text):
    """An argument that names a device on which a tensor can be made."""
    try:
        found = cr.device(text)
        cr.zeros(1, device=found)
    except (RuntimeError, ImportError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be had: {error}") from None
    return found


def command_line(description, name, **lengths):
    """A parser with --seed, --device, --out, and one whole number for each of `lengths` (steps=1000)."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    for option, default in lengths.items():
        parser.add_argument(f"--{option}", type=whole, default=default, help=f"how many to train for ({default})")
    parser.add_argument("--seed", type=seed_number, default=0, help="of all that is random (0)")
    parser.add_argument("--device", type=place, default="cpu", help="cpu, cuda or cuda:1 (cpu)")
    parser.add_argument("--out", type=Path, default=Path("runs") / name, help=f"folder of the results (runs/{name})")
    return parser


def start(program):
    """Run a program's `main` with one thread: matrices this small lose more by a second one than they gain."""
    cr.set_num_threads(1)
    program()


# -- results ----------------------------------------------------------------------------------------------------------


def save_figures(folder, figures):
    """Write the numbers of a run to `figures.json`, and return them."""
    (folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def save_picture(figure, path):
    """Write a picture and free its memory."""
    figure.savefig(path)
    plt.close(figure)


def running_mean(values, span):
    """The mean of the last `span` values at each place, of fewer at the beginning."""
    total, means = 0.0, []
    for i, value in enumerate(values):
        total += value - (values[i - span] if i >= span else 0.0)
        means.append(total / min(i + 1, span))
    return means
