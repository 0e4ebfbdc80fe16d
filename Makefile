# Every target makes the environment that it needs, so a fresh clone with Python, make and git is enough.
#   make demo DEMO_ARGS="--epochs 5"     make demo DEVICE=cuda CUDA=cuda13     make test PYTEST_ARGS="-k conv -x"

PYTHON ?= python3
VENV ?= .venv
VENV_TORCH ?= .venv-torch
VENV_GPU ?= .venv-gpu
TORCH ?= torch==2.13.0
CUDA ?= cuda12
VENV_CUDNN ?= .venv-cudnn
CUDNN ?= $(CUDA:cuda%=cudnn%)
JOBS ?= 2
HYPOTHESIS_PROFILE ?= dev

export HYPOTHESIS_PROFILE
# The tests run in $(JOBS) processes: a pool of BLAS threads in each of them would only get in the others' way.
test test-deep test-slow test-torch test-strict test-fake test-fast test-gpu-static: export OPENBLAS_NUM_THREADS = 1
PYTEST := pytest -n $(JOBS) --dist worksteal
# run once more between zones that no kernel may touch (tests/redzones.py)
KERNELS := tests/test_compiled*.py tests/test_program.py tests/test_ops.py tests/test_modules.py tests/test_models_more.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-deep test-slow test-torch test-strict test-fake test-fast test-distributed test-gpu test-gpu-static test-cudnn-static test-browser notebooks docs lint format types wheel bench bench-gpu clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/.examples $(if $(DEVICE),$(if $(filter cpu,$(DEVICE)),,$(VENV)/.$(CUDA))) ## train on handwritten digits
	$(VENV)/bin/python examples/digits.py $(if $(DEVICE),--device $(DEVICE)) $(DEMO_ARGS)

test: $(VENV)/.dev ## the test suite; HYPOTHESIS_PROFILE=ci for more examples
	$(VENV)/bin/$(PYTEST) -m "not slow and not torch and not browser" $(PYTEST_ARGS)

test-deep: $(VENV)/.dev ## the test suite with many examples, slow tests included; hours
	HYPOTHESIS_PROFILE=nightly $(VENV)/bin/$(PYTEST) -m "not torch and not browser" $(PYTEST_ARGS)

test-slow: $(VENV)/.dev ## only the tests that `make test` leaves out: the built wheel, notebooks and examples that train
	$(VENV)/bin/$(PYTEST) -m "slow and not torch and not distributed and not browser" $(PYTEST_ARGS)

test-torch: $(VENV_TORCH)/.dev ## compare with PyTorch
	$(VENV_TORCH)/bin/$(PYTEST) -m torch $(PYTEST_ARGS)

test-strict: $(VENV)/.dev ## the op table on stand-ins for a GPU's arrays, and on CuPy's backend with a CuPy on NumPy
	$(VENV)/bin/$(PYTEST) tests/test_ops.py tests/test_strict.py --backend strict $(PYTEST_ARGS)
	$(VENV)/bin/$(PYTEST) tests/test_ops.py tests/test_agreement.py tests/test_cuda_devices.py tests/test_together.py --backend fake $(PYTEST_ARGS)

# What fails here for a reason of the test's own would hide what fails on a GPU.
test-fake: $(VENV)/.dev ## rehearse test-gpu: the whole suite on CuPy's backend with a CuPy on NumPy
	$(VENV)/bin/$(PYTEST) -m "not slow and not torch and not browser" --backend fake --ignore tests/test_graphs.py $(PYTEST_ARGS)

test-fast: $(VENV_TORCH)/.dev $(VENV_TORCH)/.fast ## the test suite on compiled kernels (the extra `fast`), small arrays too
	CHAINRULE_FAST=always $(VENV_TORCH)/bin/$(PYTEST) -m "not slow and not torch and not browser" $(PYTEST_ARGS)
	CHAINRULE_FAST=always $(VENV_TORCH)/bin/$(PYTEST) -m "not slow and not torch and not browser" --redzones $(KERNELS) $(PYTEST_ARGS)

test-gpu: $(VENV_GPU)/.$(CUDA) ## the ops on a GPU; CUDA=cuda12 or cuda13, the newest that the driver knows
	$(VENV_GPU)/bin/$(PYTEST) -m "not slow and not torch and not browser" --backend cupy $(PYTEST_ARGS)

# CuPy can be imported without a GPU: what forwards call is looked up in it.
test-gpu-static: $(VENV_GPU)/.$(CUDA) $(VENV_GPU)/.nvrtc ## CuPy's names and signatures, CUDA kernels; needs no GPU
	$(VENV_GPU)/bin/$(PYTEST) tests/test_cupy_static.py tests/test_cuda_kernels.py tests/test_cuda_many.py tests/test_cuda_pooling.py tests/test_cuda_batch_norm.py tests/test_cublaslt.py tests/test_gemm.py tests/test_import.py::test_no_optional_dependency $(PYTEST_ARGS)

