"""A real browser for tests that look at pages: Chromium without a window, driven by Playwright.

Tests carry the marker `browser` and take the fixture `visit` of conftest.py. Chromium is the one that CHROME names, or
one on PATH, or Playwright's own. Where none is found the test fails and says what to install: a page that nobody opened
has not been checked. A page may read files, and nothing else: every other request is refused and counts as a fault.
"""

import contextlib
import os
import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
INSTALL = (
    "pip install 'chainrule[browser]', and a Chromium: `apt-get install chromium`, `playwright install chromium`, "
    "or CHROME=/path/to/chrome"
)


def executable():
    """The path of Chromium, or None for Playwright's own."""
    named = os.environ.get("CHROME")
    if named:
        assert shutil.which(named), f"CHROME={named} is no program; {INSTALL}"
        return shutil.which(named)
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def chromium():
    """A running browser of Playwright's kind."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as missing:
        raise AssertionError(f"tests marked `browser` need {missing.name}: {INSTALL}") from None
    with sync_playwright() as playwright:
        # root, as in a container, has no sandbox to enter
        flags = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        try:
            browser = playwright.chromium.launch(executable_path=executable(), args=flags)
        except Error as error:
            raise AssertionError(f"no Chromium starts: {INSTALL}\n{error.message}") from None
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """`visit(path)` opens a page; what goes wrong on it is in `faults`: errors of scripts and of the console, requests.

    The fixture fails the test if `faults` holds anything at its end.
    """

    def __init__(self, browser):
        self.browser = browser
        self.contexts = []
        self.faults = []

    def __call__(self, path, *, width=1280, height=900, dark=False, scale=1, script=True):
        """Playwright's page of a file (a path, or a file:// address with #anchor), in a window of that size."""
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            device_scale_factor=scale,
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
            service_workers="block",
        )
        self.contexts.append(context)
        context.route("**/*", self._route)
        page = context.new_page()
        page.on("console", lambda m: m.type in ("error", "warning") and self.faults.append(f"console: {m.text}"))
        page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        page.on("requestfailed", self._failed)
        page.on("websocket", lambda socket: self.faults.append(f"request refused: {socket.url}"))
        address = str(path) if "://" in str(path) else Path(path).resolve().as_uri()
        page.goto(address, wait_until="load")
        return page

    def _failed(self, request):
        if request.failure != "net::ERR_ABORTED":  # the page was left meanwhile, before its icon came
            self.faults.append(f"request failed: {request.url}")

    def _route(self, route):
        address = route.request.url
        if address.partition(":")[0] in ("file", "data", "blob"):
            route.continue_()
        else:
            self.faults.append(f"request refused: {address}")
            route.abort("blockedbyclient")

    def close(self):
        """Close the pages."""
        for context in self.contexts:
            context.close()
        self.contexts.clear()


def wider_than_window(page):
    """By how many pixels the page must be scrolled sideways; 0 on a page that fits a phone."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
