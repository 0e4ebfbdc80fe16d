"""Every graph that the kernels on cuDNN can ask for is built, checked and serialised for an H100, without one.

`make test-cudnn-static` runs this, in an environment with cuDNN's wheels (over a gigabyte). It proves that the real
library takes the graphs and has kernels for them; what they compute, tests/test_cudnn.py proves on a stand-in.
"""

import ctypes
import itertools
import re
import time
from pathlib import Path

import cudnn_deviceless as deviceless
import numpy as np
import pytest

from chainrule.backends import cudnn as settings
from chainrule.backends.cudnn import attention, convolution, library, normalisation, plans, recurrent

if library.library() is None:
    pytest.skip("cuDNN is not installed; `make test-cudnn-static` runs this", allow_module_level=True)
ml_dtypes = pytest.importorskip("ml_dtypes")

DTYPES = {"tf32": "float32", "float16": "float16", "bfloat16": "bfloat16"}
LAYOUTS = {"NCHW": False, "NHWC": True}
VERDICTS = {}


@pytest.fixture(scope="session", autouse=True)
def table(tmp_path_factory, request):
    """A driver to load kernels by; at the end the verdicts, one line for each family."""
    if not deviceless.driver(tmp_path_factory.mktemp("driver")):
        pytest.skip("there is no driver, and no C compiler for a stand-in")
    yield
    manager = request.config.pluginmanager
    terminal, capture = manager.getplugin("terminalreporter"), manager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        version = library.library().backend_version_string()
        terminal.write_line(f"\n\ncuDNN {version}, H100: graphs built; the largest workspace and plan; time")
        for family, found in VERDICTS.items():
            count, workspace, blob, seconds = zip(*found)
            sizes = f"{max(workspace) / 2**20:8.1f} MiB {max(blob) / 1024:7.1f} KiB"
            terminal.write_line(f"  {family:38} {sum(count):4} {sizes} {sum(seconds):6.1f} s")


