"""utils.run_report: the page says what was recorded, in plain words too, and nothing in a name can act on it."""

import base64
import html.parser
import itertools
import math
import re
import struct
import zlib

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F
from chainrule.utils import charts, run_report
from chainrule.utils.history import Histograms, History
from chainrule.utils.recorder import Recorder
from chainrule.utils.verdicts import verdicts

VOID = {"meta", "link", "br", "line", "image", "circle", "path", "rect"}


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, its text, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID or self.get_starttag_text()[-2:] != "/>":
            self.open += [tag] if tag not in {"meta", "link"} else []

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def charts(self, name):
        """(attributes of the svg, attributes of its curves) of the charts with this name."""
        starts = [i for i, (tag, _) in enumerate(self.tags) if tag == "svg"] + [len(self.tags)]
        for start, end in itertools.pairwise(starts):
            if self.tags[start][1]["aria-label"] == name:
                yield self.tags[start][1], [a for t, a in self.tags[start:end] if t == "path" and "data-name" in a]


def points(svg, path):
    """Steps and values of a curve, from its pixels and from what the chart says of its axes."""
    left, right, bottom, top = map(float, svg["data-box"].split())
    (x0, x1), (y0, y1) = (map(float, svg[f"data-{axis}"].split()) for axis in "xy")
    found = np.array([pair.split() for pair in re.findall(r"[ML]([^ML]+)", path["d"])], float)
    steps = x0 + (found[:, 0] - left) / (right - left) * (x1 - x0)
    share = (found[:, 1] - bottom) / (top - bottom)
    if svg["data-scale"] == "log":
        return steps, 10 ** (np.log10(y0) + share * (np.log10(y1) - np.log10(y0)))
    return steps, y0 + share * (y1 - y0)


def recorded(model, steps=30, rate=0.1, every=1, features=6, **options):
    cr.manual_seed(1)
    optimizer = cr.optim.SGD(model.parameters(), lr=rate)
    centres = cr.randn(3, features) * 2
    with Recorder(model, optimizer, every=every, **options) as recorder:
        for _ in range(steps):
            y = cr.randint(0, 3, (40,))
            optimizer.zero_grad()
            loss = F.cross_entropy(model(centres[y] + cr.randn(40, features)), y)
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    return recorder


def mlp(*sizes, activation=nn.ReLU):
    cr.manual_seed(0)
    layers = [layer for i, o in itertools.pairwise(sizes) for layer in (nn.Linear(i, o), activation())]
    return nn.Sequential(*layers[:-1])


def said(history):
    return [str(v) for v in verdicts(history)]


def history_of(**values):
    history = History()
    for name, numbers in values.items():
        for step, value in enumerate(numbers):
            history.values.add(name, step, float(value))
    history.steps = max(map(len, values.values()))
    return history


# -- the page ---------------------------------------------------------------------------------------------------------


def test_the_loss_curve_is_the_data(tmp_path):
    recorder = recorded(mlp(6, 16, 3), steps=40, every=2)
    path = recorder.report(tmp_path / "new" / "run.html", title="A run", config={"batch": 40})
    assert path == tmp_path / "new" / "run.html"
    page = Page(path.read_text())
    [(svg, [curve])] = page.charts("loss")
    steps, values = points(svg, curve)
    assert steps == pytest.approx(np.arange(40), abs=0.01)
    span = recorder.history["loss"].values.max()
    assert values == pytest.approx(recorder.history["loss"].values, abs=2e-4 * span)
    [(svg, curves)] = page.charts("update over weight over time")
    assert svg["data-scale"] == "log"
    assert [c["data-name"] for c in curves] == ["0.weight", "2.weight"]
    for curve in curves:
        steps, values = points(svg, curve)
        assert steps == pytest.approx(np.arange(0, 40, 2), abs=0.01)
        assert values == pytest.approx(recorder.history.ratios[curve["data-name"]].values, rel=1e-3)
    text = " ".join(page.text)
    for expected in ("A run", "batch", "40", "SGD (", "chainrule", "0.1.0", "Linear(in_features=6", "loss fell from"):
        assert expected in text
    assert len(list(page.charts("gradient norm by layer"))) == 1
    assert sum(t == "image" for t, _ in page.tags) == 3 + 2  # outputs of three layers, gradients of two


