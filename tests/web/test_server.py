"""What the web server promises over HTTP, with a real Valkey behind it."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
import time
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from grounding.jobs.heartbeat import Heartbeat
from tests.faults.rig import until
from tests.serving import CONFIG, Start, predict, request

LABEL_STUDIO_WAITS = 3


def test_every_task_has_its_entry_in_order_whatever_fails(
    client: FlaskClient, worker: list[int]
) -> None:
    entries = predict(client, 5, 1, 7)
    assert [entry and entry["id"] for entry in entries] == [5, [], 7]


def test_predictions_carry_the_version_that_setup_returns(
    client: FlaskClient, worker: list[int]
) -> None:
    setup = client.post("/setup", json={"project": "1.1", "schema": CONFIG}).json
    assert setup is not None
    assert setup["model_version"] == predict(client, 3)[0]["model_version"]
    other = client.post("/setup", json={"project": "1.1", "schema": CONFIG.replace("cat", "dog")})
    assert other.json != setup, "another config has a version of its own"


def test_the_same_job_asked_twice_runs_once(client: FlaskClient, worker: list[int]) -> None:
    threads = [threading.Thread(target=predict, args=(client, 2, 4)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(worker) == [2, 4]
    predict(client, 4, 2)
    assert sorted(worker) == [2, 4]


def test_predictions_stay_undelivered_until_the_caller_has_taken_the_answer(
    client: FlaskClient, worker: list[int]
) -> None:
    """A server that is killed while it writes would lose them otherwise."""
    answer = client.post("/predict", json=request(4, 5), buffered=False)
    (before,) = client.get("/jobs").json["projects"]  # type: ignore[index]
    assert len(answer.json["results"]) == 2  # type: ignore[index]
    (after,) = client.get("/jobs").json["projects"]  # type: ignore[index]
    assert (before["undelivered"], after["undelivered"]) == (2, 0)


@pytest.mark.parametrize("ids", [(3,), (3, 4, 5)])
def test_controls_that_answer_only_when_asked_cost_nothing_when_a_page_opens(
    ids: tuple[int, ...], client: FlaskClient, redis: Redis, worker: list[int]
) -> None:
    asked = CONFIG.replace("<RectangleLabels ", '<RectangleLabels model_answer="asked" ')
    assert asked != CONFIG
    keys = set(redis.keys())
    assert predict(client, *ids, label_config=asked) == [[] for _ in ids]
    assert worker == []
    assert client.get("/jobs").json["projects"] == []  # type: ignore[index]
    assert not [key for key in set(redis.keys()) - keys if b":job:" in key]


def test_two_projects_share_no_answers(client: FlaskClient, worker: list[int]) -> None:
    predict(client, 4)
    predict(client, 4, project="2.1")
    predict(client, 4, label_config=CONFIG.replace("cat", "dog"))
    assert worker == [4, 4, 4]


def test_a_late_task_is_empty_now_and_answered_at_the_next_request(
    env: pytest.MonkeyPatch, start: Start, worker: list[int]
) -> None:
    env.setenv("GROUNDING_BULK_DEADLINE", "1")
    client = start()
    assert [bool(entry) for entry in predict(client, 2, 4)] == [False, True]
    until(lambda: predict(client, 2, 4)[0], 20)
    assert [bool(entry) for entry in predict(client, 2, 4)] == [True, True]
    assert sorted(worker) == [2, 4]


def test_a_page_does_not_wait_while_no_model_is_loaded(
    env: pytest.MonkeyPatch, start: Start
) -> None:
    env.setenv("GROUNDING_PAGE_DEADLINE", "40")
    client = start()
    begun = time.monotonic()
    assert predict(client, 4) == [[]]
    assert time.monotonic() - begun < 20


def test_a_task_without_data_leaves_the_others_answered(
    client: FlaskClient, worker: list[int]
) -> None:
    body = request(4)
    surrogate = json.loads('{"image": "\\ud800"}')
    body["tasks"] += [None, {"id": 9}, {"id": 9, "data": []}, {"id": 9, "data": surrogate}]
    entries = client.post("/predict", json=body).json["results"]  # type: ignore[index]
    assert [bool(entry) for entry in entries] == [True, False, False, False, False]


def test_a_config_without_controls_is_accepted_and_answered_with_nothing_yet(
    client: FlaskClient,
) -> None:
    """A new project's config is an empty view, and people connect before they configure."""
    answer = client.post("/setup", json={"project": "1.1", "schema": "<View></View>"})
    assert answer.status_code == 200
    assert answer.json["model_version"]  # type: ignore[index]
    assert predict(client, 4, 5, label_config="<View></View>") == [[], []]


