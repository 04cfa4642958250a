"""The operator's page at `/`: workers, projects and failures for people; JSON for programs."""

from __future__ import annotations

import base64
import re

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from grounding.engines.base import DeviceMemory
from grounding.errors import ImageMissing
from grounding.jobs.heartbeat import Heartbeat
from grounding.jobs.operating import foreign
from grounding.jobs.operating.answers import LastAnswers
from grounding.jobs.operating.overview import describe_queue
from grounding.jobs.outbox.outbox import Outbox
from grounding.jobs.payloads import build, restore
from grounding.jobs.queues import Queues
from grounding.jobs.store import Job, JobStore, QueueName
from grounding.settings import Settings
from grounding.tasks import Task
from grounding.web.bodies import PredictRequest
from grounding.web.operator.page import _duration, _pace
from grounding.web.submission import JobFactory
from tests.serving import CONFIG, FOUND, Start, predict, request

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


def test_the_page_loads_from_this_server_alone(start: Start) -> None:
    client = start()
    page = client.get("/", headers={"Accept": BROWSER})
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert {"script-src 'self'", "form-action 'self'", "frame-ancestors 'none'"} <= set(
        policy.split("; ")
    )
    assert re.findall(r'(?:src|href|action)="([^"]+)"', page.text) == ["data:,", "operator.js"]
    script = client.get("/operator.js")
    assert script.mimetype in ("text/javascript", "application/javascript")


def test_what_others_wrote_is_shown_as_text(start: Start, worker: list[int]) -> None:
    client = start()
    config = '<View><RectangleLabels name="box"><Label value="x"/></RectangleLabels></View>'
    refused = client.post("/predict", json=request(3, 4, project="9", label_config=config))
    assert refused.status_code == 400
    page = client.get("/", headers={"Accept": BROWSER}).text
    assert "&lt;RectangleLabels name=" in page
    assert "<RectangleLabels" not in page


@pytest.mark.parametrize(
    "words", ["did=cancel", "did=retry", "did=cancel&count=1e999", f"did=retry&count={'9' * 5000}"]
)
def test_an_address_that_somebody_made_up_shows_the_page(start: Start, words: str) -> None:
    assert start().get(f"/?{words}", headers={"Accept": BROWSER}).status_code == 200


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


def test_a_worker_shows_how_far_it_is_and_how_full_its_device(start: Start, redis: Redis) -> None:
    heartbeat = Heartbeat(redis, "w-1", "Qwen2.5-VL-7B", host="gpu-3")
    heartbeat.measure = lambda: DeviceMemory("NVIDIA H200", 30 * 2**30, 139 * 2**30)
    heartbeat.update(phase="loading", done=0.4, detail="shard 2 of 5")
    page = start().get("/", headers={"Accept": BROWSER}).text
    for part in ("gpu-3", 'value="0.4"', "shard 2 of 5", "30.0 of 139.0 GiB", "NVIDIA H200"):
        assert part in page


