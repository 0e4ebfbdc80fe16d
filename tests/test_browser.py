"""Pages that chainrule writes, opened in Chromium; and the fixture itself, which must see what goes wrong on a page."""

import browser as chrome
import pytest

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
