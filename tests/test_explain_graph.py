"""`draw_graph`: vertices and edges against what is written out by hand, sources that their programs accept."""

import re
import shutil
import sys
import xml.etree.ElementTree as ET

import pytest

import chainrule as cr
from chainrule import models, nn
from chainrule.explain import draw_graph
from chainrule.explain.diagram import Graph
from chainrule.models.resnet import BasicBlock
from chainrule.nn import functional as F
from chainrule.utils.checkpoint import checkpoint

pytestmark = pytest.mark.usefixtures("backend")
with_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def edges(graph):
    """(name, name, text) of each edge, sorted; a name that several vertices have gets a number from the second on."""
    names, taken = {}, {}
    for key, vertex in graph.nodes.items():
        taken[vertex.name] = taken.get(vertex.name, 0) + 1
        names[key] = vertex.name if taken[vertex.name] == 1 else f"{vertex.name}#{taken[vertex.name]}"
    return sorted((names[e.source], names[e.target], e.label) for e in graph.edges)


def drawn(graph):
    return sorted((v.kind, v.name, *v.lines) for v in graph.nodes.values())


# -- ops --------------------------------------------------------------------------------------------------------------


def test_ops_and_leaves():
    x, w = cr.ones(3, 4, requires_grad=True), cr.ones(5, 4, requires_grad=True)
    y = F.linear(x, w).tanh() * x.sum()
    graph = draw_graph(y.mean(), names={"x": x, "w": w})
    assert drawn(graph) == [
        ("activation", "tanh", "3×5"),
        ("input", "w", "5×4"),
        ("input", "x", "3×4"),
        ("linear", "linear", "3×5"),
        ("op", "mean", "number"),
        ("op", "mul", "3×5"),
        ("op", "sum", "number"),
        ("output", "output", "number"),
    ]
    assert edges(graph) == [
        *(("linear", "tanh", ""), ("mean", "output", ""), ("mul", "mean", ""), ("sum", "mul", "")),
        *(("tanh", "mul", ""), ("w", "linear", ""), ("x", "linear", ""), ("x", "sum", "")),
    ]


def test_a_value_used_twice_has_two_arrows_and_a_shared_leaf_is_one():
    x = cr.ones(2, requires_grad=True)
    assert edges(draw_graph(x * x)) == [("leaf", "mul", ""), ("leaf", "mul", ""), ("mul", "output", "")]
    layer = nn.Linear(2, 2, bias=False)
    graph = draw_graph(layer(layer(cr.ones(1, 2))), names=layer)
    assert edges(graph) == [
        *(("linear", "linear#2", ""), ("linear#2", "output", "")),
        *(("weight", "linear", ""), ("weight", "linear#2", "")),
    ]
    assert [v.kind for v in graph.nodes.values() if v.name == "weight"] == ["parameter"]


def test_several_results_and_several_outputs_of_an_op():
    x = cr.ones(4, 2, requires_grad=True)
    a, b = x.split(2)
    graph = draw_graph({"a": a.exp(), "b": [b, b.log()]})
    assert edges(graph) == [
        *(("exp", "output a", ""), ("leaf", "split", ""), ("log", "output b.1", "")),
        *(("split", "exp", ""), ("split", "log", ""), ("split", "output b.0", "")),
    ]


def test_in_place_ops_stand_where_they_happened():
    x = cr.ones(3, requires_grad=True)
    y = x * 2
    z = y.exp()
    y.add_(z)
    y[0] = z[1]
    assert edges(draw_graph(y)) == [
        *(("add", "index_put", ""), ("exp", "add", ""), ("exp", "slicing", ""), ("index_put", "output", "")),
        *(("leaf", "mul", ""), ("mul", "add", ""), ("mul", "exp", ""), ("slicing", "index_put", "")),
    ]


def test_what_is_not_recorded_is_not_drawn():
    x, w = cr.ones(2, requires_grad=True), cr.ones(2)
    with cr.no_grad():
        aside = (x * 3).exp()
    assert edges(draw_graph(x + w * aside)) == [("add", "output", ""), ("leaf", "add", "")]
    with pytest.raises(ValueError, match="nothing was recorded"):
        draw_graph(aside)
    leaf = draw_graph(x)
    assert edges(leaf) == [("leaf", "output", "")]


