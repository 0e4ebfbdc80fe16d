"""The benchmark harness in sizes that a test can afford: what it writes, and that engines are checked."""

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
    command = [sys.executable, BENCHMARKS / "run.py", "--tiny", "--quiet", "--rounds", "1", "--seconds", "0.01"]
    done = subprocess.run([*command, "--out", out, *options], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.with_name("smoke.json").read_text()), out.with_name("smoke.md").read_text()


def test_chainrule_beside_numpy(tmp_path):
    report, page = run(tmp_path, "--engines", "chainrule", "numpy", "--baseline", "numpy")
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
    assert page.count("| chainrule | ") == len(report["cases"])


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    names = ("harness", "workloads")
    yield importlib.import_module("harness")
    for name in names:
        sys.modules.pop(name, None)


def test_an_engine_with_other_losses_is_not_timed(harness):
    class Process:
        def ask(self, do, steps):
            return {"losses": [2.3, 2.2, 2.1, 2.0, 1.9]}

    spec = harness.WORKLOADS["mlp"]
    assert harness.check(Process(), spec, [2.3, 2.2, 2.1, 2.0, 1.9])["relative_difference"] == 0
    with pytest.raises(harness.Failure, match="differ from the reference") as caught:
        harness.check(Process(), spec, [2.3, 2.2, 2.1, 2.0, 1.8])
    assert caught.value.status == "wrong"


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
        "ours": {"status": "ok", "seconds": [1.0, 4.0, 1.5], "memory": memory},
        "base": {"status": "ok", "seconds": [2.0, 8.0, 2.0], "memory": memory},
        "gone": {"status": "missing", "reason": "not installed"},
    }
    harness.add_ratios(results, "base")
    assert results["ours"]["ratio"] == 0.5
    assert results["ours"]["ratio_range"] == [0.5, 0.75]
    assert results["ours"]["memory_ratio"] == 1
    assert "ratio" not in results["gone"]
