"""Several processes: under mpiexec, under our own launcher, by spawn. `make test-distributed` runs these.

The processes' programs are distributed_cases.py, where everything goes well, and distributed_faults.py.
"""

import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from test_pytorch_programs import with_other_imports

HERE = pathlib.Path(__file__).parent
PROGRAMS = HERE / "programs" / "distributed"
pytestmark = [pytest.mark.slow, pytest.mark.distributed]
#: where mpich has wheels
WHEELS = {("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64")}


def mpiexec(size):
    """The command that starts processes under MPI."""
    beside = pathlib.Path(sys.executable).with_name("mpiexec")
    path = str(beside) if beside.exists() else shutil.which("mpiexec")
    found = subprocess.run([sys.executable, "-c", "from mpi4py import MPI"], capture_output=True, text=True)
    if path is None or found.returncode:
        missing = f"no mpiexec or no mpi4py ({found.stderr.strip()[-200:]}): pip install 'chainrule[mpi]'"
        if (sys.platform, platform.machine()) in WHEELS:
            pytest.fail(missing)
        pytest.skip(f"{missing}; mpich has no wheel for {sys.platform} {platform.machine()}")
    return [path, "-n", str(size)]


def launcher(size, *options):
    return [sys.executable, "-m", "chainrule.distributed.run", "--nproc-per-node", str(size), *options]


START = {"mpi": lambda size: [*mpiexec(size), sys.executable], "tcp": launcher}


def run(command, limit=60, **environment):
    """(exit code, stdout, stderr, seconds) of a command; all of its processes are ended when it takes too long."""
    env = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
    env |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **environment}
    began = time.monotonic()
    process = subprocess.Popen(
        [str(part) for part in command],
        env=env,
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"{command} did not end within {limit} s\n{out}\n{err}")
    return process.returncode, out, err, time.monotonic() - began


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("way", START)
@pytest.mark.parametrize("case", ["training", "calls", "gradients", "again"])
def test_case(case, way, size):
    code, out, err, _ = run([*START[way](size), HERE / "distributed_cases.py", case])
    assert code == 0, err
    assert out == f"{case} passed in {size} processes\n"


@pytest.mark.parametrize("way", START)
def test_gpus_on_stand_ins(way):
    code, out, err, _ = run([*START[way](2), HERE / "distributed_cases.py", "gpu"])
    assert code == 0, err
    assert out == "gpu passed in 2 processes\n"


@pytest.mark.parametrize("way", START)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raise", "KeyError: 'lost in rank 1'"),
        ("raise in a thread", "KeyError: 'lost in rank 1'"),
        ("kill", ""),
        ("async", ""),
        ("timeout", r"all_reduce.*timed out.* waited 1\.5 s for ranks"),
    ],
)
def test_fault_ends_all(way, fault, said):
    code, _, err, seconds = run([*START[way](3), HERE / "distributed_faults.py", fault], 30)
    assert code != 0
    assert seconds < 15, f"noticed after {seconds:.0f} s"
    assert re.search(said, err, re.S), err


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("kill", r"rank 1 closed its connection.*rank 1 failed first \(was killed by SIGKILL"),
        ("exit", r"rank 1 has left the process group.*rank 1 failed first \(exit code 3"),
        ("other call", r"rank \d is in (broadcast|all_reduce) meanwhile"),
        ("other shape", r"rank 1 sent \d+ bytes where \d+ were expected"),
        ("raise", r"rank 1 ended with an error:.*rank 1 failed first \(exit code 1.*KeyError: 'lost in rank 1'"),
    ],
)
def test_our_launcher_and_the_others_say_why(fault, said):
    code, _, err, _ = run([*launcher(3), HERE / "distributed_faults.py", fault], 30)
    assert code == 1
    assert re.search(said, err, re.S), err


def test_who_leaves_early_is_noticed_under_mpi():
    code, _, err, seconds = run([*START["mpi"](3), HERE / "distributed_faults.py", "exit"], 40)
    assert code != 0
    assert seconds < 20
    assert "rank 1 has left the process group" in err


