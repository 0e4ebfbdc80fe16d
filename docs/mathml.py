"""Formulas as MathML, which browsers draw themselves: no script, nothing loaded from elsewhere.

Turned down: MathJax, which Sphinx takes from the network or a copy of megabytes; pictures, which cannot be read out.
"""

from docutils import nodes
from latex2mathml.converter import convert


def inline(self, node):
    """Write a formula within a line."""
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block(self, node):
    """Write a formula of its own."""
    formula = convert(node.astext().removeprefix("\\begin{equation}").removesuffix("\\end{equation}"), display="block")
    self.body.append(self.starttag(node, "div", CLASS="math") + formula + "</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Tell Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
