"""A body of megabytes is read by a process of its own, with the same answers."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from grounding.errors import RequestError
from grounding.jobs.store import Job, JobStore, QueueName
from grounding.settings import Settings
from grounding.web.bodies import read_predict
from grounding.web.parsing import large
from grounding.web.parsing.large import LARGE, read_large
from grounding.web.parsing.strict import WrittenData, parse, write_data
from grounding.web.server import IN_MEMORY, KeptBody, RefusedError, Room
from grounding.web.submission import ACCEPT_BYTES, JobFactory, _batches, run_jobs
from tests.serving import CONFIG, TALKING, Start, request, said, typed
from tests.web.test_one_task import deep_text

JSON_TYPE = "application/json"
PADDING = "x" * 2 * LARGE


def post(client: FlaskClient, text: str, path: str = "/predict") -> Any:
    """Send a body as it stands."""
    return client.post(path, data=text, content_type=JSON_TYPE)


def read(body: object) -> Any:
    """Return what a child reads of a body."""
    raw = json.dumps(body).encode()
    return read_large(raw[:100], io.BytesIO(raw[100:]))


@pytest.mark.parametrize("params", [{}, typed("cat")], ids=["bulk", "interactive"])
def test_each_task_of_a_large_body_is_answered_or_refused_alone(
    client: FlaskClient, worker: list[int], params: dict[str, Any]
) -> None:
    body = request(3, 5, 6, 7, label_config=TALKING, params=params)
    body["tasks"][0]["data"]["note"] = PADDING
    body["tasks"][1]["data"]["deep"] = "HERE"
    body["tasks"][2]["data"]["note"] = "\ud800"
    body["tasks"] += [None, {"id": 9}, {"id": 9, "data": []}, 5, [], {"id": 3, "data": {}}]
    text = json.dumps(body).replace('"HERE"', deep_text(490, "list"))
    entries = post(client, text).json["results"]
    answered = [entry.get("id") if entry else None for entry in entries]
    assert answered == [3, None, None, 7, *[None] * 5, 3]
    if params:
        assert "nested deeper than 100" in said(entries[1])[0]
        assert "cannot be written" in said(entries[2])[0]
        assert "has no data" in said(entries[4])[0]


def test_a_large_body_asks_for_the_same_job_as_a_small_one(
    client: FlaskClient, worker: list[int]
) -> None:
    """Which is a digest of what the answer depends on, as in all releases."""
    small, body = request(7, 8), request(8, 9)
    body["tasks"][1]["data"]["note"] = PADDING
    assert [one["id"] for one in post(client, json.dumps(small)).json["results"]] == [7, 8]
    assert [one["id"] for one in post(client, json.dumps(body)).json["results"]] == [8, 9]
    assert sorted(worker) == [7, 8, 9], "8 was not worked on twice"


def test_the_key_is_a_digest_of_the_project_and_the_payload() -> None:
    body = request(8, project="7.1")
    factory = JobFactory(read_predict(body, 0), Settings.load(), "v", "")
    job = factory.job(body["tasks"][0])
    assert isinstance(job, Job)
    payload = {"context": None, "data": body["tasks"][0]["data"], "extra_params": "", "id": 8}
    payload |= {"label_config": CONFIG, "model_version": "v", "project": "7.1", "prompt": ""}
    whole = json.dumps(["7.1", "", payload], ensure_ascii=False, sort_keys=True)
    assert job.key == hashlib.sha256(whole.encode()).hexdigest()[:40]


def test_an_annotators_work_comes_with_a_large_body(client: FlaskClient, worker: list[int]) -> None:
    """What is there already is not drawn again: the draft was read."""
    body = request(3, label_config=TALKING, params=typed("cat"))
    body["tasks"][0]["data"]["note"] = PADDING
    (fresh,) = post(client, json.dumps(body)).json["results"]
    boxes = [one for one in fresh["result"] if one["from_name"] == "box"]
    assert len(boxes) == 3
    body["tasks"][0]["drafts"] = [{"id": 1, "result": boxes, "user": "ann@x"}]
    (again,) = post(client, json.dumps(body)).json["results"]
    assert [one for one in again["result"] if one["from_name"] == "box"] == []


REFUSED = {
    "cut off": ('{"tasks": ["X"', 400, "body_not_json"),
    "no JSON": ("nothing X", 400, "body_not_json"),
    "a list": ('["X"]', 400, "body_not_object"),
    "NaN": ('{"a": NaN, "b": "X"}', 400, "body_not_json"),
    "1e400": ('{"a": 1e400, "b": "X"}', 400, "body_not_json"),
    "a key twice": ('{"a": {"b": 1, "b": 2}, "c": "X"}', 400, "duplicate_key"),
    "no tasks": ('{"label_config": "<View/>", "x": "X"}', 400, "tasks_missing"),
    "no config": ('{"tasks": [], "x": "X"}', 400, "label_config_invalid"),
    "no parameters": (
        '{"tasks": [], "label_config": "<View/>", "params": "X"}',
        400,
        "params_invalid",
    ),
    "a context of megabytes": (
        '{"tasks": [], "label_config": "<View/>", "params": {"context": {"a": "X"}}}',
        413,
        "body_too_large",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_large_body_is_refused_as_a_small_one_is(client: FlaskClient, case: str) -> None:
    text, status, code = REFUSED[case]
    size = large.MAX_REST if status == 413 else 2 * LARGE
    answer = post(client, text.replace("X", "x" * size))
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code)


def test_a_large_body_is_not_read_where_none_is_meant(client: FlaskClient) -> None:
    body = {"project": "1.1", "schema": CONFIG, "extra_params": PADDING}
    answer = post(client, json.dumps(body), "/setup")
    assert (answer.status_code, answer.json["error"]["code"]) == (413, "body_too_large")


def test_a_child_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "SECONDS", 0.01)
    with pytest.raises(RequestError) as refusal:
        read({"tasks": [{"data": {"a": PADDING}}]})
    assert (refusal.value.code, refusal.value.status) == ("body_too_large", 413)


DYING = """
import os, signal, sys
from grounding.web.parsing.large import answer
sys.stdout.buffer.write(b"".join(answer(sys.stdin.buffer.read()))[: int(sys.argv[1])])
sys.stdout.buffer.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("sent", [20, -1, -LARGE, -2 * LARGE - 1], ids=str)
def test_a_child_that_dies_after_so_much_of_its_answer_leaves_no_task_cut(
    monkeypatch: pytest.MonkeyPatch, sent: int
) -> None:
    monkeypatch.setattr(large, "COMMAND", (sys.executable, "-c", DYING, str(sent)))
    with pytest.raises(RequestError) as refusal:
        read({"tasks": [{"data": {"a": PADDING}}, {"data": {"a": PADDING}}]})
    assert (refusal.value.code, refusal.value.status) == ("body_too_large", 413)


