"""The operator's page in Chromium, with its script and without, before real processes.

No Label Studio is needed: the page only links to it. The screenshots of the documents are taken
here, too.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from grounding.demo.backend import free_port
from grounding.web.operator.page import REFRESH_SECONDS
from tests.e2e.hosting import READY_S, UP
from tests.e2e.processes import Server, serving
from tests.faults.label_studio import CONTROL, TOKEN, label_studio

pytestmark = pytest.mark.e2e

USER, PASSWORD = "operator", "a password"
STUDIO = "http://localhost:8080"
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    f'<RectangleLabels name="{CONTROL}" toName="image">'
    '<Label value="red circle"/><Label value="blue square"/></RectangleLabels></View>'
)
FILES = ("shapes-1.png", "shapes-2.jpg", "shapes-3.png", "shapes-4.jpg", "shapes-5.jpg")
REFRESHED_MS = 20_000
MOST_BYTES = 300_000


@pytest.fixture(scope="module")
def server(output: Path) -> Iterator[Server]:
    """Our backend, as `backend` runs it, with no Label Studio behind it."""
    with backend(output / "operator", STUDIO) as running:
        yield running


@contextmanager
def backend(folder: Path, studio: str) -> Iterator[Server]:
    """Run our backend with the shapes checkpoint and a password around the block."""
    folder.mkdir()
    port = free_port()
    env = {
        "BASIC_AUTH_USER": USER,
        "BASIC_AUTH_PASS": PASSWORD,
        "LABEL_STUDIO_URL": studio,
        "LABEL_STUDIO_API_KEY": TOKEN,
        "GROUNDING_DATA_DIR": str(folder / "data"),
        "GROUNDING_BULK_DEADLINE": "1",
    }
    url, log = f"http://127.0.0.1:{port}", folder / "operator.log"
    command = [*UP, "--port", str(port)]
    with serving("the backend", url, command, log=log, env=env) as running:
        with httpx.Client(auth=(USER, PASSWORD), trust_env=False) as client:
            limit = time.monotonic() + READY_S
            while not _is_ready(client, url) and time.monotonic() < limit:
                time.sleep(0.5)
        yield running


def _is_ready(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/ready").status_code == 200
    except httpx.TransportError:
        return False


def ask(server: Server, project: int, files: list[str], first: int = 1) -> None:
    """Ask for pictures as a Retrieve does; what takes longer than a second goes on."""
    tasks = [
        {"id": first + n, "data": {"image": f"{server.url}/examples/{name}"}}
        for n, name in enumerate(files)
    ]
    body = {"tasks": tasks, "project": f"{project}.17", "label_config": CONFIG, "params": {}}
    answer = httpx.post(
        f"{server.url}/predict", json=body, auth=(USER, PASSWORD), timeout=60, trust_env=False
    )
    answer.raise_for_status()


def counts(server: Server, project: int) -> dict[str, int]:
    """Return what `/jobs` says of a project."""
    shown = httpx.get(f"{server.url}/jobs", auth=(USER, PASSWORD), trust_env=False).json()
    return next(one for one in shown["projects"] if one["project"] == f"{project}.17")


@pytest.fixture(params=[True, False], ids=["with the script", "without scripts"])
def page(request: pytest.FixtureRequest, browser: Browser, server: Server) -> Iterator[Page]:
    """A browser of an operator who has given the password."""
    context = browser.new_context(
        java_script_enabled=request.param,
        http_credentials={"username": USER, "password": PASSWORD},
        viewport={"width": 1180, "height": 900},
    )
    shown = context.new_page()
    foreign: list[str] = []
    shown.on("request", lambda one: one.url.startswith(server.url) or foreign.append(one.url))
    errors: list[str] = []
    shown.on("console", lambda one: one.type == "error" and errors.append(one.text))
    shown.on("pageerror", lambda one: errors.append(str(one)))
    yield shown
    context.close()
    assert foreign == [], "the page loads nothing from elsewhere"
    assert errors == [], "the policy forbids nothing that the page does"


def row(page: Page, project: int) -> str:
    found = page.locator("#projects tr", has=page.locator(f"td:first-child >> text='{project}'"))
    return " ".join(found.first.inner_text().split())


def test_what_runs_is_shown_and_stays_up_to_date_by_itself(
    page: Page, server: Server, request: pytest.FixtureRequest
) -> None:
    project = 20 + ("without" in request.node.name)
    page.goto(server.url)
    expect(page.get_by_role("heading", name="Ready")).to_be_visible()
    expect(page.locator("#workers")).to_contain_text("GiB")
    ask(server, project, [*FILES, "missing.png"])
    link = page.locator("#projects a", has_text=re.compile(f"^{project}$"))
    expect(link).to_have_attribute(
        "href", f"{STUDIO}/projects/{project}/data", timeout=REFRESHED_MS
    )
    expect(page.locator("#failures")).to_contain_text("image_", timeout=REFRESHED_MS)
    failed = page.locator("#failures a", has_text=re.compile("^6$")).first
    expect(failed).to_have_attribute("href", f"{STUDIO}/projects/{project}/data?task=6")
    expect(page.locator("figure").first).to_be_visible(timeout=REFRESHED_MS)


def test_failed_tasks_are_asked_again_with_one_click(
    page: Page, server: Server, request: pytest.FixtureRequest
) -> None:
    project = 120 + ("without" in request.node.name)
    ask(server, project, ["missing.png", "missing-too.png"])
    page.goto(server.url)
    before = counts(server, project)
    assert before["failed"] == 2
    found = page.locator("#projects tr", has=page.locator(f"a[href$='/projects/{project}/data']"))
    found.get_by_role("button", name="Retry 2 failed").click()
    expect(page.get_by_text(f"Asked 2 failed tasks of project {project} again")).to_be_visible()
    limit = time.monotonic() + 30
    while counts(server, project)["failed"] < 4 and time.monotonic() < limit:
        time.sleep(0.2)
    assert counts(server, project)["failed"] == 4, "they were tried again, and fail again"


def test_waiting_tasks_are_dropped_after_a_question(
    page: Page, server: Server, request: pytest.FixtureRequest
) -> None:
    project = 220 + ("without" in request.node.name)
    ask(server, project, list(FILES) * 60)
    page.goto(server.url)
    found = page.locator("#projects tr", has=page.locator(f"a[href$='/projects/{project}/data']"))
    found.get_by_role("link", name="Cancel").click()
    expect(page.locator(".question")).to_contain_text(f"of project {project}?")
    page.get_by_role("button", name="Drop them").click()
    expect(page.locator(".told")).to_contain_text(f"of project {project}")
    limit = time.monotonic() + 30
    while (left := counts(server, project))["running"] and time.monotonic() < limit:
        time.sleep(0.2)
    assert (left["pending"], left["running"]) == (0, 0)
    assert left["reasons"]["cancelled"] > 0  # type: ignore[index]


@pytest.mark.parametrize("page", [True], indirect=True)
def test_a_server_that_does_not_answer_is_asked_once_at_a_time(page: Page, server: Server) -> None:
    held: list[Route] = []
    page.goto(server.url)
    page.route(f"{server.url}/", lambda one: held.append(one))
    page.wait_for_timeout(3.5 * 1000 * REFRESH_SECONDS)
    assert len(held) == 1
    expect(page.locator("#connection")).to_contain_text("does not answer", timeout=REFRESHED_MS)
    page.unroute(f"{server.url}/")
    expect(page.locator("#connection")).to_be_empty(timeout=REFRESHED_MS)


def test_another_site_s_form_changes_nothing(
    browser: Browser, server: Server, tmp_path: Path
) -> None:
    """A browser that knows the password is led to a foreign page, which posts by itself."""
    ask(server, 400, ["missing.png"])
    context = browser.new_context(http_credentials={"username": USER, "password": PASSWORD})
    page = context.new_page()
    page.goto(server.url)
    before = counts(server, 400)
    page.set_content(
        f'<form method="post" action="{server.url}/projects/400.17/retry">'
        '<input name="token" value="guessed"><button>Win</button></form>'
    )
    page.goto("about:blank")
    page.set_content(
        f'<form method="post" action="{server.url}/projects/400.17/retry">'
        '<input name="token" value="guessed"><button>Win</button></form>'
    )
    with page.expect_response(lambda one: one.url.endswith("/retry")) as answered:
        page.get_by_role("button").click()
    assert answered.value.status == 403
    assert counts(server, 400) == before
    context.close()


def test_the_picture_of_the_page_for_the_documents(browser: Browser, output: Path) -> None:
    """A run at work, a worker, failures and answers, as an operator sees them."""
    with label_studio() as studio, backend(output / "pictured", studio.url) as server:
        studio.tasks = {7: set(range(1, 99)), 12: set(range(1, 999))}
        ask(server, 7, [*FILES, "missing.png", "moved.png"])
        ask(server, 12, list(FILES) * 150)
        time.sleep(10)
        take(browser, server, output)


def take(browser: Browser, server: Server, output: Path) -> None:
    """Take the whole page, once it shows some answers."""
    context = browser.new_context(
        http_credentials={"username": USER, "password": PASSWORD},
        viewport={"width": 1180, "height": 900},
    )
    page = context.new_page()
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(server.url)
    expect(page.locator("figure").nth(3)).to_be_visible(timeout=REFRESHED_MS)
    page.reload()
    folder = Path(os.environ.get("DOCS_PICTURES") or output / "docs")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "operator.png"
    expect(page.locator("figure .place rect").first).to_be_attached()
    with Image.open(BytesIO(page.screenshot(full_page=True))) as shot:
        shot.convert("RGB").quantize(128).save(file, optimize=True)
    context.close()
    assert file.stat().st_size < MOST_BYTES