def test_a_long_noisy_curve_is_drawn_by_its_means_and_extremes():
    cr.manual_seed(0)
    noise = cr.randn(4000).numpy() * 0.1 + 1
    page = Page(run_report.page(history_of(loss=noise)))
    [(svg, [raw])] = page.charts("loss")
    steps, values = points(svg, raw)
    assert len(steps) <= charts.POINTS
    size = math.ceil(4000 / charts.POINTS)
    means = [noise[i : i + size].mean() for i in range(0, 4000, size)]
    assert values == pytest.approx(means, abs=1e-3)
    band = next(a for t, a in page.tags if a.get("class") == "spread")
    around = points(svg, band)[1]
    assert around.max() == pytest.approx(noise.max(), abs=1e-3)
    assert around.min() == pytest.approx(noise.min(), abs=1e-3)


def test_gaps_where_values_are_not_finite():
    page = Page(run_report.page(history_of(loss=[1.0, 2.0, math.nan, 3.0, 2.0])))
    [(svg, [curve])] = page.charts("loss")
    assert curve["d"].count("M") == 2
    assert points(svg, curve)[0] == pytest.approx([0, 1, 3, 4], abs=0.01)
    assert sum(a.get("class") == "fault" for _, a in page.tags) == 1
    assert "loss is not finite from step 2 on" in page.text
    assert Page(run_report.page(history_of(loss=[math.nan] * 3)))
    assert Page(run_report.page(history_of(loss=[1.0])))
    assert Page(run_report.page(History()))


EVIL = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"