def test_a_broken_config_is_refused_with_the_reason_in_the_status_line(client: FlaskClient) -> None:
    """It is the only text of ours that Label Studio shows."""
    broken = CONFIG.replace('toName="image"', 'toName="picture"')
    answer = client.post("/setup", json={"project": "1.1", "schema": broken})
    assert answer.status_code == 400
    assert 'RectangleLabels name="box" has toName="picture"' in answer.status
    assert "Set toName to the name of an Image" in answer.status
    assert answer.json["error"]["code"]  # type: ignore[index]


PARAMS: list[Any] = ['{"max_regions": 3}', {"max_regions": 3}, {"model_max_regions": "3"}]


def version(client: FlaskClient, project: str = "1.1", extra_params: object = None) -> str:
    """Return the model version that `/setup` returns for a project."""
    body = {"project": project, "schema": CONFIG, "extra_params": extra_params}
    answer = client.post("/setup", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json["model_version"])  # type: ignore[index]


@pytest.mark.parametrize("given", PARAMS, ids=["text", "object", "full name"])
def test_extra_params_apply_to_a_project_s_tasks_until_it_connects_without_them(
    client: FlaskClient, worker: list[int], given: object
) -> None:
    """Label Studio sends them with `/setup` only."""
    bare = version(client)
    tuned = version(client, extra_params=given)
    assert tuned != bare
    assert predict(client, 4, project="1.1")[0]["model_version"] == tuned
    assert predict(client, 4, project="2.1")[0]["model_version"] == bare
    assert version(client) == bare
    assert predict(client, 4, project="1.1")[0]["model_version"] == bare


def test_wrong_extra_params_are_refused_with_the_reason_and_change_nothing(
    client: FlaskClient, worker: list[int]
) -> None:
    tuned = version(client, extra_params=PARAMS[0])
    wrong = {"project": "1.1", "schema": CONFIG, "extra_params": {"max_regions": "many"}}
    answer = client.post("/setup", json=wrong)
    assert answer.status == (
        '400 extra_params has max_regions="many". '
        "Set max_regions to a number from 1 to 1000, or remove it"
    )
    assert predict(client, 4, project="1.1")[0]["model_version"] == tuned


