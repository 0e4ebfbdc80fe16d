"""Pages that chainrule writes, opened in Chromium; and the fixture itself, which must see what goes wrong on a page."""

import browser as chrome
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.utils.recorder import Recorder

pytestmark = pytest.mark.browser


def write(folder, body):
    path = folder / "page.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><title>A page</title>{body}")
    return path


def test_a_page_without_faults(visit, tmp_path):
    (tmp_path / "part.js").write_text("document.title += ', read'")
    page = visit(write(tmp_path, "<h1>Hello</h1><script src=part.js></script>"), width=400, dark=True)
    assert page.title() == "A page, read"
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert chrome.wider_than_window(page) == 0
    assert visit.faults == []
    assert chrome.wider_than_window(visit(write(tmp_path, "<p style='width: 700px'>wide</p>"), width=400)) > 250


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<script>console.error('oh')</script>", "console: oh"),
        ("<script>missing()</script>", "missing is not defined"),
        ("<img src=http://example.com/x.png>", "request refused: http://example.com/x.png"),
        ("<script>fetch('https://example.com/').catch(() => 0)</script>", "request refused: https://example.com/"),
        ("<link rel=stylesheet href=absent.css>", "request failed: file://"),
        ("<script>new WebSocket('wss://example.com/')</script>", "request refused: wss://example.com/"),
    ],
    ids=["console", "script", "image", "fetch", "file", "socket"],
)
def test_faults_are_seen(visit, tmp_path, body, said):
    page = visit(write(tmp_path, body))
    page.wait_for_timeout(200)
    assert any(said in fault for fault in visit.faults), visit.faults
    visit.faults.clear()


def test_what_to_install_is_said(monkeypatch):
    monkeypatch.setenv("CHROME", "/nowhere/chrome")
    with pytest.raises(AssertionError, match="apt-get install chromium"):
        chrome.executable()


# -- the report of a run ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a run with names that would like to act."""
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    model.add_module("<img src=x onerror=alert(1)>", nn.Identity())
    optimizer = cr.optim.Adam(model.parameters())
    with Recorder(model, optimizer, every=2) as recorder:
        for _ in range(80):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(cr.randn(20, 6)), cr.randint(0, 3, (20,)))
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss, **{"<script>document.title='caught'</script>": 1.0})
    folder = tmp_path_factory.mktemp("report")
    config = {"<script src=http://example.com/x.js></script>": "x" * 500}
    recorder.report(folder / "run.html", title="A run & more", summary="a line " * 60, config=config)
    return folder / "run.html"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 768, 360])
def test_the_report_opens(visit, report, width, dark, tmp_path):
    page = visit(report, width=width, dark=dark)
    assert page.title() == "A run & more"
    assert page.locator("script, img").count() == 0
    assert chrome.wider_than_window(page) == 0
    charts = page.locator("svg.chart")
    assert charts.count() > 10
    box = charts.first.bounding_box()
    assert 250 < box["width"] <= width
    # 12 pixels of the drawing: at least 9 of the screen's, on a phone too
    size = page.evaluate("document.querySelector('svg.chart text').getBoundingClientRect().height")
    assert size > 9
    ink, paper = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    light = [sum(map(int, color[color.index("(") + 1 : -1].split(",")[:3])) for color in (ink, paper)]
    assert (light[0] > light[1]) == dark
    assert abs(light[0] - light[1]) > 400
    curve = page.locator("svg[aria-label=loss] path.curve").last.bounding_box()
    assert curve["width"] > 0.7 * box["width"]
    page.locator("summary").first.click()
    assert page.locator("details[open] table").first.is_visible()
    picture = page.screenshot(full_page=True, path=tmp_path / "report.png")
    assert len(picture) > 20_000


def test_the_report_needs_no_script(visit, report):
    page = visit(report, script=False)
    assert page.locator(".verdicts li").count() >= 1