def test_nothing_in_a_name_can_act():
    model = nn.Sequential()
    model.add_module(f"a{EVIL.replace('.', '')}", nn.Linear(6, 4))
    model.add_module("b", nn.ReLU())
    model.add_module("c", nn.Linear(4, 3))
    recorder = recorded(model, steps=4)
    recorder.log(**{EVIL: math.nan})
    text = run_report.page(recorder.history, EVIL, summary=f"</pre>{EVIL}", config={EVIL: EVIL, "n": 1})
    page = Page(text)
    tags = {t for t, _ in page.tags}
    assert not tags & {"script", "img", "iframe", "object", "embed", "form", "base", "a"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count(EVIL) >= 5
    plain = Page(run_report.page(recorded(model, steps=4).history, "plain")).tags
    assert {t for t, _ in plain} >= tags - {"details", "summary", "pre", "line"}


def test_nothing_comes_from_elsewhere():
    text = run_report.page(recorded(mlp(6, 4, 3), steps=4).history)
    page = Page(text)
    addresses = [a[k] for _, a in page.tags for k in ("src", "href", "srcset", "action", "xlink:href") if k in a]
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert not re.search(r"https?:|//\w|@import|url\(", text.replace("data:image/png;base64,", "").split("<body>")[0])
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy


def test_the_file_is_written_as_a_whole(tmp_path, monkeypatch):
    path = run_report.write_report(history_of(loss=[1.0]), tmp_path / "run.html")
    before = path.read_bytes()
    monkeypatch.setattr(run_report, "page", lambda *a, **k: "\ud800")  # cannot be encoded
    with pytest.raises(UnicodeEncodeError):
        run_report.write_report(history_of(loss=[1.0]), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.html"]


# -- charts -----------------------------------------------------------------------------------------------------------


def test_ranges_show_medians_and_deciles():
    values = np.logspace(-4, -2, 101)
    svg = charts.ranges([charts.Line("fc1.weight", np.arange(101), values, "red")], "x")
    for number in ("median 0.001", f"{np.quantile(values, 0.1):.3g} to {np.quantile(values, 0.9):.3g}"):
        assert number in svg


def test_common_edges_keep_what_was_counted():
    edges = np.linspace(-1, 1, 11)
    counts = np.array([[1, 2, 3, 4, 5, 5, 4, 3, 2, 1], [5, 5, 5, 0, 0, 0, 0, 5, 5, 5]])
    shares, common = charts.rebinned(Histograms(np.arange(2), counts, np.stack([edges, edges])), 10)
    np.testing.assert_allclose(common, edges)
    np.testing.assert_allclose(shares, counts / 30)
    narrow = np.linspace(-0.5, 0.5, 11)
    shares, _ = charts.rebinned(Histograms(np.arange(2), counts, np.stack([edges, narrow])), 20)
    assert shares[1].sum() == pytest.approx(1)
    assert (shares[1][:4] == 0).all()


def test_a_histogram_of_one_value_is_a_line_beside_others():
    counts = np.array([[3, 2, 1, 4], [0, 0, 10, 0]])
    edges = np.array([np.linspace(-0.02, 0.02, 5), np.linspace(-0.5, 0.5, 5)])
    shares, common = charts.rebinned(Histograms(np.arange(2), counts, edges), 10)
    assert common[[0, -1]] == pytest.approx([-0.02, 0.02])
    np.testing.assert_allclose(shares[1], [0, 0, 0, 0, 0, 1, 0, 0, 0, 0], atol=1e-9)
    alone, common = charts.rebinned(Histograms(np.arange(1), counts[1:], edges[1:]), 4)
    assert alone.sum() == pytest.approx(1)


def test_a_heat_map_is_dark_where_values_are():
    edges = np.linspace(0, 1, 5)
    counts = np.array([[8, 0, 0, 0], [0, 0, 0, 8]])
    svg = charts.heat(Histograms(np.array([0, 1]), counts, np.stack([edges, edges])), "x")
    data = base64.b64decode(re.search(r"base64,([^\"]+)", svg)[1])
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT")
    pixels = zlib.decompress(data[start + 4 : start + 4 + struct.unpack(">I", data[start - 4 : start])[0]])
    alpha = np.frombuffer(pixels, np.uint8).reshape(height, 1 + 4 * width)[:, 1:].reshape(height, width, 4)[..., 3]
    assert alpha[-1, 0] == 255  # low values, at the bottom of the first column
    assert alpha[0, 0] == 0
    assert (alpha[-1, 1], alpha[0, 1]) == (0, 255)


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0, 1.05, False, [0, 0.5, 1]),
        (-1, 1, False, [-1, -0.5, 0, 0.5, 1]),
        (0, 599, False, [0, 200, 400]),
        (0.0008, 0.2, True, [0.001, 0.01, 0.1]),
    ],
)
def test_ticks_are_round(low, high, log, ticks):
    assert charts._Axis(low, high, 0, 100, log).ticks() == pytest.approx(ticks)


def test_numbers_of_an_axis_are_short():
    memory = charts.Line("memory", np.arange(3), np.array([180.714, 180.72, 180.73]), "")
    [svg] = re.findall(r"<svg.*?</svg>", charts.lines([memory], "x"))
    low, high = map(float, re.search(r'data-y="(\S+) (\S+)"', svg).groups())
    assert low < 179.5 < 182 < high
    assert all(len(label) <= 5 for label in re.findall(r'text-anchor="end">([^<]+)<', svg))


# -- in plain words ---------------------------------------------------------------------------------------------------


def test_a_layer_that_learns_slowly():
    model = mlp(6, 30, 30, 30, 30, 3, activation=nn.Sigmoid)
    history = recorded(model).history
    medians = {n: np.median(s.values) for n, s in history.ratios.items()}
    factor = medians["8.weight"] / medians["0.weight"]
    assert factor > 30
    sentence = next(s for s in said(history) if "slower" in s)
    assert sentence.startswith("✕ Layer 0 learns ")
    assert "times slower than layer 8 (update / weight " in sentence
    assert sentence.split(". ", 1)[1].startswith("Gradients vanish on their way to the input")
    assert not any("Updates are small" in s for s in said(history))  # the slow layer says why
    assert float(re.search(r"learns ([\d,]+) times", sentence)[1].replace(",", "")) == pytest.approx(factor, rel=0.06)


