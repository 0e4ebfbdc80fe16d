"""The reference: a page for each public module, and one for each family of what `chainrule` and `chainrule.nn` hold.

Written below api/ when the site is built, from `surface`, signatures and docstrings. Turned down: autodoc, which takes
functions that are objects for data.
"""

from __future__ import annotations

import enum
import functools
import inspect
import re
from pathlib import Path
from typing import Any

from markup import escape, inline, rst
from surface import ATTRIBUTES, GENERAL, Thing, first_sentence, load, methods, names, surface

import chainrule
from chainrule import aliases
from chainrule.autograd import Composite, Op
from chainrule.autograd.op import OPS

#: the modules of a training's record
RECORDING = ("recorder", "history", "verdicts", "run_report", "charts", "measures", "progress")
#: the chapter of what belongs to no other
OTHER = "PyTorch's other names"
#: chapters: their titles, and the modules in them by the beginnings of their paths
CHAPTERS = {
    "Tensors and functions": ("",),
    "Differentiation": ("autograd", "func"),
    "Mathematics": ("linalg", "special", "fft", "sparse", "return_types", "random"),
    "Networks": ("nn",),
    "Optimizers": ("optim", "amp"),
    "Data": ("utils.data", "utils.images"),
    "Models": ("models",),
    "Looking inside": ("explain", *[f"utils.{name}" for name in RECORDING], "utils.tensorboard"),
    "Probability": ("distributions",),
    "Training aids and tools": ("utils", "testing", "serialization", "hub"),
    "Devices and processes": ("cuda", "cpu", "accelerator", "backends", "distributed", "multiprocessing"),
    OTHER: (),
}

LAYER_OPS = ("linear", "convolution", "pooling", "normalisation", "recurrent", "loss", "dropout", "embedding")
#: families of `chainrule`: title -> the modules that their names are written in. Files of autograd/ops that are not
#: named here are families of their own.
FAMILIES = {
    "Tensor": ("autograd.tensor",),
    "Making tensors": ("autograd.creation", "autograd.conversion", "autograd.windows"),
    "Random numbers": ("autograd.random",),
    "Types, devices, constants": ("autograd.dtypes", "autograd.device", "autograd.layout", "autograd.attributes", ""),
    "Recording and modes": ("autograd.modes", "autograd.tape", "autograd.capture", "autograd.autocast"),
    "Arithmetic": ("autograd.ops.arithmetic",),
    "Elementwise functions": ("autograd.ops.elementwise", "autograd.special"),
    "Comparisons and bits": ("autograd.ops.comparison",),
    "Sums, means, extremes": ("autograd.ops.reduction", "autograd.ops.statistics", "autograd.ops.norms"),
    "Sorting and searching": ("autograd.ops.sorting",),
    "Shapes": ("autograd.ops.shape",),
    "Rearranging": ("autograd.ops.rearrange",),
    "Joining and splitting": ("autograd.ops.joining",),
    "Indexing": ("autograd.ops.indexing", "autograd.ops.scatter", "autograd.ops.assignment"),
    "Linear algebra": tuple(f"autograd.{name}" for name in ("ops.linalg", "ops.decompositions", "linalg", "factors")),
    "Sums over indices": ("autograd.ops.einsum",),
    "Activations and softmax": ("autograd.ops.activation", "autograd.ops.softmax"),
    "Layers as functions": tuple(f"autograd.ops.{name}" for name in LAYER_OPS),
    "Images": ("autograd.ops.vision", "autograd.ops.resampling"),
    "Sparse tensors": ("autograd.sparse",),
    "Files and printing": ("autograd.serialization", "autograd.printing"),
    "Settings and errors": ("runtime", "backends", "autograd.errors"),
    "Other forms": ("autograd.func", "autograd.second_forms", "autograd.seldom", "autograd.methods"),
}
#: families of `chainrule.nn`, of files that hold few layers each
LAYERS = {
    "Module and containers": ("nn.module", "nn.container", "nn.parameter"),
    "Linear layers": ("nn.linear", "nn.dense", "nn.sparse"),
    "Convolution": ("nn.conv",),
    "Pooling": ("nn.pooling", "nn.fractional", "nn.generalised_pooling"),
    "Loss functions": ("nn.loss", "nn.margin", "nn.adaptive", "nn.linear_cross_entropy"),
    "Attention and Transformer": ("nn.multihead", "nn.transformer"),
    "Activations": ("nn.activation",),
    "Normalisation": ("nn.normalization",),
    "Recurrent layers": ("nn.recurrent",),
    "Dropout": ("nn.dropout",),
    "Padding": ("nn.padding",),
    "Shapes and distances": ("nn.shape",),
    "Lazy layers": ("nn.lazy",),
}

