"""Threat T17: no secret is in any log line, metric, error, answer or value in Redis."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from redis import Redis

from grounding.errors import SettingError
from grounding.factory import fetcher, label_studio
from grounding.jobs.heartbeat import Heartbeat
from grounding.jobs.store import JobStore
from grounding.jobs.worker import JobRunner
from grounding.pipeline import WorkerContext
from grounding.settings import Settings
from grounding.testing import ScriptedEngine
from tests.media.hosts import Host, answer, host, ok
from tests.security.contents import dump
from tests.serving import CONFIG, TALKING, Start, request, typed

TOKEN = "canary-token-4f1c"
PASSWORD = "canary-password-77aa"
LOGIN = "canary-login-0b2e"
SIGNATURE = "canary-signature-91d3"
PROJECT_TOKEN = "canary-access-51ee"
SECRETS = (TOKEN, PASSWORD, LOGIN, PROJECT_TOKEN)
AUTH = {"Authorization": f"Basic {base64.b64encode(f'u:{PASSWORD}'.encode()).decode()}"}


def png() -> bytes:
    """Return a small picture."""
    out = io.BytesIO()
    Image.new("RGB", (60, 60), "red").save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def label_studio_host() -> Iterator[Host]:
    """A host in Label Studio's place: one picture, one refusal, one page, one server error."""
    refusal = answer(403, "Content-Type: text/html")
    with host(ok(png()), refusal, ok(b"<html>login</html>"), answer(500), answer(500)) as server:
        yield server


@pytest.fixture
def client(env: pytest.MonkeyPatch, start: Start, label_studio_host: Host) -> FlaskClient:
    """A server with a password and a token."""
    env.setenv("BASIC_AUTH_USER", "u")
    env.setenv("BASIC_AUTH_PASS", PASSWORD)
    env.setenv("LABEL_STUDIO_URL", label_studio_host.origin)
    env.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    env.setenv("GROUNDING_BULK_DEADLINE", "0.1")
    env.setenv("GROUNDING_INTERACTIVE_DEADLINE", "0.1")
    return start()


def bodies() -> Iterator[tuple[str, Any]]:
    """Yield requests with secrets in every place that Label Studio, or a mistake, puts one."""
    login = {"login": LOGIN, "password": PASSWORD, "context": None}
    yield "/setup", {"project": "1.1", "schema": CONFIG, "access_token": PROJECT_TOKEN}
    yield "/setup", {"project": "1.1", "schema": "<View", "access_token": PROJECT_TOKEN}
    signed = [f"/data/upload/1/{n}.png?X-Amz-Signature={SIGNATURE}" for n in range(4)]
    tasks = [{"id": n, "data": {"image": url}} for n, url in enumerate(signed)]
    yield "/predict", request(params=login, tasks=tasks)
    yield "/predict", request(params={**login, **typed("cat")}, tasks=tasks, label_config=TALKING)
    yield "/predict", request(params=[PASSWORD])
    yield "/predict", request(params={**login, "context": PASSWORD})
    yield "/predict", request(project=PROJECT_TOKEN)
    yield "/predict", {"access_token": PROJECT_TOKEN, **request(tasks={"password": PASSWORD})}
    yield "/webhook", {"token": PROJECT_TOKEN}


def test_t17_no_secret_is_anywhere(
    client: FlaskClient, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="grounding")
    shown = [client.post(path, json=body, headers=AUTH) for path, body in bodies()]
    wrong = {"Authorization": f"Basic {base64.b64encode(f'{LOGIN}:{TOKEN}'.encode()).decode()}"}
    shown += [client.post("/predict", data="{" + PASSWORD, headers=h) for h in (AUTH, wrong)]
    settings = Settings.load()
    engine = ScriptedEngine(lambda batch: [])
    context = WorkerContext(engine, fetcher(settings), 64, 10**6)
    runner = JobRunner("w", JobStore(redis), context, settings)
    for key in redis.zrange("grounding:2:pending", 0, -1):
        runner.run(key.decode())
    runner.close()
    Heartbeat(redis, "w", "shapes").update(phase="failed", detail="no model")
    shown += [client.get(p, headers=AUTH) for p in ("/jobs", "/metrics", "/ready", "/versions")]
    failures = [one["job"] for one in client.get("/jobs", headers=AUTH).json["failed"]]  # type: ignore[index]
    shown += [client.get(f"/jobs/{key}", headers=AUTH) for key in failures]
    texts = [f"{one.status} {one.headers} {one.text}" for one in shown]
    everything = {"answers": "\n".join(texts), "log": caplog.text, "Redis": dump(redis)}
    for place, text in everything.items():
        assert text
        assert [secret for secret in SECRETS if secret in text] == [], place
    # A job holds its picture's address, which is what it has to fetch.
    for place in ("answers", "log"):
        assert SIGNATURE not in everything[place], place


@pytest.mark.parametrize("name", ["REDIS_URL", "LABEL_STUDIO_URL", "PORT", "OPENAI_BASE_URL"])
def test_t17_a_refused_setting_shows_no_value(env: pytest.MonkeyPatch, name: str) -> None:
    env.setenv(name, f"{PASSWORD}://{TOKEN}")
    with pytest.raises(SettingError) as refusal:
        label_studio(Settings.load())
    assert not [secret for secret in SECRETS if secret in str(refusal.value)]
    assert json.dumps(str(refusal.value))