@pytest.mark.parametrize("every", [1, 5])
def test_a_loss_that_becomes_nan(every):
    model = nn.Sequential()
    for i in range(1, 4):
        model.add_module(f"fc{i}", nn.Linear(6, 6))
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model, optimizer, every=every) as recorder:
        for step in range(16):
            if step == 12:
                with cr.no_grad():
                    model.fc2.weight[0, 0] = math.nan
            optimizer.zero_grad()
            loss = model(cr.ones(2, 6)).square().mean()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    first = said(recorder.history)[0]
    if every == 1:
        assert first == "✕ loss became NaN at step 12, first in the output of fc2."
    else:
        assert first.startswith("✕ loss became NaN at step 12. At step 15, the next that was looked at, the first ")
        assert first.endswith("is the output of fc1; record with every=1 to see where it begins.")


def test_losses():
    assert said(history_of(loss=[2.0] * 30)) == ["✕ loss hardly moved, from 2 to 2 in 30 steps."]
    assert said(history_of(loss=np.linspace(2, 1, 30)))[0].startswith("✓ loss fell from 2 to ")
    assert said(history_of(loss=np.linspace(2, 3, 30)))[0].startswith("✕ loss rose from 2 to ")
    assert said(history_of(loss=[2.0, 50.0, *np.linspace(2, 1, 28)]))[0] == (
        "✕ loss jumped to 50 at step 1: the learning rate may be too high."
    )
    still = [*np.linspace(2.5, 2.3, 10), *[2.3] * 190]  # of a network that has learned how frequent classes are
    assert said(history_of(loss=still)) == [
        "! loss fell from 2.5 to 2.3 in the first 20 of 200 steps, and has stood still since."
    ]
    assert said(history_of(loss=[*np.linspace(2.5, 0.1, 10), *[0.1] * 190]))[0].startswith("✓ loss fell")
    over = history_of(loss=np.linspace(2, 0.1, 30), val_loss=[*np.linspace(2, 1, 10), *np.linspace(1, 2, 20)])
    assert said(over)[0].startswith("! val_loss was lowest at step 9 (1) and rose to 2")
    assert said(history_of(accuracy=[0.5] * 30)) == []


def test_rates_dead_units_and_steps_without_an_update():
    assert any("Updates are large" in s and "lower rate" in s for s in said(recorded(mlp(6, 16, 3), rate=3.0).history))
    still = said(recorded(mlp(6, 16, 3), rate=1e-6).history)
    assert any(s.startswith("! Updates are small, ") and "in layer 0, layer 2 (0.0001 to 0.01 is" in s for s in still)
    none = said(recorded(mlp(6, 16, 3), rate=0.0).history)
    assert any(s.startswith("! 30 of 30 steps looked at changed no weight") for s in none)
    model = mlp(6, 16, 3)
    with cr.no_grad():
        model[0].bias[:10] = -100.0
    assert any(
        "units of layer 1 gave 0 for all samples of step 29: they learn" in s for s in said(recorded(model).history)
    )
    with cr.no_grad():
        model[0].bias[:] = -100.0
        model[2].bias[:] = 0.0
    dead = said(recorded(model).history)
    assert not any("higher rate" in s for s in dead)  # the dead units are the reason
    assert "! 30 of 30 steps looked at changed no weight: their gradients were 0." in dead
    well = said(recorded(mlp(6, 16, 3, activation=nn.Tanh), rate=0.02).history)
    assert all(s.startswith("✓") for s in well)
    assert any(s.startswith("✓ Every layer learns: updates are about 0.00") for s in well)


def test_a_bad_initialisation():
    model = mlp(6, 30, 30, 30, 30, 3, activation=nn.Tanh)
    with cr.no_grad():
        for layer in model[::2]:
            layer.weight.normal_(0, 0.01)
            layer.bias.zero_()
    assert any(
        "Outputs shrink from layer to layer at the start" in s and "layer 8" in s for s in said(recorded(model).history)
    )


def test_gradients_that_were_not_finite_while_the_loss_was():
    history = history_of(loss=np.linspace(2, 1, 30))
    history.faults.add("gradient of fc1.weight", 3, 2.0)
    history.faults.add("gradient of fc1.weight", 4, 2.0)
    assert said(history)[0].startswith(
        "✕ The gradient of fc1.weight was not finite at step 3, and in 2 of the steps looked at."
    )