def test_a_body_that_waits_too_long_for_its_turn_is_refused_until_later(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "WAIT_SECONDS", 0.05)
    body = request(1)
    body["tasks"][0]["data"]["note"] = PADDING
    with large._ONE:
        answer = post(client, json.dumps(body))
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "web_server_busy")
    assert answer.headers["Retry-After"] == str(large.SECONDS)
    assert post(client, json.dumps(body)).status_code == 200, "its turn was given back"


def test_what_takes_too_much_memory_to_read_costs_this_process_none() -> None:
    """Ninety MiB of empty lists, of which Python makes two GiB."""
    raw = b'{"tasks": [{"data": {"a": [' + b"[]," * (30 * 2**20) + b"[]]}}]}"
    with pytest.raises(RequestError) as refusal:
        read_large(b"", io.BytesIO(raw))
    assert refusal.value.code == "body_too_large"


TASKS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(-(2**70), 2**70) | st.text(max_size=3),
        "data": st.dictionaries(st.text(max_size=3), st.text(max_size=5) | st.integers())
        | st.none(),
        "drafts": st.lists(st.text(max_size=2), max_size=2),
    },
)


@given(st.lists(TASKS | st.none() | st.integers(), max_size=4), st.booleans())
def test_a_child_reads_what_the_server_would(tasks: list[Any], asked: bool) -> None:
    context = {"result": []} if asked else None
    body = request(tasks=tasks, params={"context": context, "login": "x"})
    raw = json.dumps(body).encode()
    out = io.BytesIO(b"".join(large.answer(raw)))
    found = json.loads(out.readline())
    written = [WrittenData(out.read(size), code) for size, code in found["data"]]
    assert written == [write_data(task) for task in parse(raw)["tasks"]]
    assert out.read() == b""
    rest = found["body"]
    assert rest["params"] == {"context": context}
    names = {"id", "drafts"} if asked else {"id"}
    assert rest["tasks"] == [
        {name: value for name, value in task.items() if name in names}
        if isinstance(task, dict)
        else None
        for task in tasks
    ]