# Not in CI: the libraries are over a gigabyte.
test-cudnn-static: $(VENV_CUDNN)/.$(CUDNN) ## every graph for cuDNN, built for an H100; needs no GPU
	$(VENV_CUDNN)/bin/pytest tests/test_cudnn_static.py tests/test_cudnn.py $(PYTEST_ARGS)

test-distributed: $(VENV)/.dev ## several processes on this machine, under mpiexec and under our own launcher
	$(VENV)/bin/$(PYTEST) -m "distributed and not torch" tests/test_distributed.py $(PYTEST_ARGS)

notebooks: $(VENV)/.dev ## run the notebooks and save what they print; look at the pictures before you commit
	$(VENV)/bin/jupyter-execute --inplace notebooks/*.ipynb

lint: $(VENV)/.dev ## style, without changing anything
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(VENV)/.dev ## mend what `make lint` finds
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# A type checker cannot see through the root-is-package mapping: it gets a folder in which `chainrule` is the root.
types: $(VENV)/.dev ## check the annotations
	@mkdir -p .mypy_path && ln -sfn .. .mypy_path/chainrule
	MYPYPATH=.mypy_path $(VENV)/bin/mypy -p chainrule

# From the start each time: which names a page lists depends on modules that Sphinx does not watch.
docs: $(VENV)/.dev $(VENV)/.docs ## the site, in build/site; a warning, or a cell of a page that fails, is an error
	$(VENV)/bin/sphinx-build -E -W --keep-going -j $(JOBS) -b html docs build/site

test-browser: $(VENV)/.dev $(VENV)/.browser | build/site/objects.inv ## open the site and the reports in Chromium
	$(VENV)/bin/pytest -m browser $$(grep -l "mark\.browser" tests/test_*.py) $(PYTEST_ARGS)

build/site/objects.inv:
	$(MAKE) docs

wheel: $(VENV)/.dev ## dist/chainrule-*.whl
	$(VENV)/bin/python -m build

bench-gpu: $(VENV_GPU)/.$(CUDA) $(VENV_GPU)/.torch ## time chainrule beside PyTorch on a GPU
	$(VENV_GPU)/bin/python benchmarks/run.py --device cuda $(BENCH_ARGS)

bench: $(VENV_TORCH)/.benchmarks ## time chainrule beside its peers
	$(VENV_TORCH)/bin/python benchmarks/run.py $(BENCH_ARGS)

clean: ## remove environments, caches and builds
	rm -rf .venv* build docs/api docs/notebooks dist *.egg-info .hypothesis .mypy_cache .mypy_path .pytest_cache .ruff_cache

# $(VENV)/.dev says "the extra `dev` is installed here"; it is out of date when pyproject.toml is newer.
$(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable ".[$*]"
	@touch $@

$(VENV_TORCH)/.%: pyproject.toml | $(VENV_TORCH)/bin/python
	$(VENV_TORCH)/bin/python -m pip install --quiet $(TORCH)
	$(VENV_TORCH)/bin/python -m pip install --quiet --editable ".[$*]"
	@touch $@

# PyTorch with its own CUDA libraries, for the benchmarks alone
$(VENV_GPU)/.torch: | $(VENV_GPU)/bin/python
	$(VENV_GPU)/bin/python -m pip install --quiet $(TORCH) tqdm packaging
	@touch $@

$(VENV_GPU)/.%: pyproject.toml | $(VENV_GPU)/bin/python
	$(VENV_GPU)/bin/python -m pip install --quiet --editable ".[$*,dev]"
	@touch $@

# The compiler of CUDA kernels, which needs no GPU either.
$(VENV_GPU)/.nvrtc: $(VENV_GPU)/.$(CUDA)
	$(VENV_GPU)/bin/python -m pip install --quiet nvidia-cuda-nvrtc$(if $(filter cuda12,$(CUDA)),-cu12)
	@touch $@

$(VENV_CUDNN)/.%: pyproject.toml | $(VENV_CUDNN)/bin/python
	$(VENV_CUDNN)/bin/python -m pip install --quiet --editable ".[$*,dev]"
	@touch $@

$(VENV_TORCH)/.benchmarks: benchmarks/requirements.txt $(VENV_TORCH)/.dev
	$(VENV_TORCH)/bin/python -m pip install --quiet --requirement $<
	@touch $@

$(VENV)/bin/python $(VENV_TORCH)/bin/python $(VENV_GPU)/bin/python $(VENV_CUDNN)/bin/python:
	$(PYTHON) -m venv $(@D:/bin=)
