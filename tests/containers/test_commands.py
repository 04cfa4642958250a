"""What docker-compose.yml runs, run: each service in a sandbox with its container's limits."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from grounding.demo.backend import data_uri

from .files import ROOT, example_env, images
from .sandbox import Sandboxes, sandboxes

pytestmark = pytest.mark.containers

DEMO = example_env() | {"MODEL": ""}
PICTURE = ROOT / "grounding" / "demo" / "pictures" / "shapes-1.png"
CONFIG = ROOT / "grounding" / "demo" / "config.xml"
SCRIPT = """
import json, sys, httpx
password = open("/run/secrets/basic_auth_pass").read()
method, path, body = json.loads(sys.argv[1])
with httpx.Client(base_url="http://web:9090", auth=("label-studio", password), timeout=100) as http:
    answer = http.request(method, path, json=body)
print(json.dumps([answer.status_code, answer.text]))
"""
START_SECONDS = 120
GRACE_SECONDS = 30
"""Nothing is in hand at the end, so that none needs its whole `stop_grace_period`."""


@pytest.fixture(scope="module")
def services() -> Iterator[Sandboxes]:
    """Redis, web server and worker with the demo model, all healthy; each heeds SIGTERM."""
    with sandboxes(DEMO) as started:
        for name in ("redis", "web", "worker"):
            started.start(name)
            started.wait_healthy(name, START_SECONDS)
        yield started
        ends = {name: started.stop(name, GRACE_SECONDS) for name in ("worker", "web", "redis")}
        assert ends == {"worker": 0, "web": 0, "redis": 0}


def ask(services: Sandboxes, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """Return status and text of the web server's answer to one with its password."""
    call = json.dumps([method, path, body])
    done = services.execute("web", "python", "-c", SCRIPT, call)
    assert done.returncode == 0, done.stderr
    status, text = json.loads(done.stdout)
    return status, text


def test_pictures_are_answered(services: Sandboxes) -> None:
    """By the worker, through the queue, to whoever has the password."""
    wait_ready(services)
    image = data_uri(PICTURE.read_bytes(), ".png")
    tasks = [{"id": number, "data": {"image": image}} for number in (1, 2)]
    body = {"tasks": tasks, "project": "1.1", "label_config": CONFIG.read_text(), "params": {}}
    status, text = ask(services, "POST", "/predict", body)
    assert status == 200, text
    for prediction in json.loads(text)["results"]:
        assert any(region["type"] == "rectanglelabels" for region in prediction["result"])
    for path in ("/jobs", "/metrics"):
        assert ask(services, "GET", path)[0] == 200
    logs = {name: services.log(name) for name in ("web", "worker")}
    assert [name for name, log in logs.items() if "NOPERM" in log or "Traceback" in log] == [], logs


def wait_ready(services: Sandboxes) -> None:
    until = time.monotonic() + START_SECONDS
    while (answer := ask(services, "GET", "/ready"))[0] != 200:
        assert time.monotonic() < until, answer
        time.sleep(1)


def test_the_web_server_wants_its_password(services: Sandboxes) -> None:
    script = "import httpx; print(httpx.get('http://web:9090/jobs').status_code)"
    assert services.execute("web", "python", "-c", script).stdout.strip() == "401"


@pytest.mark.parametrize("name", ["web", "worker"])
def test_a_service_writes_nowhere_but_in_its_folders(services: Sandboxes, name: str) -> None:
    script = "import sys; open(sys.argv[1], 'w')"
    done = services.execute(name, "python", "-c", script, "/app/grounding/x")
    assert "Read-only file system" in done.stderr
    assert services.execute(name, "python", "-c", script, "/tmp/x").returncode == 0


def test_the_web_image_has_no_torch(services: Sandboxes) -> None:
    done = services.execute("web", "python", "-c", "import torch")
    assert "No module named 'torch'" in done.stderr


REFUSED = {
    "anybody without a name": ("PING",),
    "the health check reads": ("--user", "health", "--pass", "x", "GET", "grounding:2:pending"),
    "our user reads other keys": ("-u", "URL", "GET", "foreign"),
    "our user empties the queue": ("-u", "URL", "FLUSHALL"),
    "our user changes the server": ("-u", "URL", "CONFIG", "SET", "maxmemory", "1"),
    "our user loads a library": ("-u", "URL", "FUNCTION", "LOAD", "x"),
    "our user lists libraries": ("-u", "URL", "FUNCTION", "LIST"),
    "our user forgets all scripts": ("-u", "URL", "SCRIPT", "FLUSH"),
    "our user makes users": ("-u", "URL", "ACL", "SETUSER", "other", "on"),
}


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED)
def test_the_queue_refuses(services: Sandboxes, arguments: tuple[str, ...]) -> None:
    url = services.secret("redis_url")
    command = [url if word == "URL" else word for word in arguments]
    done = services.execute("redis", "valkey-cli", "-e", "--no-auth-warning", *command)
    assert done.returncode != 0
    assert "NOAUTH" in done.stderr or "NOPERM" in done.stderr, done


def test_the_queue_keeps_to_its_flags(services: Sandboxes) -> None:
    """It writes every change to its file; what its flags say is what the server understood."""
    (started,) = re.findall(r"port=(\d+)", services.log("redis"))
    assert started == "6379"
    names = services.execute("redis", "find", "/data").stdout
    assert "appendonly.aof" in names
    assert "dump.rdb" not in names


def test_a_worker_whose_model_is_missing_is_not_healthy() -> None:
    with sandboxes(DEMO | {"MODEL": "/models/none"}) as started:
        started.start("redis")
        started.wait_healthy("redis", START_SECONDS)
        started.start("worker")
        assert started.join("worker", START_SECONDS) == 2
        done = started.execute("worker", *images()["worker"].health)
        assert done.returncode == 1, done.stderr
        assert "/models/none" in started.log("worker")


def test_a_light_worker_waits_for_its_server_without_torch() -> None:
    """It has all that it imports, reports itself, and heeds SIGTERM while it waits."""
    remote = {"GROUNDING_ENGINE": "openai", "MODEL": "Qwen/Qwen2.5-VL-7B-Instruct"}
    with sandboxes(DEMO | remote) as started:
        started.start("redis")
        started.wait_healthy("redis", START_SECONDS)
        started.start("light-worker")
        started.wait_healthy("light-worker", START_SECONDS)
        without = started.execute("light-worker", "python", "-c", "import httpx, torch")
        assert "No module named 'torch'" in without.stderr
        assert started.stop("light-worker", GRACE_SECONDS) == 0
        assert "server is not to be reached" in started.log("light-worker")
