"""explain.plots: what is drawn are the given values, with the limits, titles and labels that belong to them."""

import subprocess
import sys

import numpy as np
import pytest
from digits_network import data, trained

import chainrule as cr
from chainrule import explain
from chainrule.explain import plots
from chainrule.testing import assert_close
from chainrule.utils.history import History

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.text import Text  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    cr.manual_seed(0)


def panels(figure):
    """The axes of a figure that are no colour bars, from top left to bottom right."""
    return [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]


def bars(figure):
    return [axis for axis in figure.axes if axis.get_label() == "<colorbar>"]


def drawn(axis, place=0):
    """(the values of an image in the axes, its limits)."""
    image = axis.images[place]
    return np.asarray(image.get_array()), image.get_clim()


def same(got, want):
    np.testing.assert_allclose(got, want.detach().cpu().numpy() if isinstance(want, cr.Tensor) else want, rtol=1e-6)


def titles(figure):
    return [axis.get_title(loc) for axis in panels(figure) for loc in ("left", "center") if axis.get_title(loc)]


def painted(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


# -- all of them ------------------------------------------------------------------------------------------------------


def history(layers=3, steps=4, scale=1.0, **logged):
    """A record: gradients 1, 10, 100 (times scale) by layer, updates a thousandth, a rectifier that dies by and by."""
    record = History(steps=steps)
    for name, values in ({"loss": [2.0, 1.5, 1.2, 1.0]} | logged).items():
        for step, value in enumerate(values):
            record.values.add(name, step, value)
    for step in range(0, steps, 2):
        for i in range(layers):
            record.gradients.add(f"{2 * i}.weight", step, scale * 10.0**i)
            record.gradients.add(f"{2 * i}.bias", step, 5.0)
            record.ratios.add(f"{2 * i}.weight", step, scale / 1000)
        record.dead.add("1", step, 2 * step)
        record.units.add("1", step, 8)
    return record


def everything():
    """A picture by each function, of tensors: {name: figure}."""
    x = cr.rand(3, 1, 6, 6)
    grid = cr.linspace(-1, 1, 8)
    return {
        "activations": lambda: plots.activations({"a": cr.randn(2, 4, 5, 5), "b": cr.rand(2, 7)}),
        "attack": lambda: plots.attack(x, x + 0.1 * cr.randn(3, 1, 6, 6), cr.randn(3, 4), cr.randn(3, 4)),
        "attention": lambda: plots.attention(cr.rand(3, 4, 4), ["a", "$b", "c_", "d^"]),
        "codes": lambda: plots.codes(cr.randn(9, 2), cr.arange(9) % 3),
        "confusion": lambda: plots.confusion(cr.tensor([[3, 1], [0, 2]]), ["$", "dog"]),
        "curves": lambda: plots.curves({"a": cr.rand(5), "b": [1.0, 2.0]}),
        "decision": lambda: plots.decision(
            grid, grid, cr.randn(8, 8, 3), points=cr.randn(4, 2), classes=cr.arange(4) % 3
        ),
        "gallery": lambda: plots.gallery(cr.randn(5, 4, 4)),
        "heatmap": lambda: plots.heatmap(cr.randn(3, 3), x[0], label="weight"),
        "image": lambda: plots.image(cr.rand(3, 4, 5)),
        "images": lambda: plots.images(x, ["a", "b", "c"]),
        "kernels": lambda: plots.kernels(cr.randn(4, 3, 3, 3)),
        "octaves": lambda: plots.octaves([cr.rand(3, 4, 4), cr.rand(3, 6, 6)]),
        "overlays": lambda: plots.overlays(x, cr.rand(3, 2, 2)),
        "rows": lambda: plots.rows({"first": x, "a longer name": cr.randn(2, 1, 6, 6)}, ["a", "b", "c"], title="all"),
        "saliency": lambda: plots.saliency(
            x, {"one": cr.rand(3, 1, 6, 6), "integrated gradients": cr.randn(3, 6, 6)}, size=0.6
        ),
        "training": lambda: plots.training({"$a": history(), "a longer name of a run": history(2)}, title="runs"),
    }


def test_every_function_is_tried():
    assert sorted(everything()) == sorted(plots.__all__)


@pytest.mark.parametrize("name", plots.__all__)
def test_a_figure_of_its_own_and_nothing_left(name):
    before = dict(matplotlib.rcParams)
    figure = everything()[name]()
    assert type(figure) is Figure
    assert np.asarray(painted(figure).buffer_rgba()).std() > 0
    assert dict(matplotlib.rcParams) == before
    assert figure._repr_png_().startswith(b"\x89PNG")
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


@pytest.mark.parametrize("name", plots.__all__)
def test_nothing_is_written_over_anything(name, monkeypatch):
    figure, written, draw = everything()[name](), {}, Text.draw

    def noted(text, renderer):
        if text.get_visible() and text.get_text().strip():
            written[text] = text.get_window_extent(renderer)
        draw(text, renderer)

    painted(figure)  # the first time lays out
    monkeypatch.setattr(Text, "draw", noted)
    painted(figure)
    assert written or name == "image"
    inside, several = figure.bbox.padded(1), list(written.items())
    for i, (text, a) in enumerate(several):
        assert inside.x0 <= a.x0 <= a.x1 <= inside.x1, text
        assert inside.y0 <= a.y0 <= a.y1 <= inside.y1, text
        for other, b in several[i + 1 :]:
            apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
            assert apart, (text, other)


def test_a_notebook_shows_it_with_the_dots_it_has():
    figure = plots.image(cr.rand(4, 4))
    figure.set_dpi(50)
    width, height = (int.from_bytes(figure._repr_png_()[i : i + 4], "big") for i in (16, 20))
    assert (width, height) == tuple((figure.get_size_inches() * 50).astype(int))


def test_pyplot_and_show_are_not_touched():
    code = (
        "import sys, chainrule as cr, chainrule.explain\n"
        "assert not {'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "from chainrule.explain import plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plots.heatmap(cr.rand(3, 3), cr.rand(1, 6, 6)).savefig(sys.stdout.buffer)\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout.startswith(b"\x89PNG")


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'chainrule\[explain\]'"):
        plots.image(cr.rand(4, 4))


def test_drawn_into_what_is_there():
    whole = Figure(layout="constrained")
    left, right = whole.subfigures(1, 2)
    axes = left.subplots(1, 2)
    assert plots.heatmap(cr.rand(3, 3), axes=axes[0]) is whole
    assert plots.codes(cr.rand(3, 2), axes=axes[1]) is whole
    assert plots.images(cr.rand(2, 1, 3, 3), figure=right) is whole
    assert len(axes[0].images) == len(axes[1].collections) == 1
    assert [len(axis.images) for axis in right.axes] == [1, 1]
    assert not hasattr(whole, "_repr_png_")


# -- images -----------------------------------------------------------------------------------------------------------


def test_an_image_as_it_is():
    gray, colours = cr.rand(1, 4, 6), cr.rand(3, 4, 6)
    (axis,) = panels(plots.image(gray, title="$5_"))
    values, limits = drawn(axis)
    same(values, gray[0])
    assert limits == (0, 1)
    assert axis.images[0].get_cmap().name == "gray"
    assert axis.get_title("left") == "$5_"
    same(drawn(panels(plots.image(colours[None]))[0])[0], colours.permute(1, 2, 0))
    assert len(axis.get_xticks()) == len(axis.get_yticks()) == 0


def test_images_share_their_limits():
    x = cr.tensor([[[[-2.0, 0]]], [[[1, 6]]]])
    figure = plots.images(x, titles=["a", "b"])
    for axis, want in zip(panels(figure), x[:, 0]):
        values, limits = drawn(axis)
        same(values, want)
        assert limits == (-2, 6)
    assert titles(figure) == ["a", "b"]
    assert drawn(panels(plots.images(x, limits=(0, 2)))[0])[1] == (0, 2)
    colours = cr.tensor([-2.0, 6, 2]).reshape(1, 3, 1, 1)
    assert drawn(panels(plots.images(colours))[0])[0].tolist() == [[[0, 1, 0.5]]]
    assert drawn(panels(plots.images(np.full((1, 1, 2, 2), 7, np.uint8)))[0])[1] == (0, 255)


def test_images_in_rows():
    figure = plots.images(cr.rand(5, 1, 3, 3), columns=3)
    assert [len(axis.images) for axis in panels(figure)] == [1, 1, 1, 1, 1, 0]
    assert panels(figure)[0].get_gridspec().get_geometry() == (2, 3)


def test_rows_of_images():
    a, b = cr.rand(2, 1, 3, 3), [cr.tensor([[-1.0, 3.0]])]
    figure = plots.rows({"first": a, "$second": b}, ["x", "$y"])
    found = panels(figure)
    for axis, want in zip(found, (*a[:, 0], *b)):
        same(drawn(axis)[0], want)
    assert [drawn(axis)[1] for axis in found[:3]] == [(0, 1), (0, 1), (-1, 3)]
    assert not found[3].images
    assert titles(figure) == ["x", "$y"]
    assert [found[0].get_ylabel(), found[2].get_ylabel()] == ["first", "$second"]
    with pytest.raises(ValueError, match="no row to draw"):
        plots.rows({})


def test_rows_with_titles_of_panels():
    rows = {"first": cr.rand(2, 1, 3, 3), "second": cr.rand(1, 1, 3, 3), "third": cr.rand(2, 1, 3, 3)}
    found = panels(plots.rows(rows, {"second": ["7"], "third": ["x", "y"]}))
    assert [axis.get_title("center") for axis in found] == ["", "", "7", "", "x", "y"]
    with pytest.raises(ValueError, match="2 titles for 1 panels"):
        plots.rows(rows, {"second": ["7", "8"]})
    with pytest.raises(ValueError, match=r"titles of the rows \['2'\]; the rows are"):
        plots.rows(rows, {"2": ["7"]})


@pytest.mark.parametrize(("pixels", "want"), [(8, "nearest"), (120, "nearest"), (240, "auto"), (400, "auto")])
def test_pixels_stay_pixels_where_they_are_enlarged(pixels, want):
    """A panel of 1.5 inches at 130 dots per inch has 195 of them."""
    x = cr.rand(2, 1, pixels, pixels)
    for figure in (plots.images(x, size=1.5), plots.rows({"a": x}, size=1.5), plots.saliency(x, x, size=1.5)):
        painted(figure)
        for axis in panels(figure):
            assert axis.images[0].get_interpolation() == want
            assert (axis.get_window_extent().width > pixels) == (want == "nearest")
    axis = Figure(dpi=100).add_axes((0, 0, 0.5, 0.5))  # 320 by 240 dots, outside of a grid
    plots.image(cr.rand(pixels, pixels), axes=axis)
    assert axis.images[0].get_interpolation() == ("nearest" if pixels < 240 else "auto")


def test_octaves_at_one_scale():
    x = [cr.rand(1, n, 2 * n) for n in (4, 6, 9)]
    figure = plots.octaves(x)
    painted(figure)
    widths = [axis.get_window_extent().width / image.shape[2] for axis, image in zip(panels(figure), x)]
    assert max(widths) / min(widths) < 1.02
    assert titles(figure) == ["8 × 4", "12 × 6", "18 × 9"]


@pytest.mark.parametrize("shape", [(2, 4, 4), (4,), (2, 5, 4, 4), (2, 2, 2, 2, 2)])
def test_no_image(shape):
    with pytest.raises(ValueError, match=r"an image has shape"):
        plots.images(cr.ones(shape))


def test_errors_of_images():
    with pytest.raises(ValueError, match="2 titles for 3 panels"):
        plots.images(cr.ones(3, 1, 2, 2), ["a", "b"])
    with pytest.raises(ValueError, match="no image to draw"):
        plots.images(cr.ones(0, 1, 2, 2))


# -- heat maps --------------------------------------------------------------------------------------------------------


def test_heat_maps_have_limits_by_their_sign():
    signed, plain = cr.tensor([[0.5, -2.0]]), cr.tensor([[0.5, 2.0]])
    figure = plots.heatmap(signed, title="map", label="gradient")
    values, limits = drawn(panels(figure)[0])
    same(values, signed)
    assert limits == (-2, 2)
    assert panels(figure)[0].images[0].get_cmap().name == "RdBu_r"
    assert titles(figure) == ["map"]
    assert bars(figure)[0].get_ylabel() == "gradient"
    assert drawn(panels(plots.heatmap(plain))[0])[1] == (0, 2)
    assert drawn(panels(plots.heatmap(cr.zeros(2, 2)))[0])[1] == (0, 1)
    many = cr.cat([cr.ones(99), cr.tensor([100.0])]).reshape(10, 10)
    assert drawn(panels(plots.heatmap(many, percentile=90))[0])[1] == (0, 1)


def test_heat_maps_put_channels_together():
    x = cr.tensor([[[1.0, 2]], [[3, 0]]])
    same(drawn(panels(plots.heatmap(x))[0])[0], [[3, 2]])
    same(drawn(panels(plots.heatmap(x - 1))[0])[0], [[2, 0]])
    with pytest.raises(ValueError, match=r"\(H, W\) or \(C, H, W\), not \(4,\)"):
        plots.heatmap(cr.ones(4))


def test_a_heat_map_covers_the_image_by_its_size():
    image, heat = cr.rand(1, 6, 6), cr.tensor([[0.0, 1.0], [-2.0, 4.0]])
    figure = plots.heatmap(heat, image)
    below, above = panels(figure)[0].images
    same(below.get_array(), image[0])
    same(above.get_array(), heat)
    assert above.get_extent() == below.get_extent()  # stretched over it
    same(above.get_alpha(), [[0, 0.2], [0.4, 0.8]])
    assert above.get_clim() == (-4, 4)
    colours = above.to_rgba(np.array([-3.0, 3.0]))
    assert colours[0, 2] > colours[0, 0]  # blue below 0
    assert colours[1, 0] > colours[1, 2]  # red above
    assert bars(figure)[0].get_ylim() == (-4, 4)


def test_overlays_share_their_limits():
    images, heats = cr.rand(2, 3, 4, 4), cr.tensor([[[1.0]], [[3.0]]])
    figure = plots.overlays(images, heats, ["a", "b"], label="drop")
    assert [len(axis.images) for axis in panels(figure)] == [1, 1, 2, 2]
    for axis, heat in zip(panels(figure)[2:], heats):
        values, limits = drawn(axis, 1)
        same(values, heat)
        assert limits == (0, 3)
    assert bars(figure)[0].get_ylabel() == "drop"
    assert titles(figure) == ["a", "b"]
    with pytest.raises(ValueError, match="3 heat maps for 2 images"):
        plots.overlays(images, cr.ones(3, 2, 2))


def test_saliency_rows_and_columns():
    x, g = cr.rand(2, 1, 3, 3), cr.randn(2, 1, 3, 3)
    figure = plots.saliency(x, {"size": g.abs(), "gradient": g}, ["first", "second"])
    found = panels(figure)
    assert titles(figure) == ["input", "size", "gradient"]
    assert [found[0].get_ylabel(), found[3].get_ylabel()] == ["first", "second"]
    for i in range(2):
        for axis, want in zip(found[3 * i : 3 * i + 3], (x[i, 0], g[i, 0].abs(), g[i, 0])):
            same(drawn(axis)[0], want)
        top = float(g[i].abs().max())
        assert drawn(found[3 * i + 1])[1] == (0, pytest.approx(top))
        assert drawn(found[3 * i + 2])[1] == (pytest.approx(-top), pytest.approx(top))
    assert titles(plots.saliency(x, g)) == ["input", "map"]


def test_saliency_has_room_for_the_names_of_methods():
    x = cr.rand(1, 1, 3, 3)
    figure = plots.saliency(x, {"integrated gradients": x, "guided backpropagation": x}, size=0.5)
    assert titles(figure) == ["input", "integrated\ngradients", "guided\nbackpropagation"]
    assert titles(plots.saliency(x, {"integrated gradients": x}, size=1.5))[1] == "integrated gradients"


# -- layers -----------------------------------------------------------------------------------------------------------


def test_gallery_and_its_limits():
    x = cr.tensor([[[1.0, -1]], [[3, 0]], [[0, 0.5]]])
    figure = plots.gallery(x, label="activation")
    for axis, want in zip(panels(figure), x):
        values, limits = drawn(axis)
        same(values, want)
        assert limits == (-3, 3)
    assert titles(figure) == ["0", "1", "2"]
    assert bars(figure)[0].get_ylabel() == "activation"
    each = plots.gallery(x[:, None], shared=False)
    assert [drawn(axis)[1] for axis in panels(each)] == [(-1, 1), (0, 3), (0, 0.5)]
    assert not bars(each)
    with pytest.raises(ValueError, match=r"not \(2, 3, 4, 4\)"):
        plots.gallery(cr.ones(2, 3, 4, 4))


def test_kernels_of_one_and_three_channels():
    weight = cr.randn(4, 1, 3, 3)
    figure = plots.kernels(weight)
    top = float(weight.abs().max())
    assert drawn(panels(figure)[2])[1] == (pytest.approx(-top), pytest.approx(top))
    same(drawn(panels(figure)[2])[0], weight[2, 0])
    colours = cr.tensor([[[[2.0]], [[0.0]], [[-4.0]]]])
    assert drawn(panels(plots.kernels(colours))[0])[0].tolist() == [[[0.75, 0.5, 0]]]
    with pytest.raises(ValueError, match=r"\(4, 2, 3, 3\) is neither: take weight"):
        plots.kernels(cr.ones(4, 2, 3, 3))


def test_activations_by_layer():
    model, x = trained(), data()[1][0][:2]
    found = explain.activations(model, x, ["conv1", "relu2", "fc2"])
    figure = plots.activations(found, 1, maps=3)
    rows = panels(figure)
    assert len(rows) == 3 + 3 + 1
    for axis, want in zip(rows, [*found["conv1"][1][:3], *found["relu2"][1][:3], found["fc2"][1:]]):
        same(drawn(axis)[0], want)
    top = float(found["conv1"][1].abs().max())
    assert drawn(rows[0])[1] == (pytest.approx(-top), pytest.approx(top))
    assert drawn(rows[3])[1] == (0, pytest.approx(float(found["relu2"][1].max())))
    assert rows[0].get_ylabel() == "conv1\n16 × 8 × 8"
    assert rows[6].get_ylabel() == "fc2\n10"
    with pytest.raises(ValueError, match="no activation of shape"):
        plots.activations({"a": cr.ones(3)})


def test_attention_with_tokens():
    weights, tokens = cr.rand(2, 3, 3).softmax(-1), ["the", "$x", "_"]
    figure = plots.attention(weights, tokens)
    for axis, want in zip(panels(figure), weights):
        values, limits = drawn(axis)
        same(values, want)
        assert limits == (0, pytest.approx(float(weights.max())))
        assert [t.get_text() for t in axis.get_xticklabels()] == tokens
    assert [t.get_text() for t in panels(figure)[0].get_yticklabels()] == tokens
    assert titles(figure) == ["head 0", "head 1"]
    assert panels(figure)[0].get_xlabel() == "key"
    assert panels(figure)[0].get_ylabel() == "query"
    (axis,) = panels(plots.attention(cr.rand(2, 4), ["a", "b"], list("wxyz")))
    assert [t.get_text() for t in axis.get_xticklabels()] == list("wxyz")
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b"]
    assert len(panels(plots.attention(cr.rand(1, 5, 3, 3)))) == 5 + 3  # with the places that are left
    with pytest.raises(ValueError, match=r"2 tokens for attention of shape \(3, 3\)"):
        plots.attention(weights, ["a", "b"])
    with pytest.raises(ValueError, match=r"\(heads, T, S\), not \(2, 1, 3, 3\); take one sample"):
        plots.attention(cr.ones(2, 1, 3, 3))


# -- codes and classes ------------------------------------------------------------------------------------------------


def test_codes_by_class():
    points, classes = cr.randn(6, 2), cr.tensor([0, 2, 0, 2, 2, 5])
    (axis,) = panels(plots.codes(points, classes, title="PCA"))
    legend = [t.get_text() for t in axis.get_legend().get_texts()]
    assert legend == ["0", "2", "5"]
    for group, k in zip(axis.collections, (0, 2, 5)):
        same(group.get_offsets(), points[classes == k])
    assert len({tuple(group.get_facecolor()[0]) for group in axis.collections}) == 3
    (named,) = panels(plots.codes(points, classes, names=list("abcdef")))
    assert [t.get_text() for t in named.get_legend().get_texts()] == ["a", "c", "f"]
    (plain,) = panels(plots.codes(points))
    same(plain.collections[0].get_offsets(), points)
    with pytest.raises(ValueError, match="5 classes for 6 points"):
        plots.codes(points, classes[:5])
    with pytest.raises(ValueError, match=r"not \(6, 3\): pca"):
        plots.codes(cr.ones(6, 3))


def test_confusion_shades_and_counts():
    matrix = cr.tensor([[3, 1, 0], [0, 2, 2], [0, 0, 0]])
    figure = plots.confusion(matrix, ["cat", "dog", "owl"])
    (axis,) = panels(figure)
    same(drawn(axis)[0], [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 0]])
    assert {(t.get_position(), t.get_text()) for t in axis.texts} == {
        ((0, 0), "3"),
        ((1, 0), "1"),
        ((1, 1), "2"),
        ((2, 1), "2"),
    }
    assert titles(figure) == ["5 of 8 right"]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["cat", "dog", "owl"]
    assert not panels(plots.confusion(cr.eye(25)))[0].texts
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("answer", "class")
    with pytest.raises(ValueError, match=r"square, \(K, K\), not \(2, 3\)"):
        plots.confusion(cr.ones(2, 3))


def contours(axis):
    return np.concatenate(
        [p for c in axis.collections if hasattr(c, "levels") for p in c.get_paths()[0].to_polygons(closed_only=False)]
    )


def test_decision_of_classes_and_its_boundary():
    xs, ys = cr.linspace(-2, 2, 21), cr.linspace(-1, 1, 11)
    scores = cr.stack([xs.expand(11, 21), 2 * ys[:, None].expand(11, 21)], 2)
    points, classes = cr.tensor([[1.0, 0.5], [-1.0, 0.5], [0.0, 0.9]]), cr.tensor([0, 1, 1])
    (axis,) = panels(plots.decision(xs, ys, scores, points=points, classes=classes, names=["x", "y"]))
    same(drawn(axis)[0], scores.argmax(2))
    x0, x1, y0, y1 = axis.images[0].get_extent()
    assert (x0, x1, y0, y1) == pytest.approx((-2.1, 2.1, -1.1, 1.1))  # the points are the cells' middles
    line = contours(axis)
    assert abs(line[:, 0] - 2 * line[:, 1]).max() < 1e-5  # where x = 2 y
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["x", "y"]
    assert np.ptp(line[:, 1]) > 1.5


def test_decision_of_one_score():
    xs = ys = cr.linspace(0, 1, 11)
    scores = xs.expand(11, 11)
    for given in (scores, scores[..., None]):
        figure = plots.decision(xs, ys, given, threshold=0.5, points=cr.rand(4, 2), classes=cr.tensor([0, 1, 1, 0]))
        axis = panels(figure)[0]
        same(drawn(axis)[0], scores)
        assert drawn(axis)[1] == (0, 1)  # symmetric around the threshold
        assert abs(contours(axis)[:, 0] - 0.5).max() < 1e-6
    with pytest.raises(ValueError, match="do not fit a grid of 11 by 11"):
        plots.decision(xs, ys, cr.ones(11, 10))


def test_a_trained_boundary_from_grid_to_picture():
    model = cr.nn.Linear(2, 3)
    found = explain.decision_grid(model, ((-1, 1), (-2, 2)), 30)
    (axis,) = panels(plots.decision(*found))
    same(drawn(axis)[0], found[2].argmax(2))
    assert axis.images[0].origin == "lower"


# -- attacks and curves -----------------------------------------------------------------------------------------------


def test_attack_before_difference_after():
    before = cr.rand(2, 1, 3, 3)
    after = before.clone()
    after[0, 0, 1, 1] -= 0.25
    told = cr.tensor([[0.1, 0.9], [0.8, 0.2]]), cr.tensor([[0.7, 0.3], [0.6, 0.4]])
    figure = plots.attack(before, after, *told, names=["cat", "$dog"], limits=(0, 1))
    found = panels(figure)
    for i in range(2):
        for axis, want in zip(found[3 * i :], (before[i, 0], after[i, 0] - before[i, 0], after[i, 0])):
            same(drawn(axis)[0], want)
    assert drawn(found[1])[1] == (pytest.approx(-0.25), pytest.approx(0.25))
    assert titles(figure) == [
        "before\n$dog, 90%",
        "difference\nup to 0.25",
        "after\ncat, 70%",
        "before\ncat, 80%",
        "difference\nup to 0",
        "after\ncat, 60%",
    ]
    assert found[2].title.get_color() == plots.panels.RED  # another answer
    assert found[5].title.get_color() == plots.panels.INK
    logits = cr.tensor([[0.0, 0.0, 10.0]] * 2)
    assert titles(plots.attack(before, after, logits))[0] == "before\n2, 100%"
    assert titles(plots.attack(before, after))[::2][:2] == ["before", "after"]
    with pytest.raises(ValueError, match="2 images before the attack and 1 after"):
        plots.attack(before, after[:1])
    with pytest.raises(ValueError, match=r"scores of shape \(3, 2\) for 2 images"):
        plots.attack(before, after, cr.ones(3, 2))


def test_attack_of_colours_shows_no_change_gray():
    x = cr.rand(1, 3, 2, 2)
    middle = panels(plots.attack(x, x))[1]
    assert (drawn(middle)[0] == 0.5).all()


def test_curves():
    (axis,) = panels(plots.curves({"loss": cr.tensor([3.0, 2, 1]), "tv": [1, 2]}, ylabel="value", log=True))
    same(axis.lines[0].get_xydata(), [[0, 3], [1, 2], [2, 1]])
    same(axis.lines[1].get_xydata(), [[0, 1], [1, 2]])
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["loss", "tv"]
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_yscale()) == ("step", "value", "log")
    (plain,) = panels(plots.curves([3, 4], x=[10, 20], xlabel="epoch"))
    same(plain.lines[0].get_xydata(), [[10, 3], [20, 4]])
    assert plain.get_legend() is None
    with pytest.raises(ValueError, match=r"not of shape \(2, 2\)"):
        plots.curves(cr.ones(2, 2))


