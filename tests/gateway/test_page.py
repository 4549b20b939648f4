"""The page in a real browser: an answer, a keyboard, a phone's width, and nothing from outside."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.gateway.running import Gateway

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


class Opened:
    """The page in a tab, with what it asked for and complained of."""

    def __init__(self, browser: Any, url: str, **settings: Any) -> None:
        self.page = browser.new_page(**settings)
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector("#model option", state="attached")
        self.page.fill("#text", "the film was good")

    def text(self, selector: str) -> str:
        found: str = self.page.locator(selector).text_content()
        return found

    def until(self, selector: str) -> str:
        """Waits for text in an element. The page allows no eval, so no ``wait_for_function``."""
        end = time.monotonic() + 20
        while not (found := self.text(selector).strip()):
            assert time.monotonic() < end, self.text("body")
            self.page.wait_for_timeout(20)
        return found


@pytest.fixture
def opened(browser: Any, gateway: Gateway) -> Iterator[Opened]:
    one = Opened(browser, gateway.url)
    yield one
    one.page.close()
    assert one.complaints == []
    assert {url for url in one.asked if not url.startswith((gateway.url, "data:"))} == set()


def test_an_answer_with_all_that_belongs_to_it(opened: Opened) -> None:
    opened.page.click("#ask")
    assert "score" in opened.until("#said")
    assert opened.text("#stage") == "Done"
    number, _, total = opened.text("#count").removesuffix(" messages").partition(" of ")
    assert number == total == opened.text("#messages")
    assert opened.page.locator("#server-hex code").count() == 3
    assert "the film" not in opened.text("#server-saw")
    for way in ("up", "down"):
        assert len(opened.text(f"#hex-{way}").split()) == 5


def test_the_keyboard_alone(opened: Opened) -> None:
    opened.page.reload()
    opened.page.wait_for_selector("#model option", state="attached")
    keys = opened.page.keyboard
    keys.press("Tab")
    assert opened.page.evaluate("document.activeElement.className") == "skip"
    keys.press("Enter")
    assert opened.page.evaluate("location.hash") == "#text"
    opened.page.focus("#text")
    keys.press("Control+a")
    keys.type("the film was good")
    keys.press("Control+Enter")
    opened.until("#said")
    opened.page.focus("#model")
    keys.press("Tab")
    assert opened.page.evaluate("document.activeElement.id") == "ask"


def test_a_text_that_cannot_be_used_is_said(opened: Opened) -> None:
    opened.page.fill("#text", "film " * 500)
    opened.page.click("#ask")
    assert "tokens, the limit is" in opened.until("#wrong")
    opened.complaints = [c for c in opened.complaints if "400 (Bad Request)" not in c]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_every_width_and_scheme(browser: Any, gateway: Gateway, width: int, scheme: str) -> None:
    one = Opened(
        browser, gateway.url, viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    one.page.click("#ask")
    one.until("#said")
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(one.page)
    assert found.violations_count == 0, found.generate_report()
    one.page.close()