def test_losses_that_noise_or_few_numbers_hide():
    cr.manual_seed(0)
    noise = cr.randn(400).numpy() * 0.2
    for first in (0.3, 1.1):  # a lucky batch and an unlucky one
        [text] = said(history_of(loss=[first, *(0.7 + noise)]))
        assert "fell" not in text
        assert "rose" not in text
    assert said(history_of(loss=np.linspace(1.0, 0.5, 401)[1:] + noise))[0].startswith("✓ loss fell from ")
    assert said(history_of(loss=np.linspace(0.5, 1.0, 401)[1:] + noise))[0].startswith("✕ loss rose from ")
    assert said(history_of(loss=[2.0, 1.0, 0.5])) == ["! loss was recorded 3 times: too few to say whether it falls."]
    assert said(history_of(loss=[2.0] * 12)) == ["! loss was recorded 12 times: too few to say whether it falls."]


def test_a_loss_that_falls_and_rises_again():
    [text] = said(history_of(loss=[*np.linspace(2, 0.5, 60), *np.linspace(0.5, 1.8, 60)]))
    assert re.match(
        r"✕ loss fell from 2 to 0\.5\d+ \(about step \d+\) and rose again to 1\.7\d: the learning rate", text
    )
    assert said(history_of(loss=[*np.linspace(2, 0.5, 60), *np.linspace(0.5, 0.8, 60)]))[0].startswith("✓ loss fell")
    assert said(history_of(loss=np.linspace(-1, -4, 60)))[0].startswith("✓ loss fell from -1 to ")
    burst = said(history_of(loss=[2.32, 15.0, 9.0, *np.linspace(2.6, 2.34, 5), *[2.34, 2.33] * 196]))
    assert burst[1] == "✕ loss hardly moved, from 2.32 to 2.33 in 400 steps."  # what fell was the jump


def test_overfitting_needs_a_training_loss_that_falls():
    falls = np.linspace(2, 0.1, 30)
    for values in (
        [*np.linspace(2, 0.5, 25), 0.52, 0.51, 0.53, 0.5, 0.52],  # noise
        np.linspace(-1, -100, 30),  # a loss below 0
    ):
        assert len(said(history_of(loss=falls, val_loss=values))) == 1
    rises = [*np.linspace(2, 0.5, 10), *np.linspace(0.5, 1.9, 20)]
    assert not any("overfits" in s for s in said(history_of(loss=rises, val_loss=rises)))
    for name in ("valid/loss", "loss/test", "valLoss"):
        assert "overfits" in said(history_of(**{"loss": falls, name: rises}))[0]


def test_several_losses_are_not_judged_but_for_nan():
    assert said(history_of(loss_D=[1.4] * 30, loss_G=np.linspace(0.7, 3, 30))) == []
    assert said(history_of(policy_loss=[1.0] * 30, value_loss=np.linspace(1, 9, 30))) == []
    text = "✕ loss_G became infinite at step 2. All outputs and gradients that were looked at are finite."
    assert said(history_of(loss_D=[1.0] * 9, loss_G=[1.0, 2.0, math.inf])) == [text]


def test_units_that_some_batches_do_not_wake():
    def silent(*counts, units=20, ratio=0.1):
        history = History(steps=len(counts))
        for step, count in enumerate(counts):
            history.ratios.add("fc.weight", step, ratio)
            history.dead.add("relu", step, float(count))
            history.units.add("relu", step, units)
        return [s for s in said(history) if "Updates" not in s and "Every layer" not in s]

    assert silent(4, 5, 4, 5, 4, 4, 5) == []  # a healthy network has a quarter
    assert silent(1, 12, 14, 3, 13, 12) == []  # a look at other data woke them
    text = "relu gave 0 for all samples of step 6: they learn nothing (at step 0"
    assert silent(7, 7, 8, 7, 8, 8, 8) == [f"! 8 of 20 units of {text}: 7)."]
    assert silent(2, 9, 18, 19, 18, 19, 20) == [
        f"✕ 20 of 20 units of {text}: 2); a learning rate that is too high kills units."
    ]
    history = History(steps=1)
    for i in range(8):
        history.dead.add(f"relu{i}", 0, 20.0 if i == 5 else 12.0)
        history.units.add(f"relu{i}", 0, 20)
    assert said(history) == [  # the worst, and no list without an end
        "✕ 20 of 20 units of relu5 gave 0 for all samples of step 0.",
        "✕ 12 of 20 units of relu0 gave 0 for all samples of step 0.",
        "✕ 12 of 20 units of relu1 gave 0 for all samples of step 0.",
        "! Dead units are many in relu2, relu3, relu4 and 2 more, too.",
    ]
    assert silent(2, 9, 18, 19, 18, 19, 20, ratio=1e-4) == [f"✕ 20 of 20 units of {text}: 2)."]