def test_gradients_and_parameters_are_drawn():
    model = trained()
    same(drawn(panels(plots.kernels(model.conv1.weight))[0])[0], model.conv1.weight[0, 0])
    x = data()[1][0][:1].clone().requires_grad_()
    assert_close(cr.tensor(drawn(panels(plots.image(x))[0])[0]), x[0, 0].detach())


# -- trainings --------------------------------------------------------------------------------------------------------


def test_training_of_one_run():
    record = history(accuracy=[0.1, 0.2], val_loss=[3.0, 2.0])
    record.rates.add("lr", 0, 0.1)
    figure = plots.training(record, title="run")
    loss, accuracy, gradients, ratios, dead = panels(figure)
    assert titles(figure) == ["loss", "accuracy", "‖gradient‖", "‖update‖ / ‖weight‖", "dead units [%]"]
    same(loss.lines[0].get_xydata(), [[0, 2], [1, 1.5], [2, 1.2], [3, 1]])
    same(loss.lines[1].get_xydata(), [[0, 3], [1, 2]])
    assert [t.get_text() for t in loss.get_legend().get_texts()] == ["loss", "val_loss"]
    same(accuracy.lines[0].get_ydata(), [0.1, 0.2])
    assert len(gradients.lines) == 3  # no bias
    same(gradients.lines[2].get_xydata(), [[0, 100], [2, 100]])
    bare = history()
    bare.ratios.cut(0)  # as of weights that are 0
    assert len(panels(plots.training(bare))[1].lines) == 3
    assert [t.get_text() for t in gradients.get_legend().get_texts()] == ["0", "2", "4"]
    assert [axis.get_legend() for axis in (accuracy, ratios, dead)] == [None] * 3  # the same layers
    same(dead.lines[0].get_xydata(), [[0, 0], [2, 50]])
    assert [axis.get_yscale() for axis in panels(figure)] == ["linear", "linear", "log", "log", "linear"]
    assert {axis.get_xlabel() for axis in panels(figure)} == {"step"}
    (band,) = ratios.patches
    same(band.get_extents().transformed(ratios.transData.inverted()).intervaly, [1e-4, 1e-2])
    assert not gradients.patches


