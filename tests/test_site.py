"""The site: every public name stands in the reference, docstrings become markup, pages open without a fault.

`make docs` builds it; `make test-browser` runs the tests marked `browser`, on build/site.
"""

import importlib
import inspect
import re
import sys
import zlib
from types import ModuleType

import browser as chrome
import pytest
from test_import import OPTIONAL
from test_layout import ROOT, modules

import chainrule
from chainrule import aliases

sys.path.insert(0, str(ROOT / "docs"))

from markup import inline, rst
from reference import Reference
from surface import ATTRIBUTES, INTERNAL, first_sentence

SITE = ROOT / "build" / "site"
PICTURES = ROOT / "build" / "screenshots"


# -- every public name ------------------------------------------------------------------------------------------------


def public_modules():
    """Every module of the package and every path of PyTorch's, but for internal ones: path -> module."""
    files = {".".join(path.with_suffix("").parts).removesuffix("__init__").rstrip(".") for path in modules()}
    engine = re.compile(r"(autograd|backends|runtime|explain)\.(?!functional$|forward_ad$|plots$)|runtime$")
    files = {path for path in files if not engine.match(path)}
    found = {}
    for path in {*files, *aliases.PATHS, *aliases.PACKAGES, "autograd", "backends"}:
        parts = path.split(".")
        above = {".".join(parts[:i]) for i in range(1, len(parts) + 1)}
        if not above & INTERNAL and not any(part.startswith("_") for part in parts):
            try:
                found[path] = importlib.import_module(f"chainrule.{path}".rstrip("."))
            except ModuleNotFoundError as error:
                assert error.name in OPTIONAL  # noqa: PT017
    return found


def resolve(name):
    """What a full name means, and where its last part was found: in the attribute of that name, or in the module."""
    value = owner = chainrule
    parts = name.split(".")
    for i, part in enumerate(parts[1:], 1):
        found = inspect.getattr_static(value, part, None)
        if found is None and not hasattr(value, part):
            value = importlib.import_module(".".join(parts[:i]))  # hidden by a function, or not imported yet
            found = getattr(value, part, None) or importlib.import_module(".".join(parts[: i + 1]))
        owner, value = value, getattr(value, part) if found is None else found
    return value, owner


def check_names(documented):
    """Each public name is among `documented`, or means what another one there means; and nothing else is there."""
    public = public_modules()
    values = {name: resolve(name) for name in documented}
    known = {id(value) for value, _ in values.values()}
    missing = []
    for path, module in public.items():
        for name in getattr(module, "__all__", ()):
            full, value = ".".join(filter(None, ("chainrule", path, name))), getattr(module, name)
            own = not isinstance(value, (bool, int, float, str, tuple, list, dict, type(None)))
            if full not in documented and not (own and id(value) in known) and not isinstance(value, ModuleType):
                missing.append(full)
    for name, (value, _) in list(values.items()):
        if inspect.isclass(value) and value.__module__.startswith("chainrule.") and value is not chainrule.Tensor:
            members = (m for m, f in vars(value).items() if inspect.isfunction(f) and f.__doc__ and m[0] != "_")
            home = [full for full, (same, _) in values.items() if same is value]
            missing += [f"{name}.{m}" for m in members if not {f"{full}.{m}" for full in home} & documented]
    missing += [f"Tensor.{m}" for m in dir(chainrule.Tensor) if m[0] != "_" and not tensor_method(m, documented)]
    assert missing == []
    exported = {id(module): set(getattr(module, "__all__", ())) for module in public.values()}
    foreign = [
        name
        for name, (_, owner) in values.items()
        if isinstance(owner, ModuleType)
        and id(owner) in exported
        and name.rpartition(".")[2] not in exported[id(owner)] | {owner.__name__.rpartition(".")[2]}
        and not isinstance(values[name][0], ModuleType)
    ]
    assert foreign == []


def tensor_method(name, documented):
    member = inspect.getattr_static(chainrule.Tensor, name)
    engine = not (callable(member) or isinstance(member, property)) and name not in ATTRIBUTES
    return engine or f"chainrule.Tensor.{name}" in documented