@pytest.fixture
def serving(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    found = deviceless.Deviceless(library.library(), deviceless.EmptyArrays())
    monkeypatch.setattr(plans, "_PROVIDERS", [(lambda: found, lambda: (None, None))])
    with settings.flags(enabled=True):
        yield found


@pytest.fixture
def verdict(serving):
    """Calls a kernel, and notes what was built for it."""

    def ask(family, kernel, *arguments):
        start = time.perf_counter()
        before = len(serving.ran)
        result = kernel(*arguments)
        assert result is not NotImplemented, (family, serving.made[-1])
        new = serving.ran[before:]
        assert new
        sizes = [(1, plan.workspace, len(plan.graph.serialize()), 0) for plan in new]
        VERDICTS.setdefault(family, []).extend([*sizes, (0, 0, 0, time.perf_counter() - start)])
        return result

    return ask


def array(shape, dtype, last=False):
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    return deviceless.EmptyArrays().empty(shape, np.dtype(kind), last)


# -- convolution ------------------------------------------------------------------------------------------------------


def resnet50():
    """(input size, channels in and out, kernel, stride, padding) of each different convolution of ResNet-50."""
    found = [(224, 3, 64, 7, 2, 3)]
    size, inside = 56, 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            found += [(size, inside, width, 1, 1, 0), (size, width, width, 3, stride, 1)]
            if not block:
                found.append((size, inside, 4 * width, 1, stride, 0))
            size //= stride
            found.append((size, width, 4 * width, 1, 1, 0))
            inside = 4 * width
    return list(dict.fromkeys(found))


def three(verdict, family, shape, kernel, stride, padding, dilation, groups, dtype, last, bias=False):
    x, w = array(shape, dtype, last), array(kernel, dtype, last)
    b = array(kernel[:1], dtype) if bias else None
    geometry = (stride, padding, dilation, groups)
    y = verdict(family, convolution.conv, x, w, b, *geometry)
    assert y.dtype == x.dtype
    dx = verdict(family, convolution.conv_input, y, w, x.shape[2:], *geometry)
    dw = verdict(family, convolution.conv_weight, x, y, w.shape[2:], *geometry)
    assert (dx.shape, dw.shape) == (x.shape, w.shape)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_resnet50(dtype, layout, verdict):
    for size, inside, outside, kernel, stride, padding in resnet50():
        shape, weight = (256, inside, size, size), (outside, inside, kernel, kernel)
        geometry = (stride,) * 2, ((padding,) * 2,) * 2, (1, 1), 1
        three(verdict, f"ResNet-50 {dtype} {layout}", shape, weight, *geometry, DTYPES[dtype], LAYOUTS[layout])


GEOMETRIES = {
    "dilation 2": ((8, 64, 28, 28), (64, 64, 3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), 1),
    "groups 32": ((8, 128, 28, 28), (128, 4, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 32),
    "depthwise": ((8, 96, 28, 28), (96, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 96),
    "depthwise, stride 2": ((8, 96, 28, 28), (96, 1, 5, 5), (2, 2), ((2, 2), (2, 2)), (1, 1), 96),
    "asymmetric": ((8, 32, 28, 28), (64, 32, 4, 4), (1, 1), ((1, 2), (1, 2)), (1, 1), 1),
    "even size, stride 2": ((8, 32, 28, 28), (64, 32, 2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
    "LeNet": ((64, 1, 28, 28), (6, 1, 5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 1),
    "odd channels": ((8, 6, 14, 14), (17, 6, 5, 5), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "DCGAN": ((64, 256, 8, 8), (256, 512, 4, 4), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
    "one dimension": ((8, 32, 100), (64, 32, 5), (2,), ((2, 2),), (1,), 1),
    "one dimension, dilated, causal": ((8, 32, 100), (64, 32, 3), (1,), ((4, 0),), (2,), 1),
    "three dimensions": ((4, 16, 8, 16, 16), (32, 16, 3, 3, 3), (1, 2, 2), ((1, 1),) * 3, (1, 1, 1), 1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GEOMETRIES)
def test_geometries(case, dtype, layout, verdict):
    shape, kernel, *geometry = GEOMETRIES[case]
    if case == "DCGAN":  # a transposed convolution: its forward is the gradient of a convolution's input
        y, w = array(shape, DTYPES[dtype], LAYOUTS[layout]), array(kernel, DTYPES[dtype], LAYOUTS[layout])
        x = verdict(f"convolutions {dtype} {layout}", convolution.conv_input, y, w, (16, 16), *geometry)
        assert x.shape == (64, 512, 16, 16)
        return
    three(
        verdict, f"convolutions {dtype} {layout}", shape, kernel, *geometry, DTYPES[dtype], LAYOUTS[layout], bias=True
    )


@pytest.mark.parametrize("option", ["allow_tf32", "deterministic"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_settings(option, layout, verdict):
    with settings.flags(enabled=True, allow_tf32=option != "allow_tf32", deterministic=option == "deterministic"):
        for size, inside, outside, kernel, stride, padding in resnet50()[:4]:
            shape, weight = (32, inside, size, size), (outside, inside, kernel, kernel)
            geometry = (stride,) * 2, ((padding,) * 2,) * 2, (1, 1), 1
            name = "float32 strict" if option == "allow_tf32" else option
            three(verdict, f"{name} {layout}", shape, weight, *geometry, "float32", LAYOUTS[layout])


def test_double(serving):
    x, w = array((4, 8, 9, 9), "float64"), array((8, 8, 3, 3), "float64")
    results = [
        convolution.conv(x, w, None, (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
        convolution.conv_input(x, w, (9, 9), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
        convolution.conv_weight(x, x, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ]
    VERDICTS["float64 convolutions"] = [(sum(r is not NotImplemented for r in results), 0, 0, 0)]


# -- normalisation ----------------------------------------------------------------------------------------------------


class Given(tuple):
    given = {0}


NORMS = [(256, 64, 112, 112), (256, 256, 56, 56), (256, 2048, 7, 7), (64, 8, 5, 5), (128, 104), (16, 32, 50)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", NORMS, ids=str)
def test_batch_norm(shape, dtype, verdict):
    family, last = f"batch norm {dtype} NHWC", len(shape) > 2
    x = array(shape, DTYPES[dtype], last)
    vector, kept = array(shape[1:2], "float32"), array((1, shape[1], *(1,) * (len(shape) - 2)), "float32")
    verdict(family, normalisation.batch_normalised, x, vector, vector)
    for other in (None, x):
        verdict(family, normalisation.batch_norm_relu, x, vector, vector, other)
    g, needs = Given((x, kept, kept)), (True,) * 4
    kept.fill(1)
    verdict(family, normalisation.batch_normalised_grad, g, x, vector, 1e-5, kept, kept, needs[:3])
    for shortcut in (True, False):
        given = (*needs[:3], shortcut)
        verdict(family, normalisation.batch_norm_relu_grad, g, x, vector, 1e-5, x, kept, kept, given)


def test_channels_that_are_no_multiple(serving):
    x = array((64, 6, 5, 5), "float16", True)
    assert normalisation.batch_normalised(x) is NotImplemented


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(16, 1024, 768), (64, 100), (7, 30), (4, 4096)], ids=str)
def test_rows(shape, dtype, verdict, monkeypatch):
    x, weight = array(shape, DTYPES[dtype]), array(shape[-1:], "float32")
    monkeypatch.setattr(settings, "layer_norm", True)
    out, residual = verdict(f"layer norm {dtype}", normalisation.layer_norm, x, shape[-1], weight, weight)
    verdict(f"layer norm {dtype}", normalisation.layer_norm_grad, out, residual, (True,) * 3)
    out, residual = verdict(f"RMS norm {dtype}", normalisation.rms_norm, x, shape[-1], weight)
    verdict(f"RMS norm {dtype}", normalisation.rms_norm_grad, out, residual, (True,) * 2)


# -- attention --------------------------------------------------------------------------------------------------------


def heads(shape, dtype):
    """(B, H, L, E) as parts of a packed array (B, L, 3, H, E) are."""
    b, h, n, e = shape
    return array((b, n, 3, h, e), dtype)[:, :, 1].transpose(0, 2, 1, 3)


LENGTHS = [*itertools.product([(1024, 1024), (77, 77), (1, 77), (100, 64)], [64, 128])]
LENGTHS += [((77, 77), 32), ((64, 64), 80), ((64, 64), 256)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("lengths", "size"), LENGTHS, ids=str)
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_attention(lengths, size, causal, dtype, verdict):
    q, k = heads((4, 12, lengths[0], size), dtype), heads((4, 12, lengths[1], size), dtype)
    out, residual = verdict(f"attention {dtype}", attention.attention, q, k, k, None, None, 1.0, causal)
    verdict(f"attention {dtype}", attention.attention_grad, out, residual, (True,) * 3 + (False, False))


MASKS = {"(L, S)": (128, 96), "(B, 1, 1, S)": (4, 1, 1, 96), "(B, H, L, S)": (4, 8, 128, 96), "(H, L, S)": (8, 128, 96)}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", ["bool", "added", "learnt"])
@pytest.mark.parametrize("deterministic", [False, True], ids=["free", "deterministic"])
def test_masks(mask, kind, dtype, deterministic, verdict):
    if kind == "learnt" and deterministic:
        pytest.skip("a learnt mask's gradient is added up in any order")
    q, k = array((4, 8, 128, 64), dtype), array((4, 8, 96, 64), dtype)
    given = np.ones(MASKS[mask], bool) if kind == "bool" else array(MASKS[mask], dtype)
    given.fill(1)
    with settings.flags(enabled=True, deterministic=deterministic):
        out, residual = verdict(f"attention {dtype}, masks", attention.attention, q, k, k, given)
        needs = (True, True, True, kind == "learnt", False)
        verdict(f"attention {dtype}, masks", attention.attention_grad, out, residual, needs)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_dropout_and_groups(dtype, causal, verdict):
    q, k = array((4, 8, 128, 64), dtype), array((4, 2, 96, 64), dtype)
    needs = (True,) * 3 + (False, False)
    family = f"attention {dtype}, dropout and groups"
    for given in (
        (q, k, k, None, None, 1.0, causal, None, True),
        (q, q, q, None, np.ones((4, 8, 128, 128), bool), 1.25),
    ):
        out, residual = verdict(family, attention.attention, *given)
        verdict(family, attention.attention_grad, out, residual, needs)
    for mask in (None, np.ones((128, 128), bool)):
        if mask is None or not causal:
            given = (q, q, q, mask, 2**64 - 3, 0.1, causal, None, False, [])
            out, residual = verdict(family, attention.attention_by_seed, *given)
            verdict(family, attention.attention_by_seed_grad, out, residual, (True,) * 3 + (False,))


# -- plans on disk ----------------------------------------------------------------------------------------------------


def test_plans_come_back(serving, tmp_path):
    x, w = array((8, 64, 28, 28), "float16", True), array((64, 64, 3, 3), "float16", True)
    geometry = (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    convolution.conv(x, w, w[:, 0, 0, 0], *geometry)
    q = array((4, 8, 128, 64), "float16")
    attention.attention(q, q, q)
    vector = array((64,), "float32")
    normalisation.batch_norm_relu(x, vector, vector, x)
    first = list(serving.plans.values())
    assert len(list((tmp_path / "cudnn").iterdir())) == len(first) == 3
    built = serving.cudnn.pygraph.build_plans
    serving.plans.clear()

    def never(*arguments, **options):
        raise AssertionError("built anew")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving.cudnn.pygraph, "build_plans", never)
        assert serving.cudnn.pygraph.build_plans is not built
        convolution.conv(x, w, w[:, 0, 0, 0], *geometry)
        attention.attention(q, q, q)
        normalisation.batch_norm_relu(x, vector, vector, x)
    again = list(serving.plans.values())
    for old, new in itertools.zip_longest(first, again):
        assert new.workspace == old.workspace == new.graph.get_workspace_size()
        assert new.graph is not old.graph


def test_packs_are_complete(serving, monkeypatch):
    """Plans, built or from disk, find every address that they want, and then lack nothing but a handle."""

    def run(plan, *operands):
        pack = serving._pack(plan, operands)
        serving.ran.append(plan)
        with pytest.raises(RuntimeError, match="handle == __null"):
            plan.graph.execute(pack, 4096 if plan.workspace else None, handle=None)
        with pytest.raises(ValueError, match="missing a buffer for tensor uid 1"):
            plan.graph.execute({uid: at for uid, at in pack.items() if uid != 1}, None, handle=None)

    monkeypatch.setattr(serving, "pointer", lambda array: 1 << 20)
    monkeypatch.setattr(serving, "run", run)
    x, w = array((4, 64, 8, 8), "float16", True), array((64, 64, 3, 3), "float16", True)
    vector, q = array((64,), "float32"), array((2, 4, 64, 64), "float16")
    kept = np.ones((1, 64, 1, 1), np.float32)
    geometry = (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    for _ in range(2):
        convolution.conv(x, w, w[:, 0, 0, 0], *geometry)
        convolution.conv_input(x, w, (8, 8), *geometry)
        convolution.conv_weight(x, x, (3, 3), *geometry)
        normalisation.batch_norm_relu(x, vector, vector, x)
        given = (Given((x, kept, kept)), x, vector, 1e-5, x, kept, kept, (True,) * 4)
        normalisation.batch_norm_relu_grad(*given)
        out, residual = attention.attention_by_seed(q, q, q, np.ones((64, 64), bool), 5, 0.1, own=[])
        attention.attention_by_seed_grad(out, residual, (True,) * 3 + (False,))
        serving.plans.clear()
    assert len(serving.ran) == 14
    assert len(serving.made) == 14


def test_plans_by_number(serving):
    """What `benchmark` does, but for the timing: one plan after the other, then again the one that was chosen."""
    x, w = array((8, 64, 28, 28), "float32", True), array((64, 64, 3, 3), "float32", True)
    convolution.conv(x, w, None, (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    (description,) = serving.made
    graph = plans.ranked(serving.cudnn, description, **serving.where())
    assert graph.get_execution_plan_count() > 5
    sizes, blobs = [], []
    for i in range(5):
        graph.build_plan_at_index(i)
        sizes.append(graph.get_workspace_size_plan_at_index(i))
        blobs.append(bytes(graph.serialize()))
    assert len(set(blobs)) == 5
    for i in (2, 0, 4):
        graph.build_plan_at_index(i)
        assert graph.get_workspace_size() == sizes[i]
        assert bytes(graph.serialize()) == blobs[i]
        assert serving._loaded(blobs[i]).get_workspace_size() == sizes[i]
    with settings.flags(enabled=True, allow_tf32=False):
        graph = plans.ranked(serving.cudnn, description, **serving.where())
        with pytest.raises(Exception, match="Deselecting"):  # those of tensor cores come first
            graph.build_plan_at_index(0)


# -- recurrent layers -------------------------------------------------------------------------------------------------


def header():
    """The declarations of cuDNN's headers, as text without comments."""
    folders = [place.parent / "include" for place in library._folders() if (place / "libcudnn.so.9").exists()]
    texts = [file.read_text() for folder in folders for file in sorted(Path(folder).glob("cudnn_*.h"))]
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", "\n".join(texts), flags=re.DOTALL)


def letter(parameter):
    """How ctypes is to pass a parameter of the header's."""
    if "*" in parameter or "[" in parameter or re.search(r"cudnn(Handle|\w+Descriptor)_t|cudaStream_t", parameter):
        return "p"
    if "size_t" in parameter:
        return "z"
    return "u" if "uint32_t" in parameter else "i"


@pytest.mark.parametrize("name", recurrent.PROTOTYPES)
def test_prototypes(name):
    found = re.search(rf"\b{name}\s*\(([^)]*)\)", header())
    assert found, name
    parameters = [p.strip() for p in found.group(1).split(",")]
    assert "".join(map(letter, parameters)) == recurrent.PROTOTYPES[name]


def test_numbers_of_the_header():
    text = header()
    for name, number in {
        **{f"CUDNN_DATA_{n}": recurrent.DTYPES[d] for n, d in (("FLOAT", "float32"), ("DOUBLE", "float64"))},
        **{f"CUDNN_DATA_{n}": recurrent.DTYPES[d] for n, d in (("HALF", "float16"), ("BFLOAT16", "bfloat16"))},
        **{f"CUDNN_{name}": number for name, (number, _) in recurrent.MODES.items()},
        "CUDNN_RNN_NO_BIAS": recurrent.NO_BIAS,
        "CUDNN_RNN_DOUBLE_BIAS": recurrent.DOUBLE_BIAS,
        "CUDNN_TENSOR_OP_MATH": recurrent.TENSOR_OPS,
        "CUDNN_DEFAULT_MATH": recurrent.DEFAULT_MATH,
        "CUDNN_FMA_MATH": recurrent.FMA_MATH,
        "CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_UNPACKED": recurrent.UNPACKED,
        "CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED": recurrent.PACKED,
        "CUDNN_FWD_MODE_TRAINING": recurrent.TRAINING,
        "CUDNN_WGRAD_MODE_ADD": recurrent.ADD,
        "CUDNN_BIDIRECTIONAL": 1,
        "CUDNN_RNN_ALGO_STANDARD": 0,
        "CUDNN_LINEAR_INPUT": 0,
    }.items():
        assert re.search(rf"\b{name}\s*=\s*{number}\b", text), name
    assert re.search(r"CUDNN_RNN_PADDED_IO_ENABLED \(1U << 0\)", text)


@pytest.mark.parametrize("dtype", recurrent.DTYPES)
@pytest.mark.parametrize("kind", recurrent.MODES)
def test_descriptors(kind, dtype):
    calls = recurrent.Calls(library.dynamic())
    count = 0
    for layers, bidirectional, biases, projection in itertools.product(
        (1, 3), (False, True), (False, True), (650, 300)
    ):
        if projection != 650 and kind != "LSTM":
            continue
        for tf32, packed in itertools.product((False, True), repeat=2):
            spec = recurrent.Spec(kind, dtype, 200, 650, projection, layers, bidirectional, biases)
            assert recurrent.describe(calls, spec, tf32, packed)
            count += 1
    VERDICTS.setdefault(f"recurrent descriptors {dtype}", []).append((count, 0, 0, 0))


def test_batches():
    """Descriptors of rows and states are made; what needs a handle cannot be, without a GPU."""
    calls = recurrent.Calls(library.dynamic())

    class Network:
        spec = recurrent.Spec("LSTM", "float16", 200, 650, 650, 2, True, True)

        def __init__(self, packed):
            self.calls, self.packed = calls, packed
            self.descriptor = recurrent.describe(calls, self.spec, True, packed)

        def handle(self):
            return calls.made("")

    for sizes in ((4,) * 7, (4, 4, 2, 1)):
        with pytest.raises(recurrent.Refused, match="cudnnCreate: "):  # after all others
            recurrent._Batch(Network(sizes[-1] != sizes[0]), sizes)
    with pytest.raises(recurrent.Refused, match="cudnnSetRNNDescriptor_v8"):
        recurrent.describe(calls, Network.spec._replace(hidden=-1), True, False)
    assert ctypes.sizeof(ctypes.c_size_t) == 8