def test_ops_of_a_model_stand_in_the_frames_of_its_modules():
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2))).train()
    x = cr.ones(5, 3)
    graph = draw_graph(model, x, level="op", depth=2)
    assert {c.name for c in graph.clusters.values()} == {"0: Linear", "1: Sequential", "0: ReLU", "1: Linear"}
    inside = {
        (
            v.name,
            graph.clusters[v.cluster].name,
            getattr(graph.clusters.get(graph.clusters[v.cluster].outer), "name", ""),
        )
        for v in graph.nodes.values()
        if v.cluster
    }
    assert inside == {
        ("linear", "0: Linear", ""),
        ("relu", "0: ReLU", "1: Sequential"),
        ("linear", "1: Linear", "1: Sequential"),
    }
    assert ("input", "input", "5×3") in drawn(graph)
    assert ("parameter", "1.1.weight", "2×4") in drawn(graph)
    assert not any(v.kind == "parameter" for v in draw_graph(model, x, level="op", params=False).nodes.values())
    assert model.training
    assert all("_cr_hooks" not in vars(m) and p.requires_grad for m in model.modules() for p in m.parameters())
    assert not x.requires_grad


def test_each_call_of_a_module_is_a_frame_of_its_own():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleDict({"code": nn.Sequential(nn.Linear(3, 2), nn.ReLU()), "score": nn.Linear(2, 1)})

        def forward(self, a, pair):
            code = self.parts["code"]
            return self.parts["score"](code(a) + code(pair["b"]))

    inputs = (cr.ones(1, 3), {"b": cr.ones(1, 3)})
    graph = draw_graph(Pair(), inputs, level="op", depth=2)
    frames = [(c.name, graph.clusters[c.outer].name if c.outer else None) for c in graph.clusters.values()]
    code = [
        ("parts.code: Sequential", None),
        ("0: Linear", "parts.code: Sequential"),
        ("1: ReLU", "parts.code: Sequential"),
    ]
    assert frames == [*code, *code, ("parts.score: Linear", None)]  # the dict is not called
    assert [v.name for v in graph.nodes.values() if v.kind == "input"] == ["a", "pair"]
    assert [v.name for v in draw_graph(Pair(), inputs).nodes.values() if v.kind == "input"] == ["a", "pair"]


def test_a_model_may_change_its_input_in_place():
    class Adds(nn.Module):
        def forward(self, x, other):
            return x.add_(other).relu_()

    x = cr.ones(2, 3)
    graph = draw_graph(Adds(), (x, cr.ones(3)), level="op")
    assert edges(graph) == [("add", "relu", ""), ("other", "add", ""), ("relu", "output", ""), ("x", "add", "")]
    assert drawn(graph)[1:3] == [("input", "other", "3"), ("input", "x", "2×3")]
    assert edges(draw_graph(Adds(), (x, cr.ones(3)))) == sorted(
        [("x", "+", ""), ("other", "+", ""), ("+", "relu", "2×3"), ("relu", "output", "2×3")]
    )
    assert (x == 1).all()


def test_ten_thousand_ops_do_not_recurse():
    x = cr.ones(1, requires_grad=True)
    y = x
    for _ in range(10_000):
        y = y * 1.0
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        graph = draw_graph(y)
        assert graph.dot.count(" -> ") == graph.mermaid.count(" --> ") == 10_001
        assert "nslimit" in graph.dot
        ((kind, text),) = graph._repr_mimebundle_().items()  # a notebook need not wait for it
        assert kind == "text/plain"
        assert text.startswith("<graph of 10002 nodes and 10001 edges>, too many to be drawn unasked")
    finally:
        sys.setrecursionlimit(limit)


# -- blocks -----------------------------------------------------------------------------------------------------------


