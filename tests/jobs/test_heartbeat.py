"""Tests of the status that workers publish, and of reading it whatever its release."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient
from redis import Redis

from grounding.jobs.heartbeat import (
    NAMES,
    PERIOD_SECONDS,
    WORKERS,
    Heartbeat,
    WorkerStatus,
    readiness,
    worker_statuses,
)
from tests.serving import Start


def test_statuses_are_read_without_scanning_every_key(redis: Redis) -> None:
    for name in ("b", "a"):
        Heartbeat(redis, name, "shapes").update(phase="ready")
    redis.config_resetstat()
    assert [status.worker for status in worker_statuses(redis)] == ["a", "b"]
    assert not {"cmdstat_scan", "cmdstat_keys"} & redis.info("commandstats").keys()


def test_a_silent_worker_is_gone_and_returns_with_its_next_status(redis: Redis) -> None:
    silent = Heartbeat(redis, "silent", "shapes")
    silent.update(phase="ready")
    redis.delete(WORKERS + "silent")
    assert worker_statuses(redis) == []
    assert redis.smembers(NAMES) == set(), "names do not accumulate"
    silent.update(detail="back")
    assert [status.detail for status in worker_statuses(redis)] == ["back"]


def test_a_status_outlives_three_periods_and_a_failure_a_minute(redis: Redis) -> None:
    heartbeat = Heartbeat(redis, "w", "shapes")
    heartbeat.update(phase="ready")
    assert 3 * PERIOD_SECONDS < redis.ttl(WORKERS + "w") <= 4 * PERIOD_SECONDS <= 15
    heartbeat.update(phase="failed")
    assert 60 < redis.ttl(WORKERS + "w") <= 120


def test_a_stopped_worker_withdraws_its_status_unless_it_failed(redis: Redis) -> None:
    for phase, left in (("ready", 0), ("failed", 1)):
        heartbeat = Heartbeat(redis, "w", "shapes")
        heartbeat.update(phase=phase)
        heartbeat.stop()
        assert len(worker_statuses(redis)) == left


def test_a_stopped_worker_publishes_nothing_more(redis: Redis) -> None:
    heartbeat = Heartbeat(redis, "w", "shapes")
    heartbeat.update(phase="ready")
    heartbeat.stop()
    heartbeat.update(detail="the server answers again")  # from a request that is still out
    assert worker_statuses(redis) == []


def test_progress_is_logged_now_and_then_and_a_new_phase_at_once(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    heartbeat = Heartbeat(redis, "w", "shapes")
    for percent in range(10):
        heartbeat.update(phase="downloading", done=percent / 100)
    heartbeat.update(phase="failed", done=None, detail="no room")
    assert caplog.messages == ["downloading 0%", "failed no room"]


@pytest.mark.parametrize(
    ("phases", "reason"),
    [
        (["failed", "ready"], "ready"),
        (["failed", "loading"], "loading"),
        (["loading", "failed"], "loading"),
        (["failed"], "failed"),
    ],
)
def test_the_reason_is_that_of_the_worker_that_is_furthest(phases: list[str], reason: str) -> None:
    assert readiness([WorkerStatus(phase, phase=phase) for phase in phases]) == reason
    assert "no worker" in readiness([])


READY = {"model": "shapes", "host": "gpu", "phase": "ready", "done": 1.0, "detail": "d"}


@pytest.mark.parametrize(
    ("published", "status"),
    [
        (READY, WorkerStatus("w", "shapes", "gpu", "ready", 1.0, "d")),
        ({**READY, "load": 0.5}, WorkerStatus("w", "shapes", "gpu", "ready", 1.0, "d")),
        ({"worker": "other", "phase": "ready"}, WorkerStatus("w", phase="ready")),
        ({"phase": "warming", "done": 0.5}, WorkerStatus("w", phase="warming", done=0.5)),
        ({"phase": "ready", "done": "half"}, WorkerStatus("w", phase="ready")),
        ({"phase": "loading", "done": 1.5}, WorkerStatus("w", phase="loading")),
        ({"phase": "ready", "done": float("nan")}, WorkerStatus("w", phase="ready")),
        ({"phase": ["ready"], "detail": None}, WorkerStatus("w", phase="unknown")),
        ({}, WorkerStatus("w", phase="unknown")),
        (["ready"], WorkerStatus("w", phase="unknown")),
    ],
)
def test_a_status_of_another_release_is_read_as_far_as_possible(
    published: object, status: WorkerStatus
) -> None:
    assert WorkerStatus.parse("w", json.dumps(published).encode()) == status


@pytest.mark.parametrize("text", [b"", b"ready", b"\xff\xfe", b"{", b"[" * 100_000])
def test_a_status_that_is_no_json_has_an_unknown_phase(text: bytes) -> None:
    assert WorkerStatus.parse("w", text) == WorkerStatus("w", phase="unknown")


@pytest.fixture
def strange(start: Start, redis: Redis) -> FlaskClient:
    """A server whose queue has two workers: one with a new field, one that sends no JSON."""
    redis.sadd(NAMES, "new", "strange")
    redis.set(WORKERS + "new", json.dumps({**READY, "worker": "new", "load": 0.5}))
    redis.set(WORKERS + "strange", b"\xff")
    return start()


def test_ready_answers_whatever_workers_publish(strange: FlaskClient, redis: Redis) -> None:
    answer = strange.get("/ready")
    phases = [worker["phase"] for worker in answer.json["workers"]]  # type: ignore[index]
    assert (answer.status_code, phases) == (200, ["ready", "unknown"])
    redis.delete(WORKERS + "new")
    answer = strange.get("/ready")
    assert (answer.status_code, answer.json["reason"]) == (503, "unknown")  # type: ignore[index]
