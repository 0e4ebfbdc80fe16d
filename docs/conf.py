"""How the site is built: Sphinx with myst-nb (pages are Markdown, their code runs) and the theme furo. `make docs`.

Turned down: MkDocs with mkdocstrings, and Sphinx with autodoc2. Both read the API from the source text. Our ops are
objects that a decorator makes, functions get second names when the package is imported, and modules have PyTorch's
paths beside their own: only what imports chainrule sees the names as users do.

Pages with ```{code-cell} blocks are executed here, and fail the build if a cell raises or warns. Notebooks are shown as
they were saved: tests/test_notebooks.py runs them.
"""

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from reference import TYPES, Reference  # noqa: E402
from sphinx import addnodes  # noqa: E402

import chainrule  # noqa: E402

project = "chainrule"
author = "the chainrule authors"
copyright = author
version = release = chainrule.version.chainrule
language = "en"

extensions = [
    "myst_nb",  # pages in Markdown, cells that run, notebooks
    "mathml",  # formulas without a script
    "sphinx.ext.viewcode",  # pages with the source, and links to them
    "sphinx_copybutton",  # a button that copies an example without its >>>
]
exclude_patterns = ["_build"]
default_role = "code"
smartquotes = False  # L' is a length, not a quotation
toc_object_entries = False  # two thousand names, in the sidebar of each page, take three quarters of the build
pygments_style = "friendly"
pygments_dark_style = "monokai"

# -- pages ------------------------------------------------------------------------------------------------------------

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"  # what is kept from another build says nothing about this one
nb_execution_excludepatterns = ["notebooks/*"]
nb_execution_in_temp = True
nb_execution_timeout = 120
nb_execution_show_tb = True
nb_output_stderr = "error"  # a warning in a cell
nb_merge_streams = True
nb_number_source_lines = False

# -- looks ------------------------------------------------------------------------------------------------------------

html_theme = "furo"
html_math_renderer = "mathml"
html_title = "chainrule"
html_logo = html_favicon = "_static/logo.svg"
html_css_files = ["site.css"]
html_static_path = ["_static"]
html_copy_source = False
html_show_search_summary = False  # a script would fetch them, which a browser refuses for files
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def copy_notebooks(app):
    """Put ../notebooks below the pages: Sphinx reads nothing from elsewhere, and not every system has links."""
    target = HERE / "notebooks"
    target.mkdir(exist_ok=True)
    for path in (HERE.parent / "notebooks").glob("*.ipynb"):
        copy = target / path.name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copyfile(path, copy)


def write_reference(app):
    """Write the pages of the reference."""
    Reference().write(HERE / "api")


def link_types(app, doctree):
    """Link the types in signatures by their full names; Sphinx would look for anything whose name ends in `T`."""
    for signature in doctree.findall(addnodes.desc_signature):
        for link in list(signature.findall(addnodes.pending_xref)):
            if link["reftarget"] in TYPES:
                link["reftarget"], link["refspecific"] = TYPES[link["reftarget"]], False
            else:
                link.replace_self(link.children)


def setup(app):
    """Sphinx calls this first."""
    app.connect("builder-inited", write_reference)
    app.connect("doctree-read", link_types)
    app.connect("builder-inited", copy_notebooks)
