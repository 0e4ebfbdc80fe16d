"""The benchmarks for a GPU, rehearsed without one: each workload, setting and kernel in sizes that a test affords."""

import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parent
BENCHMARKS = TESTS.parent / "benchmarks"
NAMES = ("gpu", "gpu_workloads", "harness", "workloads", "engines", "engines.gpu", "engines.gpu_kernels")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module("gpu")
    for name in NAMES:
        sys.modules.pop(name, None)


def run(tmp_path, *options, device="cpu", expected=0, environment=None):
    """What `benchmarks/run.py --device` wrote: its JSON, its page."""
    command = [
        sys.executable,
        BENCHMARKS / "run.py",
        "--device",
        device,
        "--tiny",
        "--rounds",
        "2",
        "--seconds",
        "0.01",
    ]
    command += ["--threads", "1", "--out", tmp_path / "gpu"]
    environment = os.environ | (environment or {})
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == expected, done.stdout + done.stderr
    return json.loads((tmp_path / "gpu.json").read_text()), (tmp_path / "gpu.md").read_text()


def check(report, engines):
    for case in report["cases"]:
        for engine in engines:
            found = case["engines"][engine]
            assert found["status"] == "ok", found
            assert len(found["rounds"]) == 2
            assert len(set(found["losses"])) > 15  # of 20 steps and more: it learns
            assert found["median_seconds"] > 0 <= found["memory"]["peak"]
        ours = [case["engines"][engine]["losses"] for engine in engines if engine.startswith("chainrule")]
        assert all(losses == ours[0] for losses in ours), "captured steps go the same way"


def test_eager_and_captured(tmp_path):
    engines = ["chainrule-captured", "chainrule"]
    report, page = run(tmp_path, "--workloads", "mlp", "gpt2", "lstm", "dcgan", "--engines", *engines)
    check(report, engines)
    assert page.count("\n| chainrule-captured | ") == 8  # four tables, four curves


def test_every_kernel(tmp_path):
    report, page = run(tmp_path, "--kernels", "--engines", "chainrule")
    kernels = report["kernels"]["cases"]
    assert len({case["kernel"] for case in kernels}) >= 15
    for case in kernels:
        assert case["engines"]["chainrule"]["seconds"] > 0, case
        assert case["bytes"] > 0 or case["operations"] > 0
    assert page.count("\n| ") > len(kernels)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to simulate CUDA C with")
def test_on_a_stand_in_for_a_gpu(tmp_path):
    """The CuPy backend on the fake CuPy, with kernels simulated and steps captured, comes to the CPU's losses."""
    fake = {"PYTHONPATH": str(TESTS / "stand_in")}
    workloads = ("--workloads", "mlp", "gpt2", "lstm")
    there, _ = run(
        tmp_path, *workloads, "--engines", "chainrule-captured", "chainrule", device="cuda", environment=fake
    )
    check(there, ["chainrule-captured", "chainrule"])
    assert there["engines"]["chainrule"]["device"] == "fake 0"
    here, _ = run(tmp_path, *workloads, "--engines", "chainrule")
    for a, b in zip(there["cases"], here["cases"]):
        room = 1e-2 if a["precision"] == "bfloat16" else 1e-4
        assert a["engines"]["chainrule"]["losses"] == pytest.approx(b["engines"]["chainrule"]["losses"], rel=room)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to simulate CUDA C with")
def test_the_first_minute_on_a_gpu():
    fake = os.environ | {"PYTHONPATH": str(TESTS / "stand_in")}
    command = [sys.executable, BENCHMARKS / "gpu_smoke.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=fake)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nok ") + done.stdout.startswith("ok ") >= 20
    assert "\n0 of " in done.stdout


@pytest.mark.torch
def test_beside_torch(tmp_path):
    engines = ["chainrule-captured", "chainrule", "torch"]
    report, page = run(tmp_path, "--engines", *engines)
    check(report, engines)
    for case in report["cases"]:
        assert case["reference"] is not None
        assert case["engines"]["torch"]["ratio"] == 1
        assert case["engines"]["chainrule"]["distance"] <= case["engines"]["chainrule"]["allowed"]
    assert {case["workload"] for case in report["cases"]} == {"mlp", "lenet", "gpt2", "resnet50", "lstm", "dcgan"}
    for case in report["kernels"]["cases"]:
        ours, theirs = (case["engines"][engine] for engine in ("chainrule", "torch"))
        if "dropout" not in case["kernel"]:
            assert ours.get("numbers") == pytest.approx(theirs.get("numbers"), rel=2e-2, abs=1e-5), case
    assert page.count("**missing**") == 0


def test_without_a_gpu_it_says_so(tmp_path):
    hidden = {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(tmp_path)}
    (tmp_path / "cupy.py").write_text("raise ImportError('none here')")
    command = [sys.executable, BENCHMARKS / "run.py", "--device", "cuda", "--out", tmp_path / "gpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | hidden)
    assert done.returncode == 1
    assert "chainrule: missing: chainrule finds no GPU" in done.stdout
    assert done.stderr.strip().endswith("for the reasons above")
    assert not (tmp_path / "gpu.json").exists()


def test_a_run_goes_on_where_it_was_broken_off(tmp_path):
    options = ("--workloads", "mlp", "--engines", "chainrule", "--append")
    first, _ = run(tmp_path, *options)
    again, _ = run(tmp_path, *options)
    assert again["cases"] == first["cases"]
    first["cases"][0]["complete"] = False
    (tmp_path / "gpu.json").write_text(json.dumps(first))
    again, _ = run(tmp_path, *options)
    assert again["cases"] != first["cases"]


def test_losses_that_stray_are_told(gpu):
    case = {
        "reference": [2.0, 1.0],
        "precision": "tf32",
        "engines": {
            "torch": {"status": "ok", "losses": [2.0, 1.01]},
            "chainrule": {"status": "ok", "losses": [2.0, 1.02]},
            "chainrule-captured": {"status": "ok", "losses": [2.0, 1.05]},
        },
    }
    gpu.judge(case)
    assert [found["status"] for found in case["engines"].values()] == ["ok", "ok", "differs"]
    assert gpu.distance([1.0, float("nan")], [1.0, 2.0]) == float("inf")
    assert gpu.distance([1.0], [1.0, 2.0]) == float("inf")


def test_the_page_of_what_has_not_run_has_every_case(gpu):
    page = (BENCHMARKS / "results" / "gpu.md").read_text()
    for name, spec in gpu.WORKLOADS.items():
        for case in spec.cases:
            assert f"| {name}, {case} | {spec.aim:.1f} |" in page
