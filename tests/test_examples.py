"""The programs of examples/ but digits.py: short runs, wrong arguments, and (slow) what their docstrings promise."""

import importlib
import json
import math
from pathlib import Path

import pytest

for package in ("matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package)

FOLDER = Path(__file__).resolve().parents[1] / "examples"
WRITTEN = {
    "addition": {"curves.png", "figures.json", "model.pth"},
    "char_lm": {"perplexity.png", "surprise.png", "samples.txt", "figures.json", "checkpoint.pth"},
    "dqn": {"returns.png", "figures.json", "model.pth"},
    "generate_digits": {
        "samples.png", "curves.png", "reconstructions.png", "latent.png", "figures.json", "model.pth"
    },
    "reverse": {"attention.png", "curves.png", "figures.json", "model.pth"},
    "transfer": {"accuracy.png", "table.txt", "figures.json", "base.pth"},
}  # fmt: skip
SHORT = {
    "addition": ["--digits", "1", "--steps", "60"],
    "char_lm": ["--steps", "30", "--hidden", "32", "--temperatures", "1"],
    "dqn": ["--steps", "300"],
    "generate_digits": ["--epochs", "4"],
    "reverse": ["--steps", "30", "--words", "gradient"],
    "transfer": ["--steps", "40", "--draws", "1"],
}


@pytest.fixture
def program(monkeypatch):
    """A program by name, with `common` found beside it."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def run(module, folder, *arguments):
    """The figures of a run, which are in its folder too."""
    figures = module.main([*arguments, "--out", str(folder)])
    assert json.loads((folder / "figures.json").read_text()) == json.loads(json.dumps(figures))
    for picture in folder.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    return figures


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_a_short_run(program, tmp_path, capsys, name):
    figures = run(program(name), tmp_path, *SHORT[name])
    assert {p.name for p in tmp_path.iterdir()} == WRITTEN[name]
    shown = capsys.readouterr()
    assert f"results in {tmp_path}/" in shown.out
    assert len(shown.err.splitlines()) <= 11  # no terminal, no bar
    losses = ("training_images",) if name == "generate_digits" else ("loss",)
    for loss in losses if name != "dqn" else ():
        last = figures[loss] if name == "generate_digits" else figures["last_loss"]
        assert last < 0.9 * figures[f"first_{loss}"]


def test_addition_keeps_sums_unseen(program):
    addition = program("addition")
    learned, unseen = ({tuple(sorted(pair)) for pair in pairs.tolist()} for pairs in addition.split(2, 0))
    assert not learned & unseen
    assert len(learned | unseen) == 100 * 101 // 2
    (question,), (answer,) = addition.written(*[addition.np.array([n]) for n in (27, 65)], 2)
    assert "".join([addition.SYMBOLS[n] for n in question]) == "27+65="
    assert answer.tolist() == [2, 9, 0]


def test_learning_rate_of_addition(program):
    rates = [program("addition").learning_rate(step, 100) for step in range(100)]
    assert max(rates) == 1
    assert rates[0] < 0.25
    assert rates[-1] < 0.02


def test_a_resumed_language_model_ends_with_the_same_bits(program, tmp_path, monkeypatch):
    """Interrupted between two checkpoints, and on a text of one's own that is short enough to be read twice."""
    char_lm = program("char_lm")
    text = tmp_path / "text.txt"
    text.write_text("".join([f"line {i} says {i * i % 97}\n" for i in range(2500)]), encoding="utf-8")
    settings = ["--text", str(text), "--steps", "130", "--hidden", "16", "--temperatures", "1"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    figures = run(char_lm, whole, *settings)

    steps, step = [], char_lm.optim.Adam.step

    def stopping(self, *args):
        steps.append(1)
        if len(steps) == 117:
            raise KeyboardInterrupt
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(char_lm.optim.Adam, "step", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(char_lm, parts, *settings)
    resumed = run(char_lm, parts, *settings, "--resume")
    assert resumed["perplexity"] == figures["perplexity"] < figures["unigram"]
    a, b = (char_lm.cr.load(folder / "checkpoint.pth") for folder in (whole, parts))
    assert a["losses"] == b["losses"]
    assert all((a["model"][k] == b["model"][k]).all() for k in a["model"])
    assert (whole / "samples.txt").read_text() == (parts / "samples.txt").read_text()
    with pytest.raises(SystemExit):
        run(char_lm, parts, *settings, "--resume", "--seed", "1")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("addition", ["--steps", "0"], "'0' is not a whole number from 1 on"),
        ("addition", ["--digits", "9"], "invalid choice"),
        ("char_lm", ["--text", "missing.txt"], "missing.txt"),
        ("char_lm", ["--temperatures", "0"], "'0' is not a number above 0"),
        ("char_lm", ["--start", "ж"], "the text has no 'ж'"),
        ("char_lm", ["--resume"], "there is no checkpoint"),
        ("dqn", ["--device", "tpu"], "'tpu' cannot be had"),
        ("dqn", ["--seed", "-1"], "'-1' is not a whole number from 0"),
        ("generate_digits", ["--latent", "1"], "needs 2 or more"),
        ("reverse", ["--words", "naïve"], "'naïve' has other characters"),
    ],
)
def test_wrong_values_are_named(program, tmp_path, capsys, name, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        program(name).main([*arguments, "--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_what_the_docstrings_promise(program, tmp_path):
    """Full runs with a seed that nothing was chosen by."""
    figures = {name: run(program(name), tmp_path / name, "--seed", "7") for name in WRITTEN}
    assert figures["addition"]["accuracy"] > 0.95
    assert figures["reverse"]["accuracy"] > 0.98
    assert figures["dqn"]["mean_return"] > 150
    assert figures["char_lm"]["perplexity"] < figures["char_lm"]["unigram"] / 4
    digits = figures["generate_digits"]
    assert digits["digits_shown"] >= 9
    assert digits["distance"] < 1.3 * digits["distance_of_real_images"]
    assert figures["transfer"]["known"] > 0.97
    assert all(math.isfinite(v) and v > 0.2 for v in figures["transfer"]["fine-tuned"])
    gan = run(program("generate_digits"), tmp_path / "gan", "--model", "dcgan", "--seed", "7")
    assert gan["digits_shown"] >= 8