@pytest.mark.parametrize(
    ("fault", "said"),
    [("raise", "process 1 terminated with exit code 1.*KeyError: 'lost in rank 1'"), ("kill", "process 1 was killed")],
)
def test_fault_of_a_spawned_process(fault, said):
    code, _, err, seconds = run([sys.executable, HERE / "distributed_faults.py", fault, free_port()], 30)
    assert code == 1
    assert seconds < 15
    assert re.search(said, err, re.S), err


def test_a_signal_to_the_launcher_ends_all(tmp_path):
    script = tmp_path / "sleeper.py"
    script.write_text(
        "import os, sys, time\nimport chainrule.distributed as dist\ndist.init_process_group()\n"
        "open(f'{sys.argv[1]}/{os.getpid()}', 'w').close()\ntime.sleep(60)\n"
    )
    process = subprocess.Popen([*launcher(2), str(script), str(tmp_path)], start_new_session=True)
    end = time.monotonic() + 30
    while len(pids := [p.name for p in tmp_path.iterdir() if p.name.isdecimal()]) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM
    assert not [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()]


def test_restarts(tmp_path):
    script = tmp_path / "second_time_lucky.py"
    script.write_text(
        "import os, sys\nimport chainrule as cr, chainrule.distributed as dist\ndist.init_process_group()\n"
        "if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' and dist.get_rank() == 1:\n    sys.exit(1)\n"
        "t = cr.ones(1)\ndist.all_reduce(t)\n"
        "sys.stdout.write(f'total {t.item()}\\n')\n"  # in one piece, which print may not
    )
    code, out, err, _ = run([*launcher(2, "--max-restarts", "1"), script])
    assert code == 0, err
    assert out == "total 2.0\ntotal 2.0\n"
    assert "rank 1 failed first (exit code 1" in err


def test_errors_before_the_processes_have_met(tmp_path):
    script = tmp_path / "early.py"
    script.write_text(
        "import os, time\nfrom chainrule.distributed import init_process_group\n"
        "from chainrule.distributed.elastic.multiprocessing.errors import record\n"
        "@record\ndef main():\n"
        "    if os.environ['RANK'] == '1':\n        raise LookupError('no data here')\n"
        "    init_process_group()\n"
        "main()\n"
    )
    code, _, err, seconds = run([*launcher(2), script], 30)
    assert code == 1
    assert seconds < 15
    assert re.search(r"rank 1 failed first \(exit code 1.*LookupError: no data here", err, re.S), err