def token_of(page: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def enter(redis: Redis, *ids: int, project: str = "7.5") -> JobStore:
    """Accept bulk tasks as a Retrieve does, of which nobody takes any."""
    store = JobStore(redis)
    request = PredictRequest((), project, CONFIG, None, 0.0)
    version = Settings.load().model_version(CONFIG)
    factory = JobFactory(request, Settings.load(), version, "")
    raw = [{"id": n, "data": {"image": f"http://host/{n}.png"}} for n in ids]
    jobs = [job for one in raw if isinstance(job := factory.job(one), Job)]
    assert len(store.accept(jobs, deliver_after=60)) == len(ids)
    return store


def fail_all(store: JobStore) -> None:
    for key in store.redis.zrange("grounding:2:pending", 0, -1):
        store.fail(key.decode(), ImageMissing("the picture is not there"))


def test_cancel_asks_first_then_drops_what_waits_and_says_so(start: Start, redis: Redis) -> None:
    store, client = enter(redis, *range(1, 6)), start()
    home = client.get("/", headers={"Accept": BROWSER}).text
    assert 'href="./?cancel=7.5"' in home
    asked = client.get("/?cancel=7.5", headers={"Accept": BROWSER}).text
    assert "Drop 5 waiting tasks of project" in asked
    assert "http-equiv" not in asked, "the question stays until it is answered"
    assert store.read_totals()[1] == 5, "a GET changes nothing"
    done = client.post("/projects/7.5/cancel", data={"token": token_of(asked)})
    assert (done.status_code, done.location) == (303, "../../?did=cancel&project=7.5&count=5")
    assert store.read_totals()[1] == 0
    told = client.get("/?did=cancel&project=7.5&count=5", headers={"Accept": BROWSER}).text
    assert 'title="cancelled 5"' not in told, "what was dropped has not failed"
    assert "Dropped 5 tasks of project 7" in told


def test_a_question_about_no_project_is_none(start: Start, redis: Redis) -> None:
    """Tasks without a project have no address at which they could be cancelled."""
    enter(redis, 1, project="")
    client = start()
    for path in ("/", "/?cancel="):
        page = client.get(path, headers={"Accept": BROWSER}).text
        assert "1 waiting task" not in page
        assert ">Cancel</a>" not in page
        assert "data-seconds" in page, "it goes on refreshing"


@pytest.mark.parametrize("seen", [True, False], ids=["a page seen before", "the first page"])
def test_cancel_can_be_pressed_when_redis_has_no_memory_left(
    start: Start, redis: Redis, seen: bool
) -> None:
    store, client = enter(redis, 1, 2), start()
    if seen:
        client.get("/", headers={"Accept": BROWSER})
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            redis.set("x", "y")
        asked = client.get("/?cancel=7.5", headers={"Accept": BROWSER}).text
        done = client.post("/projects/7.5/cancel", data={"token": token_of(asked)})
    finally:
        redis.config_set("maxmemory", 0)
    assert (done.status_code, done.location) == (303, "../../?did=cancel&project=7.5&count=2")
    assert store.read_totals()[1] == 0


@pytest.mark.parametrize(
    ("broken", "shown"),
    [
        ("answers", ["Drop 1 waiting task", 'name="token"']),
        ("form_token", ["7", "Last answers", "data-seconds"]),
        ("unfinished", ["Last answers"]),
    ],
)
def test_a_part_of_the_page_that_cannot_be_read_leaves_the_others(
    start: Start, redis: Redis, monkeypatch: pytest.MonkeyPatch, broken: str, shown: list[str]
) -> None:
    monkeypatch.setattr(foreign, "AT_ONCE_SECONDS", 0)  # as where there are too many keys
    monkeypatch.setattr("grounding.jobs.reconciler.PERIOD_SECONDS", 60)  # and no round mends it
    enter(redis, 1)
    LastAnswers(redis, 12).keep(("7.5", 3), (640, 480), FOUND, b"a picture")
    client = start()
    client.get("/", headers={"Accept": BROWSER})
    redis.delete(f"grounding:2:{broken}")
    redis.zadd(f"grounding:2:{broken}", {"x": 1})
    page = client.get("/?cancel=7.5", headers={"Accept": BROWSER}).text
    for part in (*shown, "Workers", "the queue refuses to work"):
        assert part in page


def test_retry_asks_failed_tasks_again_and_label_studio_gets_what_comes_of_it(
    start: Start, redis: Redis
) -> None:
    store, client = enter(redis, 3, 4), start()
    fail_all(store)
    home = client.get("/", headers={"Accept": BROWSER}).text
    assert "Retry 2 failed" in home
    done = client.post("/projects/7.5/retry", data={"token": token_of(home)})
    assert done.location == "../../?did=retry&project=7.5&count=2&not_kept=0&refused=0"
    assert describe_queue(store)["failed"] == []
    assert Queues(redis).depths()[QueueName.BULK] == 2
    keys = [key.decode() for key in redis.zrange("grounding:2:pending", 0, -1)]
    for key in keys:
        claim = store.claim(key, "me")
        assert claim is not None
        assert build(Task, restore(claim)).label_config == CONFIG
        store.finish(key, {"result": []}, "nothing")
    assert {one.task for one in Outbox(redis).due("7.5", 10)} == {3, 4}


def test_a_retry_asks_under_the_settings_of_now(
    start: Start, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = enter(redis, 3)
    fail_all(store)
    monkeypatch.setenv("GROUNDING_MAX_PIXELS", "200000")
    client = start()
    assert client.post("/projects/7.5/retry", json={}).json["count"] == 1  # type: ignore[index]
    (key,) = (key.decode() for key in redis.zrange("grounding:2:pending", 0, -1))
    claim = store.claim(key, "me")
    assert claim is not None
    assert claim.payload["model_version"] == Settings.load().model_version(CONFIG)


def test_what_is_not_kept_may_be_retrieved_at_once_and_the_page_says_so(
    start: Start, redis: Redis
) -> None:
    store, client = enter(redis, 3), start()
    fail_all(store)
    redis.hdel("grounding:2:failure:7.5:3", "payload")
    assert client.post("/projects/7.5/retry", json={}).json == {
        "count": 0,
        "not_kept": 1,
        "refused": 0,
    }
    told = client.get(
        "/?did=retry&project=7.5&count=0&not_kept=1&refused=0", headers={"Accept": BROWSER}
    )
    assert "retrieve predictions" in told.text
    enter(redis, 3)
    assert store.read_totals()[1] == 1


FORM = "application/x-www-form-urlencoded"
FOREIGN: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "no token": ({}, {}),
    "a wrong token": ({"token": "x"}, {}),
    "an empty token": ({"token": ""}, {}),
    "a form of another site": ({}, {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil"}),
    "a form of a sibling site": ({}, {"Sec-Fetch-Site": "same-site"}),
    "plain text that looks like JSON": ({}, {"Content-Type": "text/plain"}),
}


@pytest.mark.parametrize("action", ["cancel", "retry"])
@pytest.mark.parametrize(("form", "headers"), FOREIGN.values(), ids=FOREIGN)
def test_no_other_site_can_make_a_browser_act(
    start: Start, redis: Redis, action: str, form: dict[str, str], headers: dict[str, str]
) -> None:
    store, client = enter(redis, 1), start()
    asked = client.post(f"/projects/7.5/{action}", data=form, headers=headers)
    assert (asked.status_code, asked.json["error"]["code"]) == (403, "cross_site")  # type: ignore[index]
    assert store.read_totals()[1] == 1


def test_a_right_token_from_another_site_is_refused_too(start: Start, redis: Redis) -> None:
    enter(redis, 1)
    client = start()
    token = token_of(client.get("/?cancel=7.5", headers={"Accept": BROWSER}).text)
    for site, status in (("cross-site", 403), ("same-origin", 303)):
        sent = {"Sec-Fetch-Site": site}
        done = client.post("/projects/7.5/cancel", data={"token": token}, headers=sent)
        assert done.status_code == status


@pytest.mark.parametrize("path", ["/projects/7.5/cancel", "/projects/7.5/retry"])
def test_acting_wants_the_password_and_a_post(
    start: Start, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    assert start().get(path).status_code == 405
    monkeypatch.setenv("BASIC_AUTH_USER", "u")
    monkeypatch.setenv("BASIC_AUTH_PASS", "p")
    for method in ("post", "get"):
        assert getattr(start(), method)(path, json={}).status_code == 401


@pytest.mark.parametrize("project", ["x", "../1", "1;2", "9" * 50])
def test_a_project_that_is_no_number_is_refused(start: Start, project: str) -> None:
    assert start().post(f"/projects/{project}/cancel", json={}).status_code in (400, 404)


def test_the_last_answers_are_pictures_with_what_was_found_on_them(
    start: Start, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://studio:8080")
    LastAnswers(redis, 12).keep(("7.5", 3), (640, 480), FOUND, b"a picture")
    client = start()
    page = client.get("/", headers={"Accept": BROWSER}).text
    assert page.count('<g class="place">') == len(FOUND)
    assert "cat ×3" in page
    assert 'href="http://studio:8080/projects/7/data?task=3"' in page
    found = re.search(r'href="(thumbnails/[^"]+)"', page)
    assert found is not None
    picture = client.get(f"/{found[1]}")
    assert (picture.data, picture.mimetype) == (b"a picture", "image/jpeg")
    assert "private" in picture.headers["Cache-Control"]
    assert client.get("/thumbnails/unknown").status_code == 404
    monkeypatch.setenv("GROUNDING_SHOWN_ANSWERS", "0")
    off = start()
    assert "Last answers" not in off.get("/", headers={"Accept": BROWSER}).text
    assert off.get(f"/{found[1]}").status_code == 404


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3720, "1 h 2 min"),
     (3660 * 48, "2 d"), (90_000, "1 d 1 h")],
)  # fmt: skip
def test_a_time_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert _duration(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(None, ""), (2.5, "2.5/s"), (0.5, "30.0/min"), (0.01, "36.0/h"), (1e-5, "0.0/h")],
)
def test_a_pace_is_told_in_the_unit_in_which_it_reads_well(rate: float | None, text: str) -> None:
    assert _pace(rate) == text