def test_units_do_not_die_of_nan():
    model = mlp(6, 16, 3)
    with cr.no_grad():
        model[0].weight.fill_(math.nan)
    recorder = recorded(model, steps=20)
    assert not recorder.history.dead["1"].values.any()
    sentences = said(recorder.history)
    assert sentences[0] == "✕ loss became NaN at step 0, first in the output of layer 0."
    assert not any("units" in s for s in sentences)


def test_weights_that_never_change():
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = cr.optim.SGD(model[4].parameters(), lr=0.1)
    with Recorder(model, optimizer, every=1) as recorder:
        for _ in range(10):
            optimizer.zero_grad()
            F.cross_entropy(model[4](model[:4](cr.randn(20, 6)).detach()), cr.randint(0, 3, (20,))).backward()
            optimizer.step()
            recorder.step()
    assert said(recorder.history) == ["! Layer 0, layer 2 never changed: no gradient arrives. Unused, or detached?"]
    optimizer = cr.optim.SGD(model[2:].parameters(), lr=0.1)
    with Recorder(model, optimizer, every=1) as recorder:
        for _ in range(10):
            F.cross_entropy(model(cr.randn(20, 6)), cr.randint(0, 3, (20,))).backward()
            optimizer.step()
            recorder.step()
    assert any(s.startswith("! Layer 0 never changed: not among the optimizer's par") for s in said(recorder.history))


def test_a_recorder_without_its_with_block():
    model, text = mlp(6, 4, 3), "! The model was never looked at: train inside of the recorder's `with` block."
    for recorder, expected in ((Recorder(model), [text]), (Recorder(model, every=0), []), (Recorder(), [])):
        recorder.step()
        assert said(recorder.history) == expected
    with Recorder(model) as recorder:
        recorder.step()
    assert said(recorder.history) != [text]


def test_why_steps_changed_nothing():
    text = "steps looked at changed no weight: "
    assert f"! 30 of 30 {text}the learning rate was 0." in said(recorded(mlp(6, 16, 3), rate=0.0).history)
    model = mlp(6, 16, 3, activation=nn.Tanh)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model, optimizer, every=1) as recorder:
        for batch in range(20):
            F.cross_entropy(model(cr.randn(20, 6)), cr.randint(0, 3, (20,))).backward()
            if batch % 2:
                optimizer.step()
                optimizer.zero_grad()
            recorder.step()
    found = [s for s in said(recorder.history) if text in s]
    assert found == [
        f"! 10 of 20 {text}the optimizer made no step. The recorder's step() is called once for each update, not for "
        "each batch."
    ]


def test_gradients_that_the_optimizer_makes_up_for():
    history = History()
    for step in range(10):
        for name, gradient, ratio in (("a.weight", 1e-4, 5e-4), ("b.weight", 0.1, 2e-3)):
            history.gradients.add(name, step, gradient)
            history.ratios.add(name, step, ratio)
    assert said(history) == [
        "! The gradient of a.weight is 1,000 times smaller than that of b.weight (0.0001 beside 0.1). "
        "The optimizer makes up for it: the updates of both are large enough."
    ]
    for step in range(10):  # 40 times slower, and yet as quick as it should be
        history.ratios.add("c.weight", step, 2e-2)
        history.gradients.add("c.weight", step, 1e-3)
    assert not any("slower" in s for s in said(history))
