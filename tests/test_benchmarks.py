"""The benchmark harness in sizes that a test can afford: what it writes, and that engines are checked."""

import contextlib
import importlib
import json
import pathlib
import subprocess
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parent.parent / "benchmarks"


def run(tmp_path, *options):
    """What `benchmarks/run.py` wrote: its JSON, its page."""
    out = tmp_path / "results" / "smoke"
    command = [sys.executable, BENCHMARKS / "run.py", "--tiny", "--quick", "--quiet", "--no-charts"]
    command += ["--rounds", "1", "--seconds", "0.01", "--by", "processor"]
    done = subprocess.run([*command, "--out", out, *options], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.with_name("smoke.json").read_text()), out.with_name("smoke.md").read_text()


def test_chainrule_beside_numpy(tmp_path):
    workloads = ("--workloads", "chain", "mlp", "lenet")
    report, page = run(tmp_path, *workloads, "--engines", "chainrule", "numpy", "--baseline", "numpy")
    assert [case["workload"] for case in report["cases"]] == ["chain", "chain", "mlp", "lenet"]
    assert report["machine"].keys() >= {"cpu", "cores", "python"}
    assert report["engines"].keys() == {"chainrule", "numpy"}
    for case in report["cases"]:
        for result in case["engines"].values():
            assert result["status"] == "ok", result
            assert len(result["seconds"]) == len(case["rounds_used"]) >= report["rounds"] == 1
            assert 0 < result["best"] <= result["median"]
            assert 0 <= result["memory"]["data"] <= result["memory"]["growth"]
        assert case["engines"]["numpy"]["ratio"] == 1
        assert case["engines"]["chainrule"]["ratio"] > 0
        ours, theirs = (case["engines"][name]["check"]["losses"] for name in ("chainrule", "numpy"))
        assert ours == pytest.approx(theirs, rel=2e-3 if case["workload"] == "lenet" else 2e-4)
    assert page.count("\n| chainrule | ") == len(report["cases"])


@pytest.mark.parametrize("reference", ["chainrule", pytest.param("torch", marks=pytest.mark.torch)])
def test_every_network_in_single_and_double_precision(harness, reference):
    """The losses of the larger programs agree with those in float64, which PyTorch and chainrule agree on."""
    networks = {name: spec for name, spec in harness.WORKLOADS.items() if "chainrule" in spec.references}
    assert len(networks) >= 10
    with contextlib.ExitStack() as stack:
        ours, theirs = (
            stack.enter_context(contextlib.closing(harness.Process(engine, threads=1)))
            for engine in ("chainrule", reference)
        )
        for name, spec in networks.items():
            (params,) = spec.tiny.values()
            build = {"workload": name, "params": params}
            theirs.ask("build", dtype="float64", **build)
            losses = theirs.ask("check", steps=spec.check_steps)["losses"]
            assert len(losses) >= spec.check_steps >= 2
            assert len(set(losses)) == len(losses)  # it learns
            ours.ask("build", dtype="float64", **build)
            assert ours.ask("check", steps=spec.check_steps)["losses"] == pytest.approx(losses, rel=1e-9)
            ours.ask("build", **build)
            harness.check(ours, spec.check_steps, spec.tolerance, losses)
            assert ours.ask("time", steps=1, warm_up=0)["seconds"] > 0  # with dropout and noise


def test_a_network_is_measured(tmp_path):
    report, page = run(tmp_path, "--workloads", "gpt", "--engines", "chainrule", "--baseline", "chainrule")
    (case,) = report["cases"]
    assert case["engines"]["chainrule"]["status"] == "ok", case
    assert case["engines"]["chainrule"]["memory"]["kept"] >= 0
    assert "GPT of 4 layers" in page


def test_kernels_and_starts(tmp_path):
    report, page = run(tmp_path, "--kernels", "--starts", "mlp", "--engines", "chainrule", "--baseline", "chainrule")
    kernels = report["kernels"]
    passes = {(case["kernel"], case["pass"]) for case in kernels["cases"]}
    assert passes >= {("conv", "forward"), ("conv", "input"), ("conv", "weight"), ("Adam", "step")}
    for case in kernels["cases"]:
        assert case["engines"]["chainrule"]["status"] == "ok", case
        assert case["bytes"] > 0
    assert kernels["cases"][0]["operations"] == 2 * 2 * 6 * 4 * 25 * 9
    assert kernels["peak"]["operations"] > 0 < kernels["peak"]["bytes"]
    (start,) = report["starts"]
    assert all(seconds > 0 for when in ("cold", "warm") for seconds in start["engines"]["chainrule"][when].values())
    assert report["sizes"]["chainrule"] > 10_000_000
    assert "| conv | forward | " in page
    assert "| first step |" in page


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    names = ("harness", "workloads", "engines", "report")
    yield importlib.import_module("harness")
    for name in names:
        sys.modules.pop(name, None)


def test_an_engine_with_other_losses_is_not_timed(harness):
    class Process:
        def ask(self, do, steps):
            return {"losses": [2.3, 2.2, 2.1, 2.0, 1.9]}

    right = [2.3, 2.2, 2.1, 2.0, 1.9]
    assert harness.check(Process(), 5, 1e-4, right)["relative_difference"] == 0
    with pytest.raises(harness.Failure, match="differ from the reference") as caught:
        harness.check(Process(), 5, 1e-4, [2.3, 2.2, 2.1, 2.0, 1.8])
    assert caught.value.status == "wrong"
    with pytest.raises(harness.Failure, match="the reference has 4"):
        harness.check(Process(), 5, 1e-4, right[:4])


def test_a_process_that_dies_is_reported(harness):
    process = harness.Process("numpy", threads=1)
    try:
        process.popen.kill()
        with pytest.raises(harness.Failure, match="the process ended in `check`"):
            process.ask("check", steps=1)
    finally:
        process.close()


def test_ratios_are_taken_within_a_round(harness):
    memory = {"data": 10_000_000}
    results = {
        "ours": {"status": "ok", "seconds": [1.0, 4.0, 1.5], "processors": [6.0, 6.0, 6.0], "memory": memory},
        "base": {"status": "ok", "seconds": [2.0, 8.0, 2.0], "processors": [2.0, 3.0, 3.0], "memory": memory},
        "gone": {"status": "missing", "reason": "not installed"},
    }
    harness.add_ratios(results, "base")
    assert results["ours"]["ratio"] == 0.5
    assert results["ours"]["ratio_range"] == [0.5, 0.75]
    assert results["ours"]["memory_ratio"] == 1
    assert "ratio" not in results["gone"]
    harness.add_ratios(results, "base", by="processor")
    assert results["ours"]["ratio"] == 2


def test_the_summary_marks_losses(harness):
    report = importlib.import_module("report")
    engines = {
        "torch": {"status": "ok", "ratio": 1.0, "memory_ratio": 1.0},
        "chainrule-fast": {"status": "ok", "ratio": 0.75, "memory_ratio": 1.5},
        "chainrule": {"status": "ok", "ratio": 0.9, "memory_ratio": 0.5},
        "jax": {"status": "missing"},
    }
    case = {"workload": "lenet", "case": "batch 64", "bar": 0.65, "quiet": True, "engines": engines}
    text = report.summary({"cases": [case], "baseline": "torch", "by": "seconds", "threads": 2, "commit": "abc"})
    assert text.splitlines()[-1] == "| lenet, batch 64 | 0.65 | **0.75** | 0.90 | - | **1.50** / 0.50 |"
