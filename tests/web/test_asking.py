"""What an annotator gets back in the page: new regions, and a message about what happened."""

from __future__ import annotations

import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from grounding.jobs.heartbeat import Heartbeat
from grounding.jobs.store import Job, JobStore, QueueName, job_key
from grounding.web import interactive
from grounding.web.projects import Requester
from tests.faults.rig import until
from tests.jobs.contents import pending_keys
from tests.serving import STATUS, TALKING, Start, Worked, predict, request, said, typed


def ask(client: FlaskClient, number: int, text: str = "cats", **more: Any) -> dict[str, Any]:
    """Return the entry for a prompt typed on one task."""
    entries = predict(client, number, **{"label_config": TALKING, "params": typed(text), **more})
    return dict(entries[0])


def boxes(entry: dict[str, Any]) -> list[float]:
    """Return where an entry's boxes begin."""
    return [r["value"]["x"] for r in entry["result"] if r["from_name"] == "box"]


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (1, "image not readable: the picture is not there. Check that"),
        (3, "3 found"),
        (4, "nothing found"),
    ],
)
def test_the_message_about_what_happened_is_in_the_page_and_in_the_log(
    client: FlaskClient,
    worker: list[int],
    caplog: pytest.LogCaptureFixture,
    number: int,
    word: str,
) -> None:
    caplog.set_level(logging.INFO)
    (text,) = said(ask(client, number))
    assert text.startswith(word)
    assert f"task {number}: {text}" in caplog.text


def test_without_a_status_area_there_is_no_message(client: FlaskClient, worker: list[int]) -> None:
    silent = TALKING.replace(STATUS, "")
    assert ask(client, 1, label_config=silent)["result"] == []


BAD = {
    "a place that is none": {
        "context": {"result": [{"type": "keypoint", "value": {"x": 500, "y": 5}}]}
    },
    "no results": {"context": {"result": 5}},
    "a long prompt": typed("x" * 5000),
}


@pytest.mark.parametrize("params", BAD.values(), ids=BAD)
def test_a_bad_context_is_explained_in_the_page_and_makes_no_job(
    client: FlaskClient, worker: list[int], params: dict[str, Any]
) -> None:
    entry = ask(client, 3, params=params)
    assert (boxes(entry), len(said(entry))) == ([], 1)
    assert worker == []


def test_a_broken_config_is_explained_in_its_status_area_or_refused_without_one(
    client: FlaskClient,
) -> None:
    broken = TALKING.replace('<Label value="cat"/>', "")
    (text,) = said(ask(client, 3, label_config=broken))
    assert "has no <Label>" in text
    body = request(3, label_config=broken.replace(STATUS, ""), params=typed("cats"))
    assert client.post("/predict", json=body).status_code == 400


@pytest.mark.parametrize("step", ["kept_params", "read_config", "_keep_prompt", "run_jobs"])
@pytest.mark.parametrize("config", [TALKING, TALKING.replace(STATUS, "")], ids=["area", "none"])
def test_a_fault_of_ours_is_no_error_of_the_page_s(
    client: FlaskClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
    config: str,
) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(interactive, step, fail)
    entry = ask(client, 3, label_config=config)
    texts = said(entry)
    assert boxes(entry) == []
    assert len(texts) == (config == TALKING)
    assert "secret" not in str(texts)
    (error_id,) = re.findall(r"tasks 3: fault (\w{8})", caplog.text)
    assert all(text.endswith(error_id) for text in texts)