def test_a_residual_block():
    block = BasicBlock(4, 8, 2, nn.Sequential(nn.Conv2d(4, 8, 1, 2, bias=False), nn.BatchNorm2d(8)))
    graph = draw_graph(block, cr.zeros(1, 4, 6, 6))
    shape = "1×8×3×3"
    assert edges(graph) == sorted(
        [
            *(("x", "conv1", ""), ("conv1", "bn1", shape), ("bn1", "relu", shape), ("relu", "conv2", shape)),
            *(("conv2", "bn2", shape), ("bn2", "+", shape), ("x", "downsample", ""), ("downsample", "+", shape)),
            *(("+", "relu#2", shape), ("relu#2", "output", shape)),
        ]
    )
    assert drawn(graph) == sorted(
        [
            *(("input", "x", "1×4×6×6"), ("output", "output"), ("sign", "+")),
            *(("convolution", "conv1", "Conv2d 3×3, stride 2"), ("convolution", "conv2", "Conv2d 3×3")),
            *(("normalisation", "bn1", "BatchNorm2d"), ("normalisation", "bn2", "BatchNorm2d")),
            *(("activation", "relu", "ReLU"), ("activation", "relu", "ReLU"), ("module", "downsample", "Sequential")),
        ]
    )
    opened = draw_graph(block, cr.zeros(1, 4, 6, 6), depth=2)
    assert [c.name for c in opened.clusters.values()] == ["downsample: Sequential"]
    assert {("x", "0", ""), ("0", "1", shape), ("1", "+", shape)} <= set(edges(opened))
    identity = draw_graph(BasicBlock(4, 4), cr.zeros(1, 4, 6, 6))
    assert {("x", "+", ""), ("bn2", "+", "1×4×6×6")} <= set(edges(identity))