UNDERLINES = "=-"


class Reference:
    """All pages, and what they need to know of one another."""

    def __init__(self) -> None:
        self.surface = surface()
        self.full = {thing.full for things in self.surface.values() for thing in things}
        self.full |= {f"chainrule.{path}" for path in self.surface if path}
        self.methods = set(methods())
        #: of each thing that is not a plain value, the module where it is at home
        self.home = {id(t.value): t.path for things in self.surface.values() for t in things if t.same is None}
        for things in self.surface.values():
            self.full |= {f"{t.full}.{name}" for t in things if t.same is None for name, _ in t.members()}

    def write(self, folder: Path) -> None:
        """Write all pages that are not there as they should be, and remove those that should not be there."""
        pages = self.pages()
        folder.mkdir(exist_ok=True)
        for old in folder.glob("*.rst"):
            if old.stem not in pages:
                old.unlink()
        for name, lines in pages.items():
            path, text = folder / f"{name}.rst", "\n".join(lines) + "\n"
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")

    def pages(self) -> dict[str, list[str]]:
        """Name of the file -> its lines."""
        pages: dict[str, list[str]] = {}
        chapters: dict[str, list[str]] = {title: [] for title in CHAPTERS}
        for path in sorted(self.surface):
            chapter = chapter_of(path)
            if path in ("", "nn"):
                for title, things in families(path, self.surface[path]).items():
                    name = f"{path or 'chainrule'}-{title.lower().replace(',', '').replace(' ', '-')}"
                    pages[name] = self.family(path, title, things)
                    chapters[chapter].append(name)
            else:
                pages[path] = self.module(path)
                chapters[chapter].append(path)
        pages["paths"] = self.second_paths()
        chapters[OTHER].append("paths")
        for number, (title, listed) in enumerate(chapters.items(), 1):
            here = [line for path in ("", "nn") if chapter_of(path) == title for line in module_target(path)]
            pages[f"chapter-{number:02d}"] = [*heading(title), *here, *contents(listed)]
        listed = contents([name for name in pages if name.startswith("chapter-")])
        listed[1] = "   :maxdepth: 2"
        listed = [".. container:: columns", "", *(f"   {line}".rstrip() for line in listed)]
        pages["index"] = [*heading("Reference"), *INTRODUCTION, *listed, *general()]
        return pages

    # -- pages --------------------------------------------------------------------------------------------------------

    def module(self, path: str) -> list[str]:
        """The page of a module: its docstring, and its things by the files that they are written in."""
        module, things = load(path), self.surface[path]
        package, _, name = path.rpartition(".")
        shadowed = name in {thing.name for thing in self.surface.get(package, ())}  # by a function of the same name
        lines = [*heading(f"chainrule.{path}"), *module_target(path, shadowed), *self.text(module.__doc__, path)]
        below = [other for other in self.surface if other.rpartition(".")[0] == path]
        if below:
            lines += ["Modules: " + ", ".join(f":py:mod:`chainrule.{other}`" for other in below), ""]
        return [*lines, *table(things), *self.entries(path, things)]

    def family(self, path: str, title: str, things: list[Thing]) -> list[str]:
        """A page of things of one family of `path`."""
        lines = [*heading(title), f".. py:currentmodule:: chainrule{path and '.'}{path}", ""]
        return [*lines, *table(things), *self.entries(path, things)]

    def entries(self, path: str, things: list[Thing]) -> list[str]:
        """The entries of a page: in sections, by the files that they are written in, where that makes few."""
        files: dict[str, list[Thing]] = {}
        for thing in things:
            files.setdefault(thing.source if thing.same is None else "", []).append(thing)
        described = [source for source in files if source not in ("", path) and load(source).__doc__]
        if len(things) < 2 * len(files) or not described:
            return [line for thing in things for line in self.entry(thing)]
        rest = [thing for source in files if source not in described for thing in files[source]]
        lines = [line for thing in rest for line in self.entry(thing)]
        for source in sorted(described):
            docstring = inspect.cleandoc(load(source).__doc__ or "")
            title = first_sentence(docstring).rstrip(".")
            if len(title) < 70:
                docstring = docstring[len(title) :].lstrip(". \n")
            else:
                title = re.split(r"[:,(]", title)[0]
            lines += heading(inline(title), 1)
            kept = [p for p in docstring.split("\n\n") if path == "models" or p == docstring or "Source" in p[:8]]
            lines += self.text("\n\n".join(kept), path)
            lines += [line for thing in files[source] for line in self.entry(thing)]
        return lines

    def second_paths(self) -> list[str]:
        """The page of PyTorch's paths whose things are at home elsewhere."""
        lines = [
            *heading("PyTorch's module paths"),
            "Imports of these work, too; what they hold is described there:",
            "",
        ]
        lines += [".. list-table::", "   :class: names", ""]
        for path in sorted(set(aliases.PATHS) - set(self.surface)):
            values = [getattr(load(path), name) for name in names(load(path))]
            homes = {self.home[id(value)] for value in values if id(value) in self.home}
            if homes and not any(part.startswith("_") for part in path.split(".")):
                shown = [f":py:mod:`{'.'.join(filter(None, ('chainrule', home)))}`" for home in sorted(homes)[:3]]
                lines += [f"   * - ``chainrule.{path}``", f"     - {', '.join(shown)}"]
        return [*lines, ""]

    # -- entries ------------------------------------------------------------------------------------------------------

    def text(self, docstring: str | None, path: str, cls: str = "", own: frozenset[str] = frozenset()) -> list[str]:
        """A docstring of something in module `path`, linked; `own` are names that it explains itself."""
        return rst(docstring, functools.partial(self.link, path, cls, own))

    def link(self, path: str, cls: str, own: frozenset[str], piece: str) -> str | None:
        """The full name that `piece` stands for in a docstring of module `path`."""
        if piece in own:
            return None
        name = piece.removesuffix("()").removeprefix("torch.").removeprefix("F.")
        for prefix in dict.fromkeys((cls, f"chainrule.{path}", "chainrule", "chainrule.nn", "chainrule.nn.functional")):
            if prefix and (full := f"{prefix}.{name}") in self.full and len(name) > 2:
                return full
        return name if name in self.full else None

    def entry(self, thing: Thing) -> list[str]:
        """The entry of one thing."""
        value, path = thing.value, thing.path
        first = thing.same
        body: list[str] = []
        if first is not None:
            body += [f"The same as :py:obj:`{first.full}`. {inline(first_sentence(documentation(value)))}", ""]
        else:
            text = documentation(value)
            if not thing.source:
                text = first_sentence(text)  # Python's own
            body += self.text(text, path, thing.full if inspect.isclass(value) else "", parameters(value))
            body += self.facts(thing)
        if inspect.isclass(value):
            kind = "exception" if issubclass(value, BaseException) else "class"
            if first is None:
                body += self.bases(value)
                body += self.tensor() if value is chainrule.Tensor else self.members(thing)
            return directive(kind, thing.name + signature(value), body)
        if callable(value) and not isinstance(value, type(chainrule.float32)):
            return directive("function", thing.name + (signature(value) or "(...)"), body)
        return directive("data", thing.name, [*shown(value), *body])

    def bases(self, cls: type) -> list[str]:
        """The line that names base classes with a place in the reference."""
        known = {id(t.value): t.full for things in self.surface.values() for t in things if t.same is None}
        found = [known[id(base)] for base in cls.__bases__ if id(base) in known]
        return ["Base: " + ", ".join(f":py:class:`{name}`" for name in found), ""] if found else []

    def members(self, thing: Thing) -> list[str]:
        """Methods and properties of a class."""
        lines: list[str] = []
        for name, member in thing.members():
            lines += self.member(name, member, thing)
        return lines

    def member(self, name: str, member: Any, thing: Thing) -> list[str]:
        """One method or property."""
        body = self.text(documentation(member), thing.path, thing.full, parameters(member))
        if isinstance(member, (property, functools.cached_property)):
            return directive("property", name, body)
        options = []
        if isinstance(member, (classmethod, staticmethod)):
            options = [f":{type(member).__name__}:"]
            member = member.__func__
        return directive(
            "method", name + signature(member, bound=not options or "class" in options[0]), [*options, "", *body]
        )

    def tensor(self) -> list[str]:
        """The methods of Tensor; of those that are functions, too, no more than that."""
        functions = {t.name: t for t in self.surface[""]}
        own, ops, changing = [], [], []
        thing = functions["Tensor"]
        for name in sorted(self.methods, key=str.lower):
            member = inspect.getattr_static(chainrule.Tensor, name)
            function = functions.get(name)
            base = name.removesuffix("_")
            if function is not None and documentation(member) == documentation(function.value):
                text = f":py:func:`chainrule.{name}` of this tensor. {inline(first_sentence(documentation(member)))}"
                arguments = signature(function.value, bound=True)
                ops += directive("method", f"{name}{arguments}", [text, ""])
            elif name != base and base in self.methods and documentation(member).startswith("In-place form of"):
                target = f"chainrule.{base}" if f"chainrule.{base}" in self.full else f"chainrule.Tensor.{base}"
                changing += directive("method", f"{name}(...)", [f"In place: :py:obj:`{target}`.", ""])
            elif name in ATTRIBUTES:
                own += directive("attribute", name, [ATTRIBUTES[name], ""])
            else:
                own += self.member(name, member, thing)
        rubrics = {"Methods and attributes": own, "Functions as methods": ops, "In place": changing}
        return [line for title, lines in rubrics.items() for line in (f".. rubric:: {title}", "", *lines)]

    def facts(self, thing: Thing) -> list[str]:
        """What the registry of ops knows, and the other names of this thing."""
        name = thing.name
        facts: list[tuple[str, str]] = []
        op = thing.value if isinstance(thing.value, Op) else OPS.get(name)  # a function may stand before the op
        if op is not None and op.__module__.removeprefix("chainrule.") == thing.source:
            if isinstance(op, Composite):
                facts.append(("Gradients", "a composition of ops, differentiable as they are"))
            elif op.rules:
                inputs = ", ".join(f"``{x}``" for x in op.inputs if x in op.rules)
                facts.append(("Gradients", f"for {inputs}; each rule is differentiable"))
            else:
                facts.append(("Gradients", "none"))
            if op.broadcast:
                facts.append(("Shapes", "inputs broadcast"))
            if op.types:
                kinds = {"same": "inputs are promoted to one dtype", "float": "integers and bools to the default dtype"}
                facts.append(("Dtypes", kinds[op.types]))
            if op.view:
                facts.append(("Memory", "the result may be a view of the input"))
        others = [f"chainrule.Tensor.{n}" for n in (name, f"{name}_") if thing.path == "" and n in self.methods]
        others += [f"chainrule.{name}_"] if thing.path == "" and f"chainrule.{name}_" in self.full else []
        others += thing.others
        if others:
            facts.append(("Also", ", ".join(f":py:obj:`{n.removeprefix('chainrule.')} <{n}>`" for n in others)))
        return [*(f":{title}: {text}" for title, text in facts), ""] if facts else []


