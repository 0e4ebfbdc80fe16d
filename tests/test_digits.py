"""examples/digits.py, the program of `make demo`."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

for package in ("matplotlib", "safetensors", "sklearn", "tqdm"):
    pytest.importorskip(package)

PROGRAM = Path(__file__).resolve().parents[1] / "examples" / "digits.py"
PICTURES = {"curves.png", "confusion.png", "kernels.png", "mistakes.png"}


@pytest.fixture(scope="module")
def digits():
    spec = importlib.util.spec_from_file_location("digits", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def checkpoint(folder):
    return (folder / "checkpoint.safetensors").read_bytes()


def test_the_demo(tmp_path):
    """As a user starts it: the network learns, and what was promised is in the folder."""
    ran = subprocess.run(
        [sys.executable, PROGRAM, "--out", tmp_path / "run"],
        capture_output=True,
        text=True,
        env={**os.environ, "MPLCONFIGDIR": str(tmp_path)},
    )
    assert ran.returncode == 0, ran.stderr
    accuracy = float(ran.stdout.split("test accuracy ")[1].split("%")[0])
    assert accuracy >= 98
    assert {p.name for p in (tmp_path / "run").iterdir()} == PICTURES | {"checkpoint.safetensors"}
    assert all((tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG") for name in PICTURES)
    assert "epoch 60/60" in ran.stderr


def test_a_resumed_run_ends_with_the_same_bits(digits, tmp_path, monkeypatch):
    whole, parts, broken = (tmp_path / name for name in ("whole", "parts", "broken"))
    accuracy = digits.main(["--epochs", "4", "--seed", "3", "--out", str(whole)])
    digits.main(["--epochs", "1", "--seed", "3", "--out", str(parts)])
    assert checkpoint(parts) != checkpoint(whole)
    assert digits.main(["--epochs", "4", "--resume", "--out", str(parts)]) == accuracy
    assert checkpoint(parts) == checkpoint(whole)

    # stopped in the middle of the third epoch
    steps, step = [], digits.optim.AdamW.step

    def stopping(self, *args):
        steps.append(1)
        if len(steps) == 90:
            raise KeyboardInterrupt
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(digits.optim.AdamW, "step", stopping)
        with pytest.raises(KeyboardInterrupt):
            digits.main(["--epochs", "4", "--seed", "3", "--out", str(broken)])
    digits.main(["--epochs", "4", "--resume", "--out", str(broken)])
    assert checkpoint(broken) == checkpoint(whole)


def test_another_seed_is_another_run(digits, tmp_path):
    for seed in ("0", "1"):
        digits.main(["--epochs", "1", "--seed", seed, "--out", str(tmp_path / seed)])
    assert checkpoint(tmp_path / "0") != checkpoint(tmp_path / "1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "'0' is not a whole number from 1 on"),
        (["--epochs", "many"], "'many' is not a whole number from 1 on"),
        (["--lr", "-1"], "'-1' is not a number above 0"),
        (["--lr", "nan"], "'nan' is not a number above 0"),
        (["--seed", "1.5"], "'1.5' is not a whole number from 0"),
        (["--device", "tpu"], "'tpu' cannot be had"),
        (["--resume"], "there is no checkpoint"),
        (["--speed", "3"], "unrecognized arguments: --speed 3"),
    ],
)
def test_wrong_values_are_named(digits, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        digits.main([*arguments, "--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_resume_with_other_settings(digits, tmp_path, capsys):
    digits.main(["--epochs", "2", "--seed", "5", "--out", str(tmp_path)])
    for arguments, message in (
        (["--seed", "6"], "--seed 6: the checkpoint was made with 5"),
        (["--lr", "0.5"], "--lr 0.5: the checkpoint was made with 0.003"),
        (["--epochs", "1"], "the checkpoint has 2 epochs already"),
    ):
        with pytest.raises(SystemExit):
            digits.main(["--resume", "--epochs", "2", *arguments, "--out", str(tmp_path)])
        assert message in capsys.readouterr().err


def test_a_missing_package_is_named(tmp_path):
    code = f"import sys, runpy; sys.modules['tqdm'] = None; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 1
    assert "This program needs tqdm" in ran.stderr