class Recorded(nn.Module):
    """What is easily missed: parts without gradients, in-place ops, modules that do nothing, detached values, slots."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.act, self.same, self.drop = nn.ReLU(inplace=True), nn.Identity(), nn.Dropout()
        self.place = nn.Parameter(cr.zeros(4))

    def forward(self, x):
        with cr.no_grad():
            h = self.act(self.a(x))
            h.add_(1)
        y = self.drop(self.same(h)) + self.place
        z = y.new_zeros(2, 8)
        z[:, :4] = y
        z[:, 4:] = self.b(y.detach()).relu_()
        return {"z": z, "h": h, "best": y.argmax(1)}


@pytest.mark.parametrize("frozen", [False, True])
def test_everything_that_ran_is_there(frozen):
    model = Recorded().requires_grad_(not frozen)
    graph = draw_graph(model, cr.zeros(2, 4))
    assert edges(graph) == sorted(
        [
            *(("x", "a", ""), ("a", "act", "2×4"), ("act", "+", "2×4"), ("+", "same", "2×4"), ("same", "drop", "2×4")),
            *(("drop", "+#2", "2×4"), ("place", "+#2", ""), ("+", "output h", "2×4")),
            *(("+#2", "argmax", "2×4"), ("argmax", "output best", "2")),
            *(("+#2", "b", "2×4"), ("b", "relu", "2×4"), ("+#2", "index_put", "2×4")),
            *(("relu", "index_put#2", "2×4"), ("index_put", "index_put#2", "2×8"), ("index_put#2", "output z", "2×8")),
        ]
    )
    assert ("parameter", "place", "4") in drawn(graph)
    assert ("drop", "+#2", "2×4") in edges(draw_graph(model, cr.zeros(2, 4), params=False))
    assert all(p.requires_grad is not frozen for p in model.parameters())


class Half(cr.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 0.5

    @staticmethod
    def backward(ctx, g):
        return g * 0.5


def test_functions_checkpoints_and_detached_values_are_no_gaps():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU())

        def forward(self, x):
            y = checkpoint(self.b, Half.apply(self.a(x)), use_reentrant=False)
            return y.exp() + y.detach().sin(), y.max().item()

    graph = draw_graph(Odd(), cr.zeros(2, 4))
    assert edges(graph) == sorted(
        [
            *(("x", "a", ""), ("a", "×", "2×4"), ("×", "b", "2×4"), ("b", "exp", "2×4"), ("b", "sin", "2×4")),
            *(("exp", "+", "2×4"), ("sin", "+", "2×4"), ("+", "output", "2×4")),
        ]
    )


def test_integers_in_and_shared_weights():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.step = nn.Embedding(5, 4), nn.Linear(4, 4)

        def forward(self, ids, *, start):
            return self.step(self.step(self.words(ids) + start) * 2)

    graph = draw_graph(Twice(), {"ids": cr.zeros(2, dtype=cr.int64), "start": cr.zeros(1, 4)})
    assert edges(graph) == sorted(
        [
            *(("ids", "words", ""), ("words", "+", "2×4"), ("start", "+", ""), ("+", "step", "2×4")),
            *(("step", "×", "2×4"), ("×", "step#2", "2×4"), ("step#2", "output", "2×4")),
        ]
    )
    assert [v.lines for v in graph.nodes.values() if v.name == "step"] == [
        ("Linear", "call 1 of 2, same weights"),
        ("Linear", "call 2 of 2, same weights"),
    ]


def test_depth_opens_frames():
    config = models.GPTConfig(vocab_size=9, block_size=4, n_layer=2, n_head=2, n_embd=8)
    gpt, ids = models.GPT(config), cr.zeros(1, 4, dtype=cr.int64)
    parts = "transformer."
    assert edges(draw_graph(gpt, ids)) == sorted(
        [
            *(("idx", f"{parts}wte", ""), (f"{parts}wte", "+", "1×4×8"), (f"{parts}wpe", "+", "4×8")),
            *(("+", f"{parts}drop", "1×4×8"), (f"{parts}drop", f"{parts}h.0", "1×4×8")),
            *((f"{parts}h.0", f"{parts}h.1", "1×4×8"), (f"{parts}h.1", f"{parts}ln_f", "1×4×8")),
            *((f"{parts}ln_f", "lm_head", "1×4×8"), ("lm_head", "output", "1×4×9")),
        ]
    )
    block = draw_graph(gpt.transformer.h[0], cr.zeros(1, 4, 8))
    assert edges(block) == sorted(
        [
            *(("x", "ln_1", ""), ("ln_1", "attn", "1×4×8"), ("attn", "attn.resid_dropout", "1×4×8")),
            *(("attn.resid_dropout", "+", "1×4×8"), ("x", "+", ""), ("+", "ln_2", "1×4×8")),
            *(("ln_2", "mlp", "1×4×8"), ("mlp", "+#2", "1×4×8"), ("+", "+#2", "1×4×8"), ("+#2", "output", "1×4×8")),
        ]
    )
    frames = draw_graph(gpt, ids, depth=3).clusters
    attn = [c for c in frames.values() if c.name == "attn: CausalSelfAttention"]
    assert [frames[c.outer].name for c in attn] == ["transformer.h.0: Block", "transformer.h.1: Block"]
    inside = draw_graph(gpt.transformer.h[0], cr.zeros(1, 4, 8), depth=2)
    assert ("attention", "scaled_dot_product_attention") in drawn(inside)


def test_shapes_for_inputs_and_every_depth():
    model = nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU())), nn.Linear(4, 2))
    for level in ("op", "block"):
        all_of_it = draw_graph(model, (5, 3), level=level, depth=None)
        given = draw_graph(model, cr.zeros(5, 3), level=level, depth=9)
        assert (all_of_it.nodes, all_of_it.edges, all_of_it.clusters) == (given.nodes, given.edges, given.clusters)
        inside = {"0: Sequential"} if level == "block" else {"0: Sequential", "0: Linear", "1: ReLU", "1: Linear"}
        assert {c.name for c in all_of_it.clusters.values()} == inside


def test_several_outputs_of_one_module():
    model = nn.LSTM(3, 2)
    outer = nn.Sequential(model)
    graph = draw_graph(outer, cr.zeros(4, 1, 3))
    assert edges(graph) == [
        ("0", "output 0", "4×1×2"),
        ("0", "output 1.0", "1×1×2"),
        ("0", "output 1.1", "1×1×2"),
        ("input", "0", ""),
    ]


def test_means_of_windows_and_resampling_are_called_so():
    class Pools(nn.Module):
        def forward(self, x):
            return F.interpolate(F.avg_pool2d(x, (2, 1)), scale_factor=(2, 3), mode="bilinear")

    graph = draw_graph(Pools(), cr.zeros(1, 1, 4, 4))
    assert edges(graph) == [
        ("avg_pool", "interpolate", "1×1×2×4"),
        ("interpolate", "output", "1×1×4×12"),
        ("x", "avg_pool", ""),
    ]
    assert {v.kind for v in graph.nodes.values()} == {"input", "pooling", "output"}
    x = cr.zeros(1, 1, 5, 5, requires_grad=True)
    calls = {
        "avg_pool": F.avg_pool2d(x, 2),
        "adaptive_avg_pool": F.adaptive_avg_pool2d(x, (2, 5)),
        "interpolate": F.interpolate(x, scale_factor=2, mode="bicubic"),
        "pad": F.pad(x, (1, 1, 1, 1), mode="reflect"),
    }
    for name, y in calls.items():
        assert edges(draw_graph(y)) == sorted([("leaf", name, ""), (name, "output", "")])
        assert y.grad_fn.title == name
        (g,) = cr.autograd.grad(y.square().sum(), x, create_graph=True)
        assert f"{name}_backward" in {v.name for v in draw_graph(g).nodes.values()}
    with cr.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        packed = F.avg_pool2d(x, 2)
    y = calls["avg_pool"].sum()
    y.backward()
    assert edges(draw_graph(calls["avg_pool"])) == [("avg_pool", "output", ""), ("leaf", "avg_pool", "")]
    # what a node keeps says how it is called: with it the name goes
    assert edges(draw_graph(packed)) == [("axis_map", "output", ""), ("leaf", "axis_map", "")]


def test_training_and_randomness():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)).train()
    state, running = cr.get_rng_state(), model[1].running_mean.clone()
    names = {v.name for v in draw_graph(model, cr.ones(4, 3), level="op", training=True, depth=0).nodes.values()}
    assert "dropout" in str(names)
    assert cr.equal(cr.get_rng_state(), state)
    assert cr.equal(model[1].running_mean, running)
    assert "dropout" not in str([v.name for v in draw_graph(model, cr.ones(4, 3), level="op").nodes.values()])


def test_what_is_refused():
    model = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="expected tensors or a Module, not str"):
        draw_graph("model")
    with pytest.raises(ValueError, match="give its inputs"):
        draw_graph(model)
    with pytest.raises(ValueError, match="not 'module'"):
        draw_graph(model, cr.ones(1, 2), level="module")
    with pytest.raises(ValueError, match="for blocks give the model"):
        draw_graph(model(cr.ones(1, 2)), level="block")
    with pytest.raises(RuntimeError, match="linear"):
        draw_graph(model, cr.ones(1, 3))
    assert "_cr_hooks" not in vars(model)


# -- sources and pictures ---------------------------------------------------------------------------------------------

NASTY = 'a "b" [c] {d} <e> & #1; `f` |g| \\n (h)'


def nasty():
    graph = Graph()
    frame = graph.frame(NASTY)
    first = graph.add("input", NASTY, [NASTY], frame)
    graph.join(first, graph.add("sign", "+"), NASTY)
    return graph


def test_mermaid_s_texts_are_escaped():
    source = nasty().mermaid
    lines = source.splitlines()
    assert lines[0] == "flowchart TD"
    quoted = re.findall(r'"([^"]*)"', source)
    assert len(quoted) == 4  # frame, vertex, sign, edge: no quote inside them

    def read(text):
        codes = {"quot": '"', "lt": "<", "gt": ">", "amp": "&", "96": "`", "124": "|", "92": "\\", "35": "#"}
        return re.sub(r"#(\w+);", lambda m: codes[m[1]], text.replace("<br/>", "\n"))

    assert [read(t) for t in quoted] == [NASTY, f"{NASTY}\n{NASTY}", "+", NASTY]
    assert not set("<>`|&\\") & set("".join(quoted).replace("<br/>", ""))
    assert lines[1].startswith("  subgraph c0[")
    assert lines[3] == "  end"
    assert re.fullmatch(r'    n0\("[^"]*"\):::input', lines[2])
    assert re.fullmatch(r'  n0 -->\|"[^"]*"\| n1', lines[5])
    assert [" ".join(line.split()[:2]) for line in lines[6:]] == ["classDef input", "classDef sign", "style c0"]


@with_dot
def test_dot_s_texts_are_escaped(tmp_path):
    pytest.importorskip("graphviz")
    svg = ET.fromstring(nasty().svg)
    texts = ["".join(t.itertext()).replace("\xa0", " ").strip() for t in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(filter(None, texts)) == sorted([NASTY, NASTY, NASTY, NASTY, "+"])


@with_dot
def test_pictures(tmp_path):
    pytest.importorskip("graphviz")
    model, x = models.LeNet5(), cr.zeros(1, 1, 32, 32)
    for level in ("op", "block"):
        graph = draw_graph(model, x, level=level, depth=2)
        svg = ET.fromstring(graph.svg)
        groups = [g.get("class") for g in svg.iter("{http://www.w3.org/2000/svg}g")]
        assert groups.count("node") == len(graph.nodes) + len(graph.clusters)  # a frame's name is one, too
        assert groups.count("edge") == len(graph.edges)
        assert groups.count("cluster") == len(graph.clusters) > 0
        assert not list(svg.iter("{http://www.w3.org/2000/svg}title"))
        over = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")]
        assert over.count("features") == 1
        assert over.count("Sequential\xa0") == 2
        drawn_last = [g for g in svg.iter("{http://www.w3.org/2000/svg}g") if g.get("class")][-len(graph.clusters) :]
        for group in drawn_last:  # over the edges that pass, on the frame's colour
            fill, *texts = [element for element in group if element.tag.endswith(("polygon", "text"))]
            assert fill.get("fill") == "#fafbfc"
            assert texts[0].text in {c.name.split(": ")[0] for c in graph.clusters.values()}
        bundle = graph._repr_mimebundle_()
        assert bundle["image/svg+xml"].lstrip().startswith("<?xml")
        assert bundle["text/plain"] == f"<graph of {len(graph.nodes)} nodes and {len(graph.edges)} edges>"
    path = graph.render(tmp_path / "model.png", dpi=50)
    assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")
    assert path == str(tmp_path / "model.png")


def test_sources_are_written_without_dot(tmp_path, monkeypatch):
    graph = draw_graph(nn.Sequential(nn.Linear(2, 2)), cr.zeros(1, 2))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    graph.render(tmp_path / "model.mmd")
    assert (tmp_path / "model.mmd").read_text() == graph.mermaid
    graph.render(tmp_path / "model.dot")
    assert (tmp_path / "model.dot").read_text() == graph.dot
    with pytest.raises(ValueError, match="no suffix"):
        graph.render(tmp_path / "model")


@pytest.mark.parametrize("missing", ["graphviz", "dot"])
def test_without_graphviz_a_notebook_shows_mermaid(missing, monkeypatch, tmp_path):
    graph = draw_graph(nn.Sequential(nn.Linear(2, 2)), cr.zeros(1, 2))
    if missing == "graphviz":
        monkeypatch.setitem(sys.modules, "graphviz", None)
        expected = pytest.raises(ImportError, match=r"chainrule\[draw\]")
    else:
        monkeypatch.setattr(shutil, "which", lambda name: None)
        pytest.importorskip("graphviz")
        expected = pytest.raises(RuntimeError, match="program `dot`")
    with expected:
        graph.render(tmp_path / "model.svg")
    bundle = graph._repr_mimebundle_()
    assert bundle["text/vnd.mermaid"] == graph.mermaid
    assert graph.mermaid in bundle["text/plain"]