def test_several_machines(tmp_path):
    """Two launchers of two processes each, as on two machines; here both are this one."""
    script = tmp_path / "program.py"
    script.write_text(
        "import os, sys\nimport chainrule as cr, chainrule.distributed as dist\ndist.init_process_group()\n"
        "t = cr.tensor(10.0 ** dist.get_rank())\ndist.all_reduce(t)\n"
        "own = os.environ['LOCAL_RANK'], os.environ['GROUP_RANK']\n"
        "sys.stdout.write(f'{dist.get_rank()} {own[0]} {own[1]} {t.item()}\\n')\n"  # in one piece, as above
    )
    where = ["--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    other = subprocess.Popen([*launcher(2, *where, "--node-rank", "1"), str(script)], stdout=subprocess.PIPE, text=True)
    code, out, err, _ = run([*launcher(2, *where, "--node-rank", "0"), script])
    assert code == 0, err
    lines = sorted(out.splitlines() + other.communicate(timeout=30)[0].splitlines())
    assert lines == ["0 0 0 1111.0", "1 1 0 1111.0", "2 0 1 1111.0", "3 1 1 1111.0"]


def test_ways_to_meet(tmp_path):
    script = tmp_path / "meet.py"
    script.write_text(
        "import sys\nimport chainrule as cr, chainrule.distributed as dist\n"
        "def work(rank, port, path):\n"
        "    for way in ({'init_method': f'tcp://localhost:{port}', 'rank': rank, 'world_size': 2},\n"
        "                {'init_method': f'tcp://127.0.0.1:{port}?rank={rank}&world_size=2'},\n"
        "                {'init_method': f'file://{path}/meet', 'rank': rank, 'world_size': 2},\n"
        "                {'store': 'tcp', 'rank': rank, 'world_size': 2},\n"
        "                {'store': dist.FileStore(f'{path}/store', 2), 'rank': rank, 'world_size': 2}):\n"
        "        if way.get('store') == 'tcp':\n"
        "            way['store'] = dist.TCPStore('127.0.0.1', port, 2, rank == 0)\n"
        "        dist.init_process_group('gloo', timeout=20, **way)\n"
        "        t = cr.tensor(rank + 1.0)\n"
        "        dist.all_reduce(t)\n"
        "        assert t.item() == 3\n"
        "        dist.destroy_process_group()\n"
        "if __name__ == '__main__':\n"
        "    cr.multiprocessing.spawn(work, (int(sys.argv[1]), sys.argv[2]), nprocs=2)\n"
        "    print('met')\n"
    )
    code, out, err, _ = run([sys.executable, script, free_port(), tmp_path])
    assert (code, out) == (0, "met\n"), err


# -- programs as people write them for PyTorch ------------------------------------------------------------------------


def written_for(library, name, folder):
    path = folder / f"{name}_{library}.py"
    source = (PROGRAMS / f"{name}.py").read_text()
    path.write_text(source if library == "torch" else with_other_imports(source, library))
    return path


def test_a_program_that_spawns(tmp_path):
    code, out, err, _ = run([sys.executable, written_for("chainrule", "ddp_spawn", tmp_path), free_port()])
    assert code == 0, err
    first, second = out.splitlines()
    assert float(first.removeprefix("basic ")) == pytest.approx(0.778185, abs=2e-6)  # as under PyTorch
    assert second == "checkpoint True True"


def test_a_program_for_torchrun(tmp_path):
    program = written_for("chainrule", "ddp_torchrun", tmp_path)
    arguments = ["--snapshot", tmp_path / "snapshot.pt"]
    code, out, err, _ = run([*launcher(2), program, "4", "2", *arguments])
    assert code == 0, err
    losses = [float(line.rpartition(" ")[2]) for line in out.splitlines()]
    assert len(losses) == 4
    assert losses[-1] < losses[0] / 2
    assert "Batchsize: 32 | Steps: 4" in out
    code, out, err, _ = run([*launcher(2, "--standalone"), program, "5", "2", *arguments])
    assert code == 0, err
    assert "Resuming training from snapshot at Epoch 2" in out
    assert "Epoch 4 |" in out


def under_pytorch(program):
    """(exit code, stdout, stderr) of a run under PyTorch, the oracle. As they end, its processes abort now and then, a
    thread of gloo still running (PyTorch 2.13): such a run says nothing of us, and is begun again."""
    for _ in range(5):
        code, out, err, _ = run([sys.executable, program, free_port()])
        if "terminate called without an active exception" not in err:
            break
    return code, out, err


@pytest.mark.torch
def test_the_spawning_program_ends_as_under_pytorch(tmp_path, torch):
    code, theirs, err = under_pytorch(written_for("torch", "ddp_spawn", tmp_path))
    assert code == 0, err
    code, ours, err, _ = run([sys.executable, written_for("chainrule", "ddp_spawn", tmp_path), free_port()])
    assert code == 0, err
    assert abs(float(theirs.split()[1]) - float(ours.split()[1])) < 2e-6


@pytest.mark.torch
def test_torchrun_itself(tmp_path, torch):
    program = written_for("chainrule", "ddp_torchrun", tmp_path)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    code, out, err, _ = run([*torchrun, program, "2", "1", "--snapshot", tmp_path / "snapshot.pt"])
    assert code == 0, err
    assert "Epoch 1 | Batchsize: 32 | Steps: 4" in out


# -- examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", START)
def test_example(way):
    command = [*START[way](2), HERE.parent / "examples" / "data_parallel.py", "--epochs", "2"]
    code, out, err, _ = run(command)
    assert code == 0, err
    assert re.search(r"test accuracy [89]\d\.\d\d%, 2 processes", out), out