def test_a_warning_is_logged_once_for_each_project(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    twins = CONFIG.replace("</Rect", '<Label value="Cat"/></Rect')
    for project in ("1.1", "1.1", "2.1", "1.1"):
        client.post("/setup", json={"project": project, "schema": twins})
    lines = [record.getMessage() for record in caplog.records if "spelling" in record.getMessage()]
    assert [line.partition(":")[0] for line in lines] == ["project 1.1", "project 2.1"]


def test_connecting_is_in_time_while_the_queue_accepts_connections_and_stays_silent(
    env: pytest.MonkeyPatch, start: Start
) -> None:
    """Label Studio waits 3 s, and then shows that it cannot connect."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        env.setenv("REDIS_URL", f"redis://127.0.0.1:{mute.getsockname()[1]}")
        client = start()
        begun = time.monotonic()
        assert version(client, extra_params=PARAMS[0])
        assert time.monotonic() - begun < LABEL_STUDIO_WAITS


BAD_REQUESTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "no body": ({"content_type": "application/json"}, 400, "body_missing"),
    "text": ({"data": "{}", "content_type": "text/plain"}, 415, "not_json"),
    "cut off": ({"data": '{"tasks": [', "content_type": "application/json"}, 400, "body_not_json"),
    "NaN": ({"data": '{"a": NaN}', "content_type": "application/json"}, 400, "body_not_json"),
    "1e400": ({"data": '{"a": 1e400}', "content_type": "application/json"}, 400, "body_not_json"),
    "deep": ({"data": "[" * 100_000, "content_type": "application/json"}, 400, "body_not_json"),
    "deep tasks": (
        {"data": '{"tasks": ' + "[" * 100_000, "content_type": "application/json"},
        400,
        "body_not_json",
    ),
    "a string without end": (
        {"data": '{"a":' * 2000 + '"\\"' * 99_999 + "\\", "content_type": "application/json"},
        400,
        "body_not_json",
    ),
    "a key twice": (
        {"data": '{"tasks": [], "tasks": [1]}', "content_type": "application/json"},
        400,
        "duplicate_key",
    ),
    "a key of a task twice": (
        {"data": '{"tasks": [{"id": 1, "id": 2}]}', "content_type": "application/json"},
        400,
        "duplicate_key",
    ),
    "UTF-16": (
        {"data": "{}".encode("utf-16"), "content_type": "application/json"},
        400,
        "body_not_json",
    ),
    "list": ({"json": []}, 400, "body_not_object"),
    "gzip": (
        {
            "data": gzip.compress(b"{}"),
            "content_type": "application/json",
            "headers": {"Content-Encoding": "gzip"},
        },
        415,
        "encoding_refused",
    ),
    "tasks no list": ({"json": request(tasks={})}, 400, "tasks_missing"),
    "tasks null": ({"json": request(tasks=None)}, 400, "tasks_missing"),
    "params list": ({"json": request(4, params=[])}, 400, "params_invalid"),
    "context text": ({"json": request(4, params={"context": "x"})}, 400, "context_invalid"),
    "config null": ({"json": request(4, label_config=None)}, 400, "label_config_invalid"),
    "config no XML": ({"json": request(4, label_config="<View>")}, 400, "label_config_invalid"),
    "project path": ({"json": request(4, project="../../x.1")}, 400, "project_invalid"),
    "project long": ({"json": request(4, project="1" * 4200)}, 400, "project_invalid"),
    "project newline": ({"json": request(4, project="1\n")}, 400, "project_invalid"),
}


@pytest.mark.parametrize(("arguments", "status", "code"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_gets_one_clear_error(
    client: FlaskClient, arguments: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post("/predict", **arguments)
    assert answer.status_code == status
    assert answer.json["error"].keys() == {"code", "message", "id"}  # type: ignore[index]
    assert answer.json["error"]["code"] == code  # type: ignore[index]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/predict", "/nowhere"])
def test_an_error_s_id_is_in_the_log(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level("INFO")
    answer = client.post(path, json=[])
    assert f"error {answer.json['error']['id']})" in caplog.text  # type: ignore[index]


def test_a_byte_order_mark_is_harmless(client: FlaskClient) -> None:
    body = json.dumps(request()).encode("utf-8-sig")
    answer = client.post("/predict", data=body, content_type="application/json")
    assert answer.json["results"] == []  # type: ignore[index]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/predict", 405), ("POST", "/health", 405), ("GET", "/train", 404)],
)
def test_an_unknown_path_or_method_is_a_json_error_too(
    client: FlaskClient, method: str, path: str, status: int
) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.json["error"]["code"]  # type: ignore[index]


def test_too_many_tasks_or_bytes_are_refused(env: pytest.MonkeyPatch, start: Start) -> None:
    env.setenv("GROUNDING_MAX_TASKS", "2")
    env.setenv("GROUNDING_MAX_REQUEST_BYTES", "1024")
    client = start()
    assert client.post("/predict", json=request(1, 2, 3)).json["error"]["code"] == (  # type: ignore[index]
        "too_many_tasks"
    )
    assert client.post("/predict", json=request(1, params={"x": "y" * 2000})).status_code == 413


def test_without_a_queue_predict_is_503_and_health_and_setup_answer(
    env: pytest.MonkeyPatch,
    start: Start,
) -> None:
    env.setenv("REDIS_URL", "redis://127.0.0.1:1")
    client = start()
    answer = client.post("/predict", json=request(1))
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "queue_unavailable")  # type: ignore[index]
    assert client.get("/health").json["status"] == "UP"  # type: ignore[index]
    assert client.post("/setup", json={"project": "1.1", "schema": CONFIG}).status_code == 200
    assert client.get("/ready").status_code == 503


def test_ready_says_what_is_missing_and_how_far_loading_has_come(
    client: FlaskClient, redis: Redis
) -> None:
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert "no worker" in answer.json["reason"]  # type: ignore[index]
    heartbeat = Heartbeat(redis, "w", "m")
    heartbeat.update(phase="downloading", done=0.25, detail="model-00001.safetensors")
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert answer.json["reason"] == "downloading 25% model-00001.safetensors"  # type: ignore[index]
    heartbeat.update(phase="ready", done=1.0, detail="")
    assert client.get("/ready").status_code == 200
    redis.config_set("maxmemory", 1_000)
    try:
        full = client.get("/ready")
    finally:
        redis.config_set("maxmemory", 0)
    assert (full.status_code, full.json["ready"]) == (503, False)
    assert "memory" in full.json["reason"]


def test_ready_warns_of_a_missing_token(env: pytest.MonkeyPatch, start: Start) -> None:
    missing = "Label Studio's files need LABEL_STUDIO_API_KEY"
    both = [f"{missing} and LABEL_STUDIO_URL"]
    assert start().get("/ready").json["warnings"] == both  # type: ignore[index]
    env.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:8080")
    assert start().get("/ready").json["warnings"] == [missing]  # type: ignore[index]
    env.setenv("LABEL_STUDIO_API_KEY", "token")
    assert start().get("/ready").json["warnings"] == []  # type: ignore[index]


def test_the_webhook_does_nothing_and_versions_names_the_model(client: FlaskClient) -> None:
    assert client.post("/webhook", data="anything").json == {"status": "ignored"}
    assert client.get("/versions").json == {"versions": ["shapes"]}
    assert client.get("/").status_code == 200


CREDENTIALS = {
    "none": None,
    "wrong": b"user:wrong",
    "not UTF-8": b"us\xe9r:p\xe4ss",
    "no colon": b"userpass",
    "empty": b"",
}


@pytest.mark.parametrize("given", CREDENTIALS.values(), ids=CREDENTIALS)
def test_without_the_right_password_every_path_but_health_is_401(
    env: pytest.MonkeyPatch, start: Start, given: bytes | None
) -> None:
    env.setenv("BASIC_AUTH_USER", "user")
    env.setenv("BASIC_AUTH_PASS", "páss")
    client = start()
    headers = (
        {} if given is None else {"Authorization": f"Basic {base64.b64encode(given).decode()}"}
    )
    answer = client.get("/versions", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert answer.status.startswith("401 user and password are needed"), "the dialog shows it"
    assert client.get("/health", headers=headers).status_code == 200


def test_the_right_password_is_accepted(env: pytest.MonkeyPatch, start: Start) -> None:
    env.setenv("BASIC_AUTH_USER", "user")
    env.setenv("BASIC_AUTH_PASS", "páss")
    client = start()
    password = base64.b64encode("user:páss".encode()).decode()
    answer = client.get("/versions", headers={"Authorization": f"Basic {password}"})
    assert answer.status_code == 200


def test_a_secret_in_a_request_reaches_no_log(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, worker: list[int]
) -> None:
    caplog.set_level("DEBUG")
    canary = "canary-4711"
    client.post("/setup", json={"project": "1.1", "schema": "<View>", "access_token": canary})
    predict(client, 4, params={"login": canary, "password": canary, "context": None})
    client.post("/predict", data=canary, content_type="application/json")
    assert canary not in caplog.text