def test_a_request_that_waits_keeps_no_data_of_its_tasks(start: Start, env: object) -> None:
    services = start().application.extensions["grounding"]
    body = read(request(1, 2) | {"tasks": [{"id": 1, "data": {"note": PADDING}}]})
    asked = replace(read_predict(body, time.monotonic()), begun=0.0)
    jobs = [JobFactory(asked, services.settings, "v", "").job(raw) for raw in asked.tasks]
    assert asked.tasks == [{"id": 1}]
    assert all(isinstance(job, Job) for job in jobs)
    run_jobs(services, jobs, asked)  # type: ignore[arg-type]
    assert jobs == []


def sized(*sizes: int) -> list[Job]:
    """Return jobs whose data has these sizes."""
    return [Job(str(n), QueueName.BULK, "1", {}, b"x" * size) for n, size in enumerate(sizes)]


def test_jobs_enter_by_megabytes_and_thousands() -> None:
    most = ACCEPT_BYTES
    batches = _batches(sized(1, most, most - 1, 1, 1, 2 * most, 0))
    assert [[len(job.blob) for job in batch] for batch in batches] == [
        [1],
        [most],
        [most - 1, 1],
        [1],
        [2 * most],
        [0],
    ]
    assert [len(batch) for batch in _batches(sized(*[0] * 2001))] == [1000, 1000, 1]


def test_a_redis_that_is_long_with_megabytes_refuses_no_request_that_brings_them(
    env: pytest.MonkeyPatch, start: Start, redis: Redis
) -> None:
    """It takes them in and writes them to its file before it answers anyone."""
    env.setenv("GROUNDING_BULK_DEADLINE", "0.1")
    client, pid = start(), int(redis.info("server")["process_id"])
    body = request(1, 2)
    body["tasks"][0]["data"]["note"] = "x" * 2 * ACCEPT_BYTES

    def slow() -> None:
        time.sleep(2.5)
        os.kill(pid, signal.SIGCONT)

    assert post(client, json.dumps(request(7))).status_code == 200  # its threads are connected
    accept = JobStore.accept
    halting = iter([True])

    def halted(*args: Any, **kwargs: Any) -> Any:
        if next(halting, False):
            os.kill(pid, signal.SIGSTOP)
            threading.Thread(target=slow).start()
        return accept(*args, **kwargs)

    env.setattr(JobStore, "accept", halted)
    answer = post(client, json.dumps(body))
    assert (answer.status_code, answer.json) == (200, {"results": [[], []]})
    assert len(JobStore(redis).unfinished_by_project()) == 1


# The temporary folder


def has_room(room: Room, count: int) -> bool:
    """Say whether a body of `count` bytes has room."""
    with closing(KeptBody(room)) as body:
        try:
            return body.reserve(count) == count
        except RefusedError:
            return False


def test_a_body_is_gone_once_it_is_read_and_makes_room_for_the_next() -> None:
    room = Room(10)
    body = KeptBody(room)
    body.reserve(10)
    body.write(b"0123456789")
    body.rewind()
    assert (body.read(4), body.read(4)) == (b"0123", b"4567")
    assert not has_room(room, 1)
    assert (body.read(4), body.read(4)) == (b"89", b"")
    assert has_room(room, 10)


def test_a_body_that_is_never_read_makes_room_when_its_request_ends() -> None:
    room = Room(IN_MEMORY + 2)
    body = KeptBody(room)
    body.reserve(IN_MEMORY + 2)
    body.write(b"x" * (IN_MEMORY + 2))
    assert not has_room(room, 1)
    body.close()
    body.close()
    assert body.read() == b""
    assert has_room(room, IN_MEMORY + 2)
    assert not has_room(room, IN_MEMORY + 3), "closing twice made no room"