def test_too_many_tasks_are_explained_to_an_annotator(
    env: pytest.MonkeyPatch, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    env.setenv("GROUNDING_MAX_TASKS", "11")
    client = start()
    entries = predict(client, *range(12), label_config=TALKING, params=typed("cats"))
    assert [said(entry) for entry in entries] == [
        ["the request has 12 tasks. Send at most 11"]
    ] * 12
    assert "tasks 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …: the request has 12 tasks" in caplog.text


def test_without_a_queue_the_page_says_so(env: pytest.MonkeyPatch, start: Start) -> None:
    env.setenv("REDIS_URL", "redis://127.0.0.1:1")
    (text,) = said(ask(start(), 3))
    assert "REDIS_URL" in text


def test_a_task_without_data_is_explained_in_the_page(
    client: FlaskClient, worker: list[int]
) -> None:
    body = request(label_config=TALKING, params=typed("cats")) | {"tasks": [{"id": 3}, None]}
    entries = client.post("/predict", json=body).json["results"]  # type: ignore[index]
    said_of_each = [text for entry in entries for text in said(entry)]
    assert [text.partition(".")[0] for text in said_of_each] == ["a task has no data"] * 2


@pytest.mark.parametrize(
    ("phase", "word"),
    [
        ("ready", "the model did not answer in time"),
        ("loading", "the model is not ready: loading 40%"),
        (None, "the model is not ready: no worker is running"),
    ],
)
def test_a_late_answer_is_explained(
    env: pytest.MonkeyPatch, start: Start, redis: Redis, phase: str | None, word: str
) -> None:
    env.setenv("GROUNDING_INTERACTIVE_DEADLINE", "0.2")
    if phase:
        Heartbeat(redis, "w", "m").update(phase=phase, done=0.4)
    (text,) = said(ask(start(), 3))
    assert text.startswith(word)


def test_a_full_queue_is_explained(
    env: pytest.MonkeyPatch, start: Start, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    env.setenv("GROUNDING_MAX_PENDING", "1")
    env.setenv("GROUNDING_INTERACTIVE_DEADLINE", "0.2")
    client = start()
    for number in range(2):
        JobStore(redis).accept([Job(f"other{number}", QueueName.INTERACTIVE, "1.1795316671", {})])
    (text,) = said(ask(client, 3))
    assert text.startswith("no room: the project has too many unfinished tasks")
    (line,) = [one.message for one in caplog.records if "not accepted" in one.message]
    assert line.startswith("project 1.1795316671: 1 of 1 tasks")


@pytest.mark.parametrize("results", [[], [{"type": "choices", "from_name": "ch", "value": {}}]])
def test_a_request_that_asks_nothing_leaves_the_status_area_as_it_is(
    client: FlaskClient, worker: list[int], results: list[Any]
) -> None:
    """The page also calls when a suggestion was accepted: the last message must stay."""
    assert ask(client, 3, params={"context": {"result": results}})["result"] == []
    assert worker == []


def test_a_lone_excluding_click_is_explained(client: FlaskClient) -> None:
    click = {"type": "keypoint", "value": {"x": 5, "y": 5}, "is_positive": False}
    (text,) = said(ask(client, 3, params={"context": {"result": [click]}}))
    assert text.startswith("click on what you want first")


def test_the_same_prompt_is_answered_from_the_job_store_with_new_ids(
    client: FlaskClient, worker: list[int]
) -> None:
    """Regions with the same ids would overwrite what the annotator made of the first answer."""
    choice = {"type": "choices", "id": "c1", "from_name": "ch", "value": {"choices": ["ok"]}}
    first, second = ask(client, 3), ask(client, 3, params=typed("cats", choice))
    assert worker == [3]
    assert boxes(first) == boxes(second) == [10, 40, 70]
    names = [{r["id"] for r in entry["result"]} for entry in (first, second)]
    assert names[0].isdisjoint(names[1])


def test_a_region_of_the_draft_is_not_suggested_again(
    client: FlaskClient, worker: list[int]
) -> None:
    taken = [r for r in ask(client, 3)["result"] if r["from_name"] == "box"][:2]
    draft = {"id": 1, "user": "a@b.co", "result": taken, "annotation": None}
    body = request(3, label_config=TALKING, params=typed("cats"))
    body["tasks"][0]["drafts"] = [draft]
    (entry,) = client.post("/predict", json=body).json["results"]  # type: ignore[index]
    assert (boxes(entry), said(entry)) == ([70], ["1 found (2 already on the page)"])
    assert worker == [3], "the answer is the same; only what is shown differs"


@pytest.mark.parametrize(
    ("older", "kept"), [(False, []), (True, [10, 40, 70])], ids=["ours", "an older model's"]
)
def test_a_region_of_the_prediction_that_the_page_shows_is_not_suggested_again(
    client: FlaskClient, worker: list[int], older: bool, kept: list[float]
) -> None:
    """The page has made an unsaved draft of it, so the request has the prediction only."""
    (shown,) = predict(client, 3, label_config=TALKING)
    version = "older" if older else shown["model_version"]
    stored = {"id": 9, "result": shown["result"], "created_at": "2026-01-01"}
    body = request(3, label_config=TALKING, params=typed("cats"))
    body["tasks"][0] |= {"drafts": [], "predictions": [{**stored, "model_version": version}]}
    (entry,) = client.post("/predict", json=body).json["results"]  # type: ignore[index]
    assert boxes(entry) == kept
    assert said(entry) == ["3 found" if older else "nothing new found (3 already on the page)"]


@pytest.mark.parametrize(
    ("name", "number", "kept", "word"),
    [
        ("score_threshold", 0.5, [10, 70], "2 found (1 below the score threshold)"),
        ("score_threshold", 95, [], "nothing found (3 below the score threshold)"),
        ("max_regions", 1, [10], "1 found (2 beyond max_regions)"),
    ],
)
def test_numbers_in_the_page_limit_each_answer(
    client: FlaskClient, worker: list[int], name: str, number: float, kept: list[float], word: str
) -> None:
    limit = {"type": "number", "from_name": name, "value": {"number": number}}
    ask(client, 3)
    entry = ask(client, 3, params=typed("cats", limit))
    assert (boxes(entry), said(entry)) == (kept, [word])
    assert worker == [3]


REMEMBERING = TALKING.replace('name="prompt"', 'name="prompt" model_remember="prelabel"')


def test_pre_labelling_looks_for_the_last_prompt_where_the_config_says_so(
    client: FlaskClient, worker: list[int]
) -> None:
    versions = set()
    for prompt in ("red", "red", "blue"):
        ask(client, 3, prompt, label_config=REMEMBERING)
        versions.add(predict(client, 7, label_config=REMEMBERING)[0]["model_version"])
    assert worker.count(7) == 2, "once for each prompt"
    assert len(versions) == 1, "the prompt is no part of the version"


def test_the_last_prompt_can_be_forgotten(client: FlaskClient, worker: list[int]) -> None:
    ask(client, 3, "red", label_config=REMEMBERING)
    predict(client, 7, label_config=REMEMBERING)
    assert said(ask(client, 3, "-", label_config=REMEMBERING)) == ["the prompt is forgotten"]
    predict(client, 7, label_config=REMEMBERING)
    assert worker.count(7) == 2, "with the prompt, and without it"


@pytest.mark.parametrize(
    ("config", "project"),
    [(TALKING, "1.1795316671"), (REMEMBERING, None)],
    ids=["the config does not say so", "the project has no name"],
)
def test_a_prompt_is_kept_for_nobody_else(
    client: FlaskClient, worker: list[int], config: str, project: str | None
) -> None:
    predict(client, 7, label_config=config, project=project)
    ask(client, 3, "red", label_config=config, project=project)
    (entry,) = predict(client, 7, label_config=config, project=project)
    assert worker.count(7) == 1, "it is the same job as before"
    assert said(entry, "prompt") == [], "the page's own field stays as it is"


def test_a_user_whose_name_is_no_text_is_answered(client: FlaskClient, worker: list[int]) -> None:
    tasks = request(4)["tasks"]
    tasks[0]["drafts"] = [{"user": "\ud800", "result": []}]
    assert said(ask(client, 4, tasks=tasks)) == ["nothing found"]


def body(number: int, text: str, user: str) -> dict[str, Any]:
    """Return what a user asks about a task."""
    asked = request(number, label_config=TALKING, params=typed(text))
    asked["tasks"][0]["drafts"] = [{"user": user, "result": []}]
    return asked


def test_an_earlier_request_of_the_same_user_is_dropped_though_it_runs(
    client: FlaskClient, worker: Worked, redis: Redis
) -> None:
    worker.seconds = 60
    with ThreadPoolExecutor(2) as callers:
        old = callers.submit(client.post, "/predict", json=body(2, "old", "a@b.co"))
        until(lambda: worker == [2], 20)
        new = callers.submit(client.post, "/predict", json=body(2, "new", "a@b.co"))
        answers = [said(old.result(20).json["results"][0])]
        worker.enough.set()
        answers.append(said(new.result(20).json["results"][0]))
    assert answers == [["a newer request took its place"], ["nothing found"]]
    assert JobStore(redis).read_totals()[0]["failed:nobody_waits"] == 1


def test_an_earlier_request_of_the_same_user_on_the_same_task_is_dropped(
    client: FlaskClient, worker: Worked, redis: Redis
) -> None:
    """The only interactive slot is busy; of three that wait on task 5, two are answered."""
    worker.seconds = 60
    bodies = [body(2, "x", "a@b.co"), body(5, "old", "a@b.co")]
    bodies += [body(5, "other", "c@d.co"), body(5, "new", "a@b.co")]
    words: dict[int, list[str]] = {}

    def ask_it(n: int) -> None:
        (entry,) = client.post("/predict", json=bodies[n]).json["results"]  # type: ignore[index]
        words[n] = said(entry)

    threads = [threading.Thread(target=ask_it, args=(n,)) for n in range(len(bodies))]
    for place, thread in enumerate(threads, 1):
        thread.start()
        until(lambda: len(pending_keys(JobStore(redis))) == min(place, 3), 20)  # noqa: B023
    worker.enough.set()
    for thread in threads:
        thread.join(30)
    assert words[1] == ["a newer request took its place"]
    assert [words[n] for n in (0, 2, 3)] == [["nothing found"]] * 3
    assert worker == [2, 5, 5]


def test_a_job_knows_who_asks_it_by_a_digest(client: FlaskClient, redis: Redis) -> None:
    store = JobStore(redis)
    body = request(5, label_config=TALKING, params=typed("cats"))
    body["tasks"][0]["drafts"] = [{"user": "a@b.co", "result": []}]
    thread = threading.Thread(target=client.post, args=("/predict",), kwargs={"json": body})
    thread.start()
    until(lambda: pending_keys(store), 20)
    (key,) = pending_keys(store)
    assert "a@b.co" not in str(redis.hgetall(job_key(key)))
    assert store.cancel([key], Requester(body["project"], 5, "c@d.co").digest) == 0
    assert store.cancel([key], Requester(body["project"], 5, "a@b.co").digest) == 1
    thread.join(20)