# -- pieces of pages --------------------------------------------------------------------------------------------------

INTRODUCTION = [
    "Every public name, by the module that users import it from. An entry gives the signature, the formula, shapes and",
    "dtypes, errors and the source; of an op also which inputs have gradients, and its other names. ``[source]`` shows",
    "the code.",
    "",
    "The names are PyTorch's where the concept is; NumPy's ``axis`` and ``keepdims`` work as well.",
    "",
]


def heading(title: str, level: int = 0) -> list[str]:
    """A title and its underline."""
    return [title, UNDERLINES[level] * (len(title) + 8), ""]


def general() -> list[str]:
    """What arguments mean that mean the same wherever they stand."""
    lines = [*heading("Arguments that mean the same everywhere", 1), ".. list-table::", "   :class: names", ""]
    for words, meaning in GENERAL.items():
        lines += [f"   * - {', '.join(f'``{word}``' for word in words.split(', '))}", f"     - {inline(meaning)}"]
    return [*lines, ""]


def module_target(path: str, shadowed: bool = False) -> list[str]:
    """Where links to a module lead."""
    return [f".. py:{'currentmodule' if shadowed else 'module'}:: chainrule{path and '.'}{path}", ""]


def contents(names: list[str]) -> list[str]:
    """A list of pages."""
    return [".. toctree::", "   :maxdepth: 1", "", *(f"   {name}" for name in names), ""]