def test_training_compares_runs():
    runs = {"one": history(), "other": history(scale=0.1), "bare": History()}
    figure = plots.training(runs, ["gradients", "loss"])
    found = np.array(panels(figure)).reshape(3, 2)
    assert [axis.get_ylabel() for axis in found[:, 0]] == ["one", "other", "bare"]
    assert len({axis.get_ylim() for axis in found[:, 0]}) == 1
    same(found[1, 0].lines[0].get_ydata(), [0.1, 0.1])
    assert [axis.get_legend() is None for axis in found[:, 0]] == [False, True, True]
    assert [t.get_text() for t in found[2, 0].texts] == ["not recorded"]
    colours = [[line.get_color() for line in axis.lines] for axis in found[:2, 0]]
    assert colours[0] == colours[1]
    assert len(set(colours[0])) == 3


def test_training_that_broke():
    record = history(scale=0.0, loss=[1.0, 1e3, np.inf, np.nan])
    record.faults.add("gradient of 0.weight", 2, 7.0)
    record.faults.add("output of 0", 3, 1.0)
    loss, gradients, _, _ = panels(plots.training({"a": record}))
    assert [t.get_text() for t in loss.texts] == ["NaN or ∞\nfrom step 2"]
    assert [t.get_text() for t in gradients.texts] == ["all 0"]
    assert loss.get_yscale() == "log"
    assert np.isnan(loss.lines[0].get_ydata()).tolist() == [False, False, True, True]
    gaps = panels(plots.training(history(loss=[1.0, np.nan, 2.0, 3.0])))[0]
    assert gaps.lines[0].get_markevery() == [0]  # a dot where no line would be seen
    wild = history(loss=[1.0, 1.0, 1.0, 1e30])
    low, high = panels(plots.training(wild))[0].get_ylim()
    assert 0.1 < low < 1 < high < 1e7  # what explodes does not hide the rest


def test_training_smooths_what_is_logged_often():
    values = np.arange(200.0) % 2
    loss = panels(plots.training(history(loss=values)))[0]
    same(loss.lines[0].get_ydata(), values)
    x, y = loss.lines[1].get_data()
    assert len(x) == len(y) == 196
    same(x, np.arange(2, 198))  # the middles of five
    same(y, [values[i - 2 : i + 3].mean() for i in range(2, 198)])


def test_training_names_some_of_many_layers():
    gradients = panels(plots.training(history(20), ["gradients"]))[0]
    assert [t.get_text() for t in gradients.get_legend().get_texts()] == ["0", "8", "16", "22", "30", "38"]


def test_training_errors():
    with pytest.raises(ValueError, match="no run has 'acuracy'; there is loss, gradients, ratios, dead"):
        plots.training(history(), ["acuracy"])
    with pytest.raises(ValueError, match="nothing was recorded"):
        plots.training(History())
    for wrong in ({}, [1.0], {"a": [1.0]}):
        with pytest.raises(ValueError, match=r"a History or \{name: History\}"):
            plots.training(wrong)
