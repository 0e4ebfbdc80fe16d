"""A graph as a picture: Graphviz's language, Mermaid's, and SVG."""

from __future__ import annotations

import html
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Cluster", "Edge", "Graph", "Vertex"]

#: vertices from which dot takes minutes for the best layout: it settles for a good one
MANY = 500
_INK, _LINE, _FRAME = "#1f2430", "#6b7280", "#fafbfc"
#: kind of a vertex -> (fill, border, Graphviz's shape, Mermaid's brackets)
_BOX = ("box", "[", "]")
_ROUND = ("box", "(", ")")
_STYLES: dict[str, tuple[str, str, str, str, str]] = {
    "input": ("#d9efd7", "#4d8a4a", *_ROUND),
    "output": ("#f6d9d5", "#b0574c", *_ROUND),
    "parameter": ("#fdebc8", "#b98a2f", *_BOX),
    "buffer": ("#ece7dc", "#8d8470", *_BOX),
    "op": ("#e8ebf0", "#8a93a3", *_BOX),
    "sign": ("#ffffff", "#6b7280", "circle", "((", "))"),
    "module": ("#eef0f4", "#7b8494", *_BOX),
    "convolution": ("#d5e5f7", "#4a7db5", *_BOX),
    "linear": ("#dedcf5", "#6a62b3", *_BOX),
    "normalisation": ("#fbf3c4", "#a8932c", *_BOX),
    "activation": ("#fadfca", "#bd7a43", *_BOX),
    "pooling": ("#cfeeea", "#3f908a", *_BOX),
    "attention": ("#f6d8ea", "#ac5489", *_BOX),
}


@dataclass(frozen=True)
class Vertex:
    """A box: its kind (which gives the colour), name, further lines of text, and the cluster that it stands in."""

    kind: str
    name: str
    lines: tuple[str, ...] = ()
    cluster: str | None = None


