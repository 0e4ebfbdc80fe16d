"""Options, profiles and fixtures that all tests share."""

import importlib.util
import os

import hypothesis
import interception
import pytest

import chainrule
from chainrule.autograd import overrides
from chainrule.autograd.device import device
from chainrule.autograd.modes import MODES

# dev and ci repeat the same examples in each run: what turns red was turned red by the change. Only nightly explores.
for _profile, _settings in {
    "dev": {"max_examples": 10, "derandomize": True},
    "ci": {"max_examples": 50, "derandomize": True},
    "nightly": {"max_examples": 1000, "print_blob": True},
}.items():
    hypothesis.settings.register_profile(_profile, deadline=None, **_settings)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

#: options that put the tests' tensors on a GPU, or what stands for one
GPU = ("cupy", "fake")
ON_DEVICE = ("test_agreement.py", "test_cuda_devices.py", "test_together.py")
REAL = (
    *("test_cupy_static.py", "test_cublaslt.py", "test_gemm.py", "test_xp.py"),
    *[f"test_cuda_{name}.py" for name in ("batch_norm", "kernels", "many", "pooling")],
)


def pytest_addoption(parser):
    parser.addoption(
        "--backend",
        choices=["numpy", "strict", "cupy", "fake"],
        default=os.environ.get("CHAINRULE_TEST_BACKEND", "numpy"),
        help="where the tests' tensors live (also CHAINRULE_TEST_BACKEND); fake: the CuPy backend on fake_cupy.py",
    )
    parser.addoption("--redzones", action="store_true", help="see that compiled kernels stay inside their arrays")


def pytest_configure(config):
    if config.getoption("redzones"):
        import redzones

        redzones.install()
    if config.getoption("backend") == "fake":
        import fake_cupy

        fake_cupy.install()
    if config.getoption("backend") in GPU:
        try:
            device("cuda").backend  # noqa: B018  says what is missing
        except RuntimeError as error:
            raise pytest.UsageError(f"--backend=cupy: {error}") from None


def pytest_report_header(config):
    profile = os.environ.get("HYPOTHESIS_PROFILE", "dev")
    return f"chainrule: backend {config.getoption('backend')}, hypothesis profile {profile}"


def pytest_ignore_collect(collection_path, config):
    """What looks at the real CuPy has nothing to look at beside a fake, and NumPy nothing to agree with but itself."""
    backend, name = config.getoption("backend"), collection_path.name
    if name in ON_DEVICE:
        return backend == "numpy" or (backend == "strict" and name != "test_agreement.py")
    return (backend == "fake" and name in REAL) or None


def pytest_collection_modifyitems(items):
    if importlib.util.find_spec("torch") is None:
        skip = pytest.mark.skip(reason="PyTorch is not installed; `make test-torch` runs this")
        for item in items:
            if item.get_closest_marker("torch"):
                item.add_marker(skip)


def pytest_collection_finish():
    interception.undo()  # of modules that define subclasses of Tensor


@pytest.fixture(autouse=True)
def as_without_subclasses(request):
    """Functions look for classes that take them over in the tests alone that have some, as in users' programs."""
    if interception.wanted(request.module):
        overrides.activate()
    yield
    interception.undo()


@pytest.fixture(autouse=True)
def nothing_leaks():
    """Fail a test that leaves a mode or the default dtype changed, and spare the next one."""
    modes, dtype = MODES.get(), chainrule.get_default_dtype()
    yield
    left = MODES.get(), chainrule.get_default_dtype()
    MODES.set(modes)
    chainrule.set_default_dtype(dtype)
    assert left == (modes, dtype), "the test changed a mode or the default dtype and did not change it back"


@pytest.fixture(autouse=True)
def default_device(request):
    """Tests of the backend make their own tensors and generators where its arrays live, and compute in full float32."""
    if "backend" not in request.fixturenames or request.config.getoption("backend") not in GPU:
        yield
        return
    cudnn = chainrule.backends.cudnn
    before, cudnn.allow_tf32 = cudnn.allow_tf32, False  # convolutions may take TF32 by default, as PyTorch's do
    try:
        with device("cuda"):
            yield
    finally:
        cudnn.allow_tf32 = before


@pytest.fixture(scope="session")
def backend(request):
    """The name of the backend under test: numpy, strict or cupy."""
    name = request.config.getoption("backend")
    return "cupy" if name in GPU else name


@pytest.fixture(scope="session")
def torch():
    """PyTorch, for tests marked `torch`."""
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def chromium():
    """A browser, for tests marked `browser`."""
    import browser

    with browser.chromium() as running:
        yield running


@pytest.fixture
def visit(chromium):
    """`visit(path)` opens a page in a browser; a fault on it (see browser.Visit) fails the test."""
    from browser import Visit

    visit = Visit(chromium)
    yield visit
    visit.close()
    assert visit.faults == []
