"""The operator's page at `/`: workers, projects and failures for people; JSON for programs."""

from __future__ import annotations

import base64

import pytest

from tests.serving import Start, predict, request

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, text/html"])
def test_programs_are_answered_with_json_as_ever(start: Start, accept: str | None) -> None:
    answer = start().get("/", headers={"Accept": accept} if accept else {})
    assert answer.json == {"status": "UP", "model_class": "QwenGrounding"}


def test_people_see_workers_projects_and_failures_with_links(
    start: Start, worker: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://studio:8080/sub")
    client = start()
    predict(client, 1, 3, project="7.123")
    page = client.get("/", headers={"Accept": BROWSER})
    assert page.mimetype == "text/html"
    for part in (
        ">Ready</h1>",
        "shapes",
        'href="http://studio:8080/sub/projects/7/data"',
        'href="http://studio:8080/sub/projects/7/data?task=1"',
        "image_not_found",
        "the picture is not there",
    ):
        assert part in page.text
    assert "LABEL_STUDIO_API_KEY" in page.text, "what will fail is told"


def test_the_page_loads_nothing_and_runs_no_script(start: Start) -> None:
    page = start().get("/", headers={"Accept": BROWSER})
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "<script" not in page.text
    assert "src=" not in page.text


def test_what_others_wrote_is_shown_as_text(start: Start, worker: list[int]) -> None:
    client = start()
    config = '<View><RectangleLabels name="box"><Label value="x"/></RectangleLabels></View>'
    refused = client.post("/predict", json=request(3, 4, project="9", label_config=config))
    assert refused.status_code == 400
    page = client.get("/", headers={"Accept": BROWSER}).text
    assert "&lt;RectangleLabels name=" in page
    assert "<RectangleLabels" not in page


def test_without_a_worker_or_a_queue_the_page_says_so(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Not ready" in start().get("/", headers={"Accept": BROWSER}).text
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    page = start().get("/", headers={"Accept": BROWSER})
    assert (page.status_code, "Not ready" in page.text) == (200, True)
    assert "REDIS_URL" in page.text


def test_the_page_wants_the_password(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIC_AUTH_USER", "u")
    monkeypatch.setenv("BASIC_AUTH_PASS", "p")
    client = start()
    assert client.get("/", headers={"Accept": BROWSER}).status_code == 401
    key = base64.b64encode(b"u:p").decode()
    headers = {"Accept": BROWSER, "Authorization": f"Basic {key}"}
    assert client.get("/", headers=headers).mimetype == "text/html"
