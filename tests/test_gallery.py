"""The gallery: each public method of explain, and each picture, is called on a page of docs/see_inside, with a picture.

`make docs` executes the pages; here it is seen that none is missing.
"""

import ast
import inspect
import re
from pathlib import Path

import pytest

from chainrule import explain
from chainrule.explain import plots

PAGES = sorted((Path(__file__).resolve().parents[1] / "docs" / "see_inside").glob("*.md"))
#: what returns them stands on the pages; nobody makes them
TYPES = {name for name in explain.__all__ if inspect.isclass(getattr(explain, name))} | {"Target"}
METHODS = sorted(set(explain.__all__) - TYPES)
#: methods whose result is a picture, or is drawn by matplotlib itself
DRAWN = ("plots.", "plt.", "explain.draw_graph")


def sections(text):
    """(heading, code of its cells) of a page, from one `## ` to the next."""
    for part in re.split(r"^## ", text, flags=re.MULTILINE):
        cells = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", part, flags=re.MULTILINE | re.DOTALL)
        yield part.partition("\n")[0], "\n".join(re.sub(r"^:.*$", "", cell, flags=re.MULTILINE) for cell in cells)


def called(code):
    """The functions that are called in some code, as they are written: `explain.saliency`."""
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)}


SECTIONS = [(page.name, *section, called(section[1])) for page in PAGES for section in sections(page.read_text())]


@pytest.mark.parametrize("name", METHODS)
def test_each_method_stands_in_the_gallery_with_a_picture(name):
    found = [(page, code) for page, _, code, calls in SECTIONS if f"explain.{name}" in calls]
    assert found, f"explain.{name} is called on no page of docs/see_inside"
    assert any(drawn in code for _, code in found for drawn in DRAWN), f"no picture beside explain.{name}"


@pytest.mark.parametrize("name", plots.__all__)
def test_each_kind_of_picture_is_shown(name):
    shown = any(f"plots.{name}" in calls for *_, calls in SECTIONS)
    assert shown, f"plots.{name} is called on no page of docs/see_inside"


def test_pages_are_listed():
    index = next(page for page in PAGES if page.name == "index.md").read_text()
    listed = index.partition(":hidden:")[2].split("```")[0].split()
    assert sorted(listed) == [page.stem for page in PAGES if page.name != "index.md"]
    assert all(f"({name}.md)" in index for name in listed)


def test_a_method_that_is_missing_is_found():
    cell = "```{code-cell} python\n:tags: [hide-input]\n\nexplain.pgd(m)\n```"
    text = f"# Page\n\n## One\n\n{cell}\n\n## Two\n\nexplain.fgsm(m)\n"
    assert [(heading, called(code)) for heading, code in sections(text)] == [
        ("# Page", set()),
        ("One", {"explain.pgd"}),
        ("Two", set()),
    ]
