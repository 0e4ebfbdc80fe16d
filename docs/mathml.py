"""Formulas as MathML, which browsers draw themselves: no script, nothing loaded from elsewhere.

Turned down: MathJax, which Sphinx takes from the network or a copy of megabytes; pictures, which cannot be read out.
"""

from docutils import nodes
from latex2mathml.converter import convert


def mathml(formula, display="inline"):
    """A formula in TeX as MathML. Bars around a norm keep their height: which ones belong together, nothing tells."""
    found = convert(formula.removeprefix("\\begin{equation}").removesuffix("\\end{equation}"), display=display)
    for bar in ("&#x02016;", "&#x0007C;", "|"):
        found = found.replace(f"<mo>{bar}</mo>", f'<mo stretchy="false">{bar}</mo>')
    return found


def inline(self, node):
    """Write a formula within a line."""
    self.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def block(self, node):
    """Write a formula of its own."""
    self.body.append(self.starttag(node, "div", CLASS="math") + mathml(node.astext(), "block") + "</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Tell Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
