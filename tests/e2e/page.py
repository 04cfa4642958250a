"""The labelling page in a real Chromium, driven with the keys and clicks of an annotator.

Each page has an empty browser profile. Places are percent of the picture that the page shows.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, Request, expect, sync_playwright

from .label_studio import EMAIL
from .score import Corners

OPEN_MS = 90_000
"""A first visit compiles the page's megabytes of script on a busy machine."""

ANSWER_MS = 60_000
SETTLE_MS = 300
REQUEST_WITHIN_MS = 1500
"""The page asks and draws at once; only a brush waits longer."""

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""Without the sandbox, which needs a user that is not root; nothing that calls home."""

VIEWPORT = {"width": 1600, "height": 1150}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium without a window: the CHROMIUM of the environment, or on the path."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert program, "no Chromium: apt-get install chromium, or set CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class LabellingPage:
    """One annotator, logged in to the Label Studio at `url`, with a page before them."""

    def __init__(self, browser: Browser, url: str, password: str, shots: Path) -> None:
        self._url = url
        self._shots = shots
        self.page: Page = browser.new_context(viewport=VIEWPORT).new_page()
        self.page.goto(f"{url}/user/login/")
        self.page.fill("input[name=email]", EMAIL)
        self.page.fill("input[name=password]", password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(lambda at: "/user/login" not in at, wait_until="commit")

    def close(self) -> None:
        """Leave."""
        self.page.context.close()

    def open(self, project: int, task: int) -> None:
        """Open a task, and return when its picture is drawn."""
        self.page.goto(f"{self._url}/projects/{project}/data?task={task}")
        self.page.wait_for_selector("canvas + canvas, .konvajs-content canvas", timeout=OPEN_MS)
        self._picture.wait_for(timeout=OPEN_MS)
        self._settle()

    def connect(self, project: int, backend: str) -> str:
        """Connect a backend in the project's settings; return what the page says of it."""
        self.page.goto(f"{self._url}/projects/{project}/settings/ml")
        self.page.locator('button:has-text("Connect Model")').first.click(timeout=OPEN_MS)
        self.page.fill("input[name=title]", "grounding")
        self.page.fill("input[name=url]", backend)
        with self.page.expect_response(lambda answer: answer.url.endswith("/api/ml")):
            self.page.locator('button:has-text("Validate and Save")').click()
        self._settle()
        return " ".join(self.page.locator("body").inner_text().split())

    def auto_annotate(self) -> None:
        """Switch Auto-Annotation on, which the browser remembers."""
        toggle = self.page.get_by_test_id("bottombar-auto-annotation-toggle")
        if not toggle.is_checked():
            toggle.click(force=True)
        self._settle()

    def ask(self, text: str) -> None:
        """Type `text` into the prompt field and press Enter."""
        field = self.page.locator("input[name=prompt]")
        field.fill(text)
        field.press("Enter")

    def ask_ready_words(self, text: str) -> None:
        """Press the button that writes `text` into the prompt field, then Enter."""
        self.page.locator("[data-shortcut]", has_text=text).click()
        self.page.keyboard.press("Enter")

    def set_number(self, value: str) -> None:
        """Put `value` into the page's number field."""
        field = self.page.locator("input[type=number]").first
        field.fill(value)
        field.press("Tab")
        self._settle()

    def choose_label(self, name: str, *, first: bool = False) -> None:
        """Click the label called `name`; of several controls with it, the last or first one's."""
        found = self.page.locator(".lsf-label", has_text=name)
        (found.first if first else found.last).click()

    def take_smart_tool(self) -> None:
        """Press the tool at the foot of the tool bar that asks the backend."""
        self.page.locator(".lsf-tool_smart").first.click()
        self._settle()

    def shows(self, text: str) -> bool:
        """Say whether the page shows `text`."""
        return self.page.get_by_text(text).first.is_visible()

    def click(self, x: float, y: float, *, negative: bool = False) -> None:
        """Click on the picture; with `negative` while Alt is held, which says "not here"."""
        if negative:
            self.page.keyboard.down("Alt")
        self.page.mouse.click(*self._at(x, y))
        if negative:
            self.page.keyboard.up("Alt")

    def drag(self, corners: Corners) -> None:
        """Draw a box between two corners."""
        self.page.mouse.move(*self._at(*corners[:2]))
        self.page.mouse.down()
        self.page.mouse.move(*self._at(*corners[2:]), steps=8)
        self.page.mouse.up()

    def wait_for_suggestions(self, count: int) -> None:
        """Return when the page offers so many suggestions."""
        message = self.page.locator(".lsf-auto-accept__info")
        expect(message).to_have_text(f"{count} suggestions", timeout=ANSWER_MS)

    def wait_for_regions(self, count: int) -> None:
        """Return when the page lists so many regions, and still does a moment later."""
        listed = self.page.locator(".lsf-outliner-item")
        expect(listed).to_have_count(count, timeout=ANSWER_MS)
        self.page.wait_for_timeout(REQUEST_WITHIN_MS)
        expect(listed).to_have_count(count)

    @contextmanager
    def asks_nothing(self) -> Iterator[None]:
        """Assert that the block, and what follows within a moment, asks no backend."""
        asked: list[str] = []

        def note(request: Request) -> None:
            asked.append(request.url)

        self.page.on("request", note)
        yield
        self.page.wait_for_timeout(REQUEST_WITHIN_MS)
        self.page.remove_listener("request", note)
        assert [url for url in asked if "interactive-annotating" in url] == []

    def accept(self, *, saved: bool = False) -> None:
        """Accept every suggestion; with `saved` return once the page has saved its draft."""
        button = self.page.get_by_test_id("bottombar-accept-suggestions-button")
        if not saved:
            button.click()
            return self._settle()
        with self.page.expect_response(lambda answer: "/drafts" in answer.url, timeout=ANSWER_MS):
            button.click()

    def delete(self, region: int) -> None:
        """Delete a region, by its place in the list."""
        listed = self.page.locator(".lsf-outliner-item")
        left = listed.count() - 1
        listed.nth(region).click()
        self.page.get_by_label("Delete selected region").click()
        self.wait_for_regions(left)

    def submit(self) -> None:
        """Submit the annotation."""
        with self.page.expect_response(lambda answer: "/annotations" in answer.url):
            self.page.locator('[aria-label="Submit current annotation"]').click()

    def texts(self) -> list[str]:
        """Return what the text areas of the page say, from top to bottom."""
        return self.page.get_by_test_id("htx-textbox-view").all_inner_texts()

    def wait_for_text(self, text: str) -> None:
        """Return when some text area says `text`."""
        said = self.page.get_by_test_id("textarea-region").filter(has_text=text)
        expect(said.first).to_be_visible(timeout=ANSWER_MS)

    def screenshot(self, name: str) -> Path:
        """Keep a picture of the page under `name`, and return its file."""
        file = self._shots / f"{name}.png"
        self.page.screenshot(path=file)
        return file

    @property
    def _picture(self) -> Locator:
        return self.page.locator('img[alt="image"]')

    def _at(self, x: float, y: float) -> tuple[float, float]:
        box = self._picture.bounding_box()
        assert box is not None
        return box["x"] + box["width"] * x / 100, box["y"] + box["height"] * y / 100

    def _settle(self) -> None:
        """Give the page's own scripts a moment, as a hand does between two moves."""
        self.page.wait_for_timeout(SETTLE_MS)