def test_every_public_name_has_an_entry():
    declared = set()
    for lines in Reference().pages().values():
        module, indent = "chainrule", {}
        for line in lines:
            found = re.match(r"( *)\.\. py:(\w+):: ([\w.]+)", line)
            if not found:
                continue
            depth, kind, name = len(found[1]), found[2], found[3]
            if kind in ("module", "currentmodule"):
                module = name
                declared |= {name} if kind == "module" else set()
                continue
            indent[depth] = name
            declared.add(".".join([module, *([indent[0]] if depth else []), name]))
    check_names(declared)


# -- docstrings as markup ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a**2 and |b|", r"a\*\*2 and \|b\|"),
        ("in place: relu_, x_i and (a_).", r"in place: relu\_, x_i and (a\_)."),
        ("`x` and `y`s, (`z`)", r"``x`` and ``y``\ s, (``z``)"),
        ("``x`` too", "``x`` too"),
        ("one ` alone", r"one \` alone"),
        (r"a \ b", r"a \\ b"),
    ],
)
def test_inline(text, expected):
    assert inline(text) == expected


def test_links():
    known = {"Linear": "chainrule.nn.Linear"}
    assert inline("see `Linear`, `other`", known.get) == "see :py:obj:`Linear <chainrule.nn.Linear>`, ``other``"


def test_blocks():
    text = """Sum of x
    over *all*.

        y = Σ x_i
          + 0

    Args:
        dim, keepdim: which
            ones.
        *xs: tensors.

    * one
      goes on
    * two

    >>> x * 2
    4

    Sources: none.
    """
    assert rst(text) == [
        *(r"Sum of x over \*all\*.", ""),
        *("::", "", "    y = Σ x_i".replace("    y", "        y"), "          + 0".replace("    ", "    ", 1), ""),
        *("**Args**", "", "* ``dim``, ``keepdim``: which ones.", "* ``*xs``: tensors.", ""),
        *("* one goes on", "", "* two", ""),
        *(">>> x * 2", "4", ""),
        *("Sources: none.", ""),
    ]


def test_first_sentence():
    assert first_sentence("exp(x) - 1, e.g. of 0.5. More.\n\nNext") == "exp(x) - 1, e.g. of 0.5."
    assert first_sentence("No end\nhere") == "No end here"
    assert first_sentence("") == ""


# -- the built site ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages():
    """The pages of the site, those of the source code aside."""
    assert SITE.exists(), "the site is not built: run `make docs`"
    return sorted(
        path for path in SITE.rglob("*.html") if path.relative_to(SITE).parts[0] not in ("_modules", "_static")
    )


@pytest.mark.browser
def test_inventory(pages):
    """objects.inv, by which other sites link to this one, has every public name."""
    data = (SITE / "objects.inv").read_bytes().split(b"\n", 4)
    lines = zlib.decompress(data[4]).decode().splitlines()
    check_names({line.partition(" py:")[0] for line in lines if " py:" in line})


@pytest.mark.browser
def test_every_page_opens(pages, visit):
    """Without a fault; and fits a wide window and a telephone's."""
    assert len(pages) > 150
    page = visit(pages[0])
    sources = sorted((SITE / "_modules").rglob("*.html"))[::25]
    too_wide = []
    for path in (*pages, *sources):
        page.goto(path.as_uri(), wait_until="load")
        assert page.title(), path
        assert visit.faults == [], path
        for width in (1280, 400):
            page.set_viewport_size({"width": width, "height": 900})
            too_wide += [(path, width)] if chrome.wider_than_window(page) else []
    assert too_wide == []


@pytest.mark.browser
def test_search(pages, visit):
    page = visit(SITE / "search.html")
    page.goto((SITE / "search.html").as_uri() + "?q=CrossEntropyLoss")
    page.wait_for_selector("#search-results li a")
    assert "chainrule.nn.CrossEntropyLoss" in page.inner_text("#search-results")


@pytest.mark.browser
def test_screenshots(pages, visit):
    """Pictures to look at, in build/screenshots."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    shown = ["index.html", "api/index.html", "api/nn-convolution.html", "api/chainrule-elementwise-functions.html"]
    shown += [next(p for p in pages if p.parent.name == "notebooks").relative_to(SITE).as_posix()]
    for name in shown:
        for width, dark in ((1280, False), (1280, True), (400, False)):
            page = visit(SITE / name, width=width, dark=dark)
            kind = f"{width}{'-dark' if dark else ''}"
            page.screenshot(path=PICTURES / f"{name.removesuffix('.html').replace('/', '-')}-{kind}.png")
            visit.close()