def directive(kind: str, argument: str, body: list[str]) -> list[str]:
    """A directive of Sphinx's Python domain."""
    lines = [f".. py:{kind}:: {argument}"]
    options = [line for line in body if line.startswith((":value:", ":type:", ":classmethod:", ":staticmethod:"))]
    rest = [line for line in body if line not in options]
    return [*lines, *(f"   {line}" for line in options), "", *(f"   {line}".rstrip() for line in rest), ""]


def table(things: list[Thing]) -> list[str]:
    """Names and first sentences."""
    things = [thing for thing in things if thing.same is None and thing.name[-1] != "_"] or things
    if len(things) < 3:
        return []
    lines = [".. list-table::", "   :class: names", "   :widths: auto", ""]
    for thing in things:
        lines += [f"   * - :py:obj:`{thing.name} <{thing.full}>`"]
        lines += [f"     - {inline(first_sentence(documentation(thing.value))) or escape(brief(thing.value))}"]
    return [*lines, ""]


def brief(value: Any) -> str:
    """A plain value on one line."""
    text = str(value).strip().partition("\n")[0]
    return text if len(text) < 60 else f"{text[:57]}..."


def chapter_of(path: str) -> str:
    """The chapter with the longest beginning of a path."""
    found = OTHER
    longest = -1
    for title, beginnings in CHAPTERS.items():
        for beginning in beginnings:
            inside = path == beginning or (beginning and path.startswith(f"{beginning}."))
            if inside and len(beginning) > longest:
                found, longest = title, len(beginning)
    return found