@dataclass(frozen=True)
class Edge:
    """An arrow between two vertices, by their ids, with a text."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True)
class Cluster:
    """A frame around vertices, and the frame that it stands in."""

    name: str
    outer: str | None = None


@dataclass
class Graph:
    """What `draw_graph` gives: `nodes`, `edges` and `clusters`, by id, and their picture.

    `dot` is the source for Graphviz, `mermaid` that for Mermaid (GitHub's Markdown, documentation, JupyterLab).
    `render("model.svg")` (or .png, .pdf) needs the package graphviz (extra `draw`) and Graphviz's program `dot`. In a
    notebook the graph shows itself: as SVG, and where that cannot be made as Mermaid. Of more than 500 nodes, which
    take long to draw, it says instead how many they are.
    """

    nodes: dict[str, Vertex] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    clusters: dict[str, Cluster] = field(default_factory=dict)

    def add(self, kind: str, name: str, lines: Iterable[str] = (), cluster: str | None = None) -> str:
        """Put a vertex in; its id."""
        key = f"n{len(self.nodes)}"
        self.nodes[key] = Vertex(kind, name, tuple(lines), cluster)
        return key

    def join(self, source: str, target: str, label: str = "") -> None:
        """Put an edge in."""
        self.edges.append(Edge(source, target, label))

    def frame(self, name: str, outer: str | None = None) -> str:
        """Put a cluster in; its id."""
        key = f"c{len(self.clusters)}"
        self.clusters[key] = Cluster(name, outer)
        return key

    # -- sources ------------------------------------------------------------------------------------------------------

    @property
    def dot(self) -> str:
        """The graph in Graphviz's language, from top to bottom."""
        font = f'fontname="Helvetica,Arial,sans-serif", fontcolor="{_INK}"'
        lines = [
            "digraph {",
            *(["  graph [nslimit=1, nslimit1=1]"] if len(self.nodes) > MANY else []),
            f"  graph [rankdir=TB, bgcolor=white, nodesep=0.25, ranksep=0.35, pad=0.1, fontsize=11, {font}]",
            f'  node [style="filled,rounded", shape=box, height=0.3, margin="0.12,0.06", fontsize=11, {font}]',
            f'  edge [color="{_LINE}", arrowsize=0.7, fontsize=9, fontname="Helvetica,Arial,sans-serif", '
            f'fontcolor="#4b5563"]',
        ]
        for depth, opens, key in self._nested():
            indent = "  " * (depth + 1)
            if key is None:
                lines.append(f"{indent}}}")
            elif opens:
                lines.append(f"{indent}subgraph cluster_{key} {{")
                lines.append(
                    f'{indent}  label={self._frame_label(key)}; labeljust=r; fontsize=9; style="rounded"; '
                    f'color="#aab2bf"; bgcolor="{_FRAME}"; margin=10'
                )
            else:
                lines.append(f"{indent}{key} [{self._dot_attributes(self.nodes[key])}]")
        for edge in self.edges:
            label = f" [label=<&nbsp;{html.escape(edge.label)}>]" if edge.label else ""
            lines.append(f"  {edge.source} -> {edge.target}{label}")
        return "\n".join([*lines, "}", ""])

    def _frame_label(self, key: str) -> str:
        """At the right, in two lines: edges come in across the middle of the frame."""
        name, *rest = self.clusters[key].name.split(": ")
        words = [f"<b>{html.escape(name)}</b>", *[html.escape(word) for word in rest]]
        return "<" + "".join(f'{word}&nbsp;<br align="right"/>' for word in words) + ">"

    def _dot_attributes(self, vertex: Vertex) -> str:
        fill, border, shape, *_ = _STYLES[vertex.kind]
        name, *rest = [html.escape(text) for text in (vertex.name, *vertex.lines)]
        label = "<br/>".join([f"<b>{name}</b>" if name else "", *[f'<font point-size="9">{t}</font>' for t in rest]])
        size = ", width=0.3, margin=0.02" if shape == "circle" else ""
        return f'label=<{label}>, shape={shape}, fillcolor="{fill}", color="{border}"{size}'

    @property
    def mermaid(self) -> str:
        """The graph in Mermaid's language."""
        lines = ["flowchart TD"]
        for depth, opens, key in self._nested():
            indent = "  " * (depth + 1)
            if key is None:
                lines.append(f"{indent}end")
            elif opens:
                lines.append(f'{indent}subgraph {key}["{_for_mermaid(self.clusters[key].name)}"]')
            else:
                vertex = self.nodes[key]
                *_, left, right = _STYLES[vertex.kind]
                text = "<br/>".join(_for_mermaid(t) for t in (vertex.name, *vertex.lines))
                lines.append(f'{indent}{key}{left}"{text}"{right}:::{vertex.kind}')
        for edge in self.edges:
            label = f'|"{_for_mermaid(edge.label)}"|' if edge.label else ""
            lines.append(f"  {edge.source} -->{label} {edge.target}")
        for kind in dict.fromkeys(v.kind for v in self.nodes.values()):
            fill, border, *_ = _STYLES[kind]
            lines.append(f"  classDef {kind} fill:{fill},stroke:{border},color:{_INK}")
        lines += [f"  style {key} fill:{_FRAME},stroke:#aab2bf,color:{_INK}" for key in self.clusters]
        return "\n".join([*lines, ""])

    def _nested(self) -> Iterator[tuple[int, bool, str | None]]:
        """(depth, whether a cluster opens, id of the cluster or vertex; None where a cluster ends), in their order."""
        inside: dict[str | None, list[tuple[bool, str]]] = {None: []}
        placed: set[str] = set()

        def place(cluster: str | None) -> None:
            chain = []
            while cluster is not None and cluster not in placed:
                chain.append(cluster)
                cluster = self.clusters[cluster].outer
            for key in reversed(chain):
                placed.add(key)
                inside[key] = []
                inside[self.clusters[key].outer].append((True, key))

        for key, vertex in self.nodes.items():
            place(vertex.cluster)
            inside[vertex.cluster].append((False, key))
        stack: list[Iterator[tuple[bool, str]]] = [iter(inside[None])]
        while stack:
            depth, found = len(stack) - 1, next(stack[-1], None)
            if found is None:
                stack.pop()
                if stack:
                    yield depth - 1, False, None
                continue
            opens, key = found
            yield depth, opens, key
            if opens:
                stack.append(iter(inside[key]))

    # -- pictures -----------------------------------------------------------------------------------------------------

    def render(self, path: str | os.PathLike[str], *, dpi: int = 150) -> str:
        """Write the picture to `path`, in the format of its suffix: .svg, .png, .pdf and what else `dot` knows.

        ImportError without the package graphviz, RuntimeError without Graphviz's `dot`; `dpi` is for bitmaps. Source
        alone goes to .dot, .gv and .mmd (Mermaid), without either.
        """
        path = os.fspath(path)
        suffix = os.path.splitext(path)[1].removeprefix(".").lower()
        if not suffix:
            raise ValueError(f"render: {path!r} has no suffix that says which format it is to have, such as .svg")
        if suffix in ("dot", "gv", "mmd"):
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.mermaid if suffix == "mmd" else self.dot)
            return path
        made = self.svg.encode() if suffix == "svg" else self._piped(suffix, dpi)
        with open(path, "wb") as file:
            file.write(made)
        return path

    def _piped(self, suffix: str, dpi: int = 96) -> bytes:
        try:
            import graphviz
        except ImportError:
            raise ImportError("drawing a graph needs the package graphviz: pip install 'chainrule[draw]'") from None
        if shutil.which("dot") is None:
            raise RuntimeError(
                "drawing a graph needs Graphviz's program `dot` (apt install graphviz, brew install graphviz); "
                "`Graph.mermaid` and `Graph.dot` are the sources"
            )
        laid: str = graphviz.Source(self.dot).pipe(format="dot", encoding="utf-8")
        options = "outputorder=edgesfirst" + ("" if suffix == "svg" else f", dpi={dpi}")
        source = self._names_last(laid).replace("graph [", f"graph [{options}, ", 1)
        made: Any = graphviz.Source(source, engine="neato").pipe(format=suffix, neato_no_op=2)
        return bytes(made)

    def _names_last(self, laid: str) -> str:
        """A graph with its layout, the names of frames as nodes: dot draws edges across a frame's label."""
        names: list[str] = []

        def taken(frame: re.Match[str]) -> str:
            before, key, rest, place = frame.groups()
            names.append(
                f'name_{key} [pos="{place}", label={self._frame_label(key)}, shape=plaintext, style=filled, '
                f'fillcolor="{_FRAME}", fontsize=9, margin=0, width=0, height=0]\n'
            )
            return before + rest

        frame = r'(subgraph cluster_(\w+) {\s+graph \[.*?)\blabel=<.*?>,(\s+labeljust=r.*?\blp="([^"]+)")'
        return "".join([re.sub(frame, taken, laid, flags=re.S).rstrip().removesuffix("}"), *names, "}\n"])

    @property
    def svg(self) -> str:
        """The picture as SVG; errors as for `render`."""
        # without dot's titles ("n0->n1"), which browsers show under the mouse
        return re.sub(r"<title>.*?</title>\n?", "", self._piped("svg").decode(), flags=re.S)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if len(self.nodes) > MANY:
            advice = 'level="block" has fewer; render("graph.svg") draws them all, which can take minutes'
            return {"text/plain": f"{self!r}, too many to be drawn unasked: {advice}"}
        try:
            return {"image/svg+xml": self.svg, "text/plain": repr(self)}
        except (ImportError, RuntimeError):
            return {"text/vnd.mermaid": self.mermaid, "text/plain": f"{self!r}\n{self.mermaid}"}

    def __repr__(self) -> str:
        return f"<graph of {len(self.nodes)} nodes and {len(self.edges)} edges>"


def _for_mermaid(text: str) -> str:
    """Text inside quotes: what Mermaid or HTML would read as its own, as entity codes."""
    codes = {
        "#": "#35;",
        '"': "#quot;",
        "<": "#lt;",
        ">": "#gt;",
        "&": "#amp;",
        "`": "#96;",
        "|": "#124;",
        "\\": "#92;",
    }
    return "".join(codes.get(c, c) for c in text)
