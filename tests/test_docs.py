"""What the documentation shows, runs: docstring examples, and the Python blocks of the Markdown files."""

import doctest
import importlib
import subprocess
import sys

import pytest
from test_layout import ROOT, modules

import chainrule
from chainrule.autograd.op import OPS

WITH_EXAMPLES = [path for path in modules() if ">>>" in (ROOT / path).read_text()]
PAGES = [path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))]


def python_blocks(page):
    """The page with every line blanked that is not in a ```python block, so a traceback names the page's own lines."""
    lines, inside = [], False
    for line in (ROOT / page).read_text().splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            line = ""
        lines.append(line if inside else "")
    return "\n".join(lines)


def examples(module):
    """The examples of a module; doctest itself finds functions and classes, but not ops, which are objects."""
    finder, names = doctest.DocTestFinder(), {"chainrule": chainrule}
    yield from finder.find(module, extraglobs=names)
    for op in OPS.values():
        if op.__module__ == module.__name__:
            yield from finder.find(op, f"{module.__name__}.{op.name}", module=False, globs=vars(module) | names)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_docstrings(path):
    parts = path.with_suffix("").parts
    module = importlib.import_module(".".join(("chainrule", *parts)).removesuffix(".__init__"))
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    report = []
    for test in examples(module):
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page).strip()], ids=str)
def test_pages(page, tmp_path):
    code = f"exec(compile({python_blocks(page)!r}, {str(page)!r}, 'exec'))"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_traceback_names_the_line_of_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "page.md").write_text("# Title\n\n```python\na = 1\n```\ntext\n```sh\nls\n```\n```python\nb = a\n```\n")
    assert python_blocks("page.md").rstrip().split("\n") == ["", "", "", "a = 1", "", "", "", "", "", "", "b = a"]
