#!/usr/bin/env bash
# All that a machine with an NVIDIA GPU can tell, in one go, most important first, each part with a time limit:
#
#     benchmarks/gpu.sh OUT [SECONDS]      # by default results/ beside this file, and 540 seconds in all
#     PARTS="facts suite" benchmarks/gpu.sh OUT
#
# The folder OUT gets: facts.txt (device, driver, versions), smoke.txt (a first training step), suite.txt (the outcome of
# the tests on the GPU), gpu.json and gpu.md (the benchmarks as far as they came), bench.txt (what they printed).
# Nothing is installed: `python3` (or PYTHON) must have numpy, cupy and torch, and for the suite pytest and hypothesis.
# Settings of the device are left as they are.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
out=$(mkdir -p "${1:-$here/results}" && cd "${1:-$here/results}" && pwd)
total=${2:-540}
python=${PYTHON:-python3}
parts=${PARTS:-facts smoke small suite large kernels rest}
export PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1

# The root of the repository is the package: a folder in which it is called chainrule.
path=$(mktemp -d)
trap 'rm -rf "$path"' EXIT
ln -s "$root" "$path/chainrule"
export PYTHONPATH="$path${PYTHONPATH:+:$PYTHONPATH}"

left() { echo $((total - SECONDS)); }

# part NAME MOST FILE COMMAND...: runs the command for at most MOST seconds and what is left, its output into FILE
part() {
    local name=$1 most=$2 file=$out/$3 start=$SECONDS
    shift 3
    case " $parts " in *" $name "*) ;; *) return ;; esac
    local limit=$(($(left) < most ? $(left) : most))
    if [ "$limit" -lt 5 ]; then
        echo "=== $name: no time left" | tee -a "$file"
        return
    fi
    echo "=== $name (at most $limit s)"
    timeout -s INT -k 15 "$limit" "$@" >>"$file" 2>&1  # at an interrupt pytest tells of what has failed so far
    echo "=== $name: status $?, $((SECONDS - start)) s; $file" | tee -a "$file"
}

# The same report goes on growing: what is there already is kept, and cases are added.
bench() {
    local name=$1 most=$2
    shift 2
    local limit=$(($(left) < most ? $(left) : most))
    part "$name" "$most" bench.txt "$python" "$here/run.py" --device cuda --out "$out/gpu" --append \
        --total $((limit > 30 ? limit - 20 : limit)) "$@"
}

# Four processes share the GPU.
tests() { "$python" -P -m pytest -q -p no:cacheprovider --backend cupy -n 4 --dist worksteal \
    -m "not slow and not torch" --continue-on-collection-errors "$@"; }
export -f tests
export python root

part facts 60 facts.txt "$python" "$here/gpu_facts.py"
part smoke 60 smoke.txt "$python" "$here/gpu_smoke.py"
bench small 75 --workloads mlp lenet --rounds 5
part suite 200 suite.txt bash -c 'cd "$root" && tests tests/test_{cuda_devices,together,ops,agreement,modules,optimizers}.py'
bench large 200 --workloads "gpt2:batch 16, bfloat16" "resnet50:batch 128, bfloat16" "lstm:batch 64, TF32" --rounds 3 --limit 60
bench kernels 60 --kernels --seconds 0.3
bench rest 600 --rounds 3 --limit 90
part suite 3600 suite-all.txt bash -c 'cd "$root" && tests tests'
ls -la "$out"
