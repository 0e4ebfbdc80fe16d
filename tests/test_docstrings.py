"""Docstrings say what a reader of the reference needs: a formula or words, shapes, what each argument means, sources.

A docstring that names another (`Conv1d`, "as in Adam") takes what that one says: what is said once holds for its kin.
Arguments that mean the same everywhere (surface.GENERAL) are explained at the head of the reference.
"""

import enum
import functools
import inspect
import re
import sys

import pytest
from test_layout import ROOT

from chainrule import nn, optim
from chainrule.autograd import Op
from chainrule.autograd.op import OPS

sys.path.insert(0, str(ROOT / "docs"))

from surface import GENERAL, load, names, surface

KNOWN = {word for line in GENERAL for word in line.split(", ")}
#: a shape such as (N, C, *), or words that stand for one
SHAPE = re.compile(r"\((?:\*|\.\.\.|[A-Z]\w*|\w+ \* [A-Z])[,)]|[Ee]lementwise|each element|[Ss]hape|scalar")
FORMULA = re.compile(r"[=√Σ∫·²³←≤≥∈→∂±|‖/]|\w\*\*\w| [-+*<>] |\w\(\w+\)")
YEAR = re.compile(r"\b(18|19|20)\d\d\b")
GREEK = {"alpha": "α", "beta": "β", "betas": "β", "gamma": "γ", "lambd": "λ", "rho": "ρ", "delta": "δ", "sigma": "σ"}
#: modules whose functions say what tensors they take and give; and names of the package itself that do
SHAPED = ("nn.functional", "fft", "linalg", "special", "explain", "")
COMPLEX = "angle|complex|conj|imag|isreal|istft|polar|real|sgn|stft|view_as_(real|complex)"
#: modules that explain at their head what the options of all their functions mean
HEADS = {"explain.plots", "utils.data.datapipes"}
#: layers that are not one formula on one input
CONTAINERS = {"Container", "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"}


def own(value):
    return inspect.cleandoc(value.__doc__ or "")


@functools.cache
def said(path, name, depth=3):
    """The docstring of a name, and of what it names in `backticks` or with capitals."""
    text = own(getattr(load(path), name))
    for word in re.findall(r"`(?:\w+\.)*(\w+)`|\b([A-Z]\w+)\b", text) if depth else ():
        other = word[0] or word[1]
        for place in dict.fromkeys((path, "nn.functional", "", "linalg", "special", "optim")):
            if (
                (place, other) != (path, name)
                and callable(getattr(load(place), other, None))
                and other in names(load(place))
            ):
                text += "\n" + said(place, other, depth - 1)
    return text


def things(path):
    """(name, value) of what is at home in a module and can have a docstring of its own."""
    for thing in surface()[path]:
        value = thing.value
        kind = inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, Op)
        if thing.same is None and thing.source and kind:
            yield thing.name, value


#: every public module in which something is at home
MODULES = [path for path in surface() if any(things(path))]


def test_all_modules_are_looked_at():
    assert len(MODULES) > 90
    assert {"fft", "distributed", "hub", "jit", "library", "explain.plots", "testing", "utils.recorder"} <= set(MODULES)


def arguments(value):
    """What a docstring has to explain: of functions the options, of classes all; of an enum's call nothing."""
    if inspect.isclass(value) and issubclass(value, enum.Enum):
        return []
    try:
        found = inspect.signature(value).parameters
    except (TypeError, ValueError):
        return []
    needed = inspect.isclass(value)
    options = [p.name for p in found.values() if needed or p.default is not p.empty]
    return [name for name in options if name not in KNOWN and name[0] != "_"]


@pytest.mark.parametrize("path", MODULES)
def test_a_formula_or_words(path):
    """At least four words, or a formula."""
    texts = {name: said(path, name) for name, _ in things(path)}
    assert [
        name for name, text in texts.items() if len(re.findall(r"\w+", text)) < 4 and not FORMULA.search(text)
    ] == []


@pytest.mark.parametrize("path", SHAPED)
def test_functions_name_shapes(path):
    found = [(name, value) for name, value in things(path) if path or re.fullmatch(COMPLEX, name)]
    functions = [name for name, value in found if not inspect.isclass(value) and name != "looking"]
    assert len(functions) > 10
    assert [name for name in functions if not SHAPE.search(said(path, name))] == []


def test_layers_name_shapes():
    layers = [(n, v) for n, v in things("nn") if inspect.isclass(v) and issubclass(v, nn.Module)]
    assert len(layers) > 130
    assert [name for name, _ in layers if name not in CONTAINERS and not SHAPE.search(said("nn", name))] == []


@pytest.mark.parametrize("path", MODULES)
def test_arguments_are_explained(path):
    """Arguments that are not in GENERAL occur in the docstring, or in one that it names."""
    missing = {}
    head = own(load(path)) if path in HEADS else ""
    for name, value in things(path):
        text = said(path, name) + head
        absent = [a for a in arguments(value) if not re.search(rf"\b{a}\b", text) and GREEK.get(a, "\0") not in text]
        if absent:
            missing[name] = absent
    assert missing == {}


#: what comes from a paper
PAPERS = {
    "nn": r"(Batch|Instance|Layer|Group|RMS)Norm|LocalResponse|(2d|Alpha|^)Dropout$|Depth|Path|[EG]LU|SiLU|Mish|PReLU|"
    r"RReLU|wish|LSTM|GRU|Transf|Multihead|CTC|Focal|Dice|Triplet|Huber|SmoothL1|^HingeLoss|Perceptron|Maxout|RBF|"
    r"DropConnect|Fractional|StochasticP|Mixed|Pyramid|AdaptiveLog|Shuffle|ReLU$|Conv2d",
    "nn.init": r"xavier|kaiming|orthogonal|sparse",
    "nn.utils": r"clip_grad_norm_|spectral|weight_norm",
    "nn.functional": r"^[cs]?elu$|silu|mish|wish|norm$|attention|ctc|focal|^dice|huber|shuffle|dropout|gumbel|drop_",
    "optim.lr_scheduler": r"Cosine|Cyclic|OneCycle",
    "explain": r"saliency|smooth_|integrated|guided|deconv|grad_cam|occlusion|maximi|deep_dream|total_var|^invert|"
    r"style|fgsm|pgd|adversarial_patch|rollout|tsne|pca|input_x|top_inputs|receptive_field$",
    "fft": r"fftn?$",
}


@pytest.mark.parametrize("path", PAPERS)
def test_papers_are_named(path):
    """In the docstring, in one that it names, or at the head of the file (of the op's, for a function around one)."""
    named = [(n, v) for n, v in things(path) if re.search(PAPERS[path], n)]
    assert len(named) > 2
    heads = {name: own(sys.modules[OPS.get(name, value).__module__]) for name, value in named}
    assert [name for name, _ in named if not YEAR.search(said(path, name) + heads[name])] == []


def test_optimizers_name_sources():
    classes = [(n, v) for n, v in things("optim") if inspect.isclass(v) and issubclass(v, optim.Optimizer)]
    assert len(classes) > 14
    assert [name for name, _ in classes if name != "Optimizer" and not YEAR.search(said("optim", name))] == []


def test_models_name_sources():
    """Each file of models/ says whose architecture it is, in the file or in a class."""
    files = [
        file for file in (ROOT / "models").glob("*.py") if file.stem not in ("__init__", "environments", "weights")
    ]
    assert len(files) > 35
    assert [file.name for file in files if not YEAR.search(file.read_text())] == []