def _within(source: str, modules: tuple[str, ...]) -> bool:
    return any(source == module or (module and source.startswith(f"{module}.")) for module in modules)


def families(path: str, things: list[Thing]) -> dict[str, list[Thing]]:
    """The things of a large module, by title of the family."""
    chosen = FAMILIES if path == "" else LAYERS
    found: dict[str, list[Thing]] = {title: [] for title in chosen}
    for thing in things:
        source = thing.source
        own = source.rpartition(".")[2].replace("_", " ").capitalize()
        titles = (title for title, sources in chosen.items() if _within(source, sources))
        found.setdefault(next(titles, own), []).append(thing)
    return {title: group for title, group in found.items() if group}


#: what types in signatures stand for; other words in them are no links
TYPES = {
    **{name: f"chainrule.{name}" for name in ("Generator", "Size", "Tensor", "device", "dtype", "memory_format")},
    **{f"nn.{name}": f"chainrule.nn.{name}" for name in ("Module", "Parameter")},
    **{name: f"chainrule.nn.{name}" for name in ("Module", "Parameter")},
    "Optimizer": "chainrule.optim.Optimizer",
}


def documentation(value: Any) -> str:
    """The docstring of a thing; "" for values, which have only their type's."""
    if isinstance(value, Op) or inspect.isroutine(value) or inspect.isclass(value):
        return inspect.cleandoc(value.__doc__ or "")
    if isinstance(value, (property, functools.cached_property, classmethod, staticmethod)):
        return inspect.cleandoc(value.__doc__ or "")
    if callable(value) and value.__doc__ and value.__doc__ != type(value).__doc__:
        return inspect.cleandoc(value.__doc__)
    return ""


def shown(value: Any) -> list[str]:
    """The options of a plain value."""
    kind = type(value).__name__
    text = repr(value)
    options = [f":type: {kind}"] if kind.isidentifier() else []
    return [*options, f":value: {text}"] if len(text) < 60 and "\n" not in text and "0x" not in text else options


def signature(value: Any, bound: bool = False) -> str:
    """The arguments as they are called; "" where nothing is known. `bound`: without the first."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    parameters = list(found.parameters.values())[bound:]
    parts, bare = [], True
    for i, p in enumerate(parameters):
        if p.kind is p.KEYWORD_ONLY and bare and not any(q.kind is q.VAR_POSITIONAL for q in parameters):
            parts.append("*")
            bare = False
        text = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name
        kind = annotation(p.annotation)
        if kind:
            text += f": {kind}"
        if p.default is not p.empty:
            text += f" = {default(p.default)}" if kind else f"={default(p.default)}"
        parts.append(text)
        last = i + 1 == len(parameters) or parameters[i + 1].kind is not p.POSITIONAL_ONLY
        if p.kind is p.POSITIONAL_ONLY and last:
            parts.append("/")
    returned = annotation(found.return_annotation)
    return f"({', '.join(parts)})" + (f" -> {returned}" if returned and returned != "None" else "")


def parameters(value: Any) -> frozenset[str]:
    """The names of the arguments."""
    try:
        return frozenset(inspect.signature(getattr(value, "__func__", value)).parameters)
    except (TypeError, ValueError):
        return frozenset()


def annotation(kind: Any) -> str:
    """A type as it is written; nothing for Any, which says nothing."""
    if kind is inspect.Parameter.empty:
        return ""
    text = kind if isinstance(kind, str) else getattr(kind, "__name__", None) or str(kind)
    if not isinstance(kind, str) and "[" in str(kind):
        text = str(kind)
    text = re.sub(r"(?:chainrule|typing|collections)(?:\.\w+)*\.(\w+)", r"\1", text)
    return "" if text in ("Any", "_empty") else text.replace("\n", " ")


def default(value: Any) -> str:
    """A default as one would write it."""
    if inspect.isclass(value) or inspect.isroutine(value) or isinstance(value, Op):
        return str(getattr(value, "__qualname__", value))
    if isinstance(value, enum.Enum):
        return str(value)
    text = repr(value)
    return "..." if text.startswith("<") else text
