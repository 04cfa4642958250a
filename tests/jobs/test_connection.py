"""Tests of connecting to Redis, and of what Redis remembers between requests."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError, OutOfMemoryError, ResponseError, TimeoutError

from grounding.errors import QueueError, SettingError
from grounding.jobs.connection import (
    ANSWER_SECONDS,
    connect,
    lock_data_dir,
    queue_errors,
    shorten,
    socket_path,
)
from grounding.jobs.store import Job, JobStore, QueueName
from grounding.settings import Settings
from grounding.web.projects import LatestRequests, Projects, Requester
from tests.jobs.contents import pending_keys


def test_a_server_that_never_answers_counts_as_unavailable_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            connect(url, answer_seconds=0.3).ping()
        assert time.monotonic() - begun < 2
        assert ANSWER_SECONDS <= 10, "a stopping worker waits for it"


def test_a_machine_that_does_not_accept_connections_is_given_up_soon() -> None:
    """Health checks wait for it; a real one would need a network that drops packets."""
    pool = connect("redis://127.0.0.1:1").connection_pool
    assert 0.5 <= pool.connection_kwargs["socket_connect_timeout"] <= 2


def test_a_data_folder_whose_socket_address_would_be_too_long_is_refused(tmp_path: Path) -> None:
    """An address holds 104 bytes on macOS."""
    data_dir = tmp_path / ("x" * max(1, 103 - len(f"{tmp_path.resolve()}//queue.sock")))
    assert len(str(socket_path(data_dir))) >= 103
    with pytest.raises(SettingError, match="too long"), lock_data_dir(data_dir):
        pass


def test_an_address_that_is_none_is_a_wrong_setting() -> None:
    with pytest.raises(SettingError, match="REDIS_URL"):
        connect("nonsense")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutOfMemoryError("OOM"), "queue_full"),
        (ResponseError("Command # 1 (…): MISCONF no disk"), "queue_disk_full"),
        (ResponseError("WRONGTYPE"), "queue_unavailable"),
        (ConnectionError("refused"), "queue_unavailable"),
    ],
)
def test_every_error_of_the_client_becomes_one_of_ours(error: Exception, code: str) -> None:
    with pytest.raises(QueueError) as raised, queue_errors():
        raise error
    assert raised.value.code == code


def test_only_a_lock_with_too_much_time_left_is_shortened(redis: Redis) -> None:
    redis.set("early", 1, px=500)
    redis.set("late", 1, px=900_000)
    for lock in ("early", "late", "none"):
        shorten(redis, lock, 5000)
    assert 0 < redis.pttl("early") <= 500 < redis.pttl("late") <= 5000
    assert not redis.exists("none")


def test_a_project_is_remembered_for_three_months_after_its_last_use(redis: Redis) -> None:
    projects = Projects(redis)
    projects.keep_params("1", '{"a": 1}')
    projects.keep_prompt("1", "cats")
    assert (projects.params("1"), projects.prompt("1")) == ('{"a": 1}', "cats")
    assert 80 < redis.ttl("grounding:2:project:1") / 86_400 <= 100
    redis.expire("grounding:2:project:1", 60)
    projects.params("1")
    assert 80 < redis.ttl("grounding:2:project:1") / 86_400 <= 100
    projects.keep_params("1", "")
    projects.keep_prompt("1", "")
    assert redis.keys("*") == []


def test_a_latest_request_is_remembered_for_longer_than_any_may_wait(redis: Redis) -> None:
    store = JobStore(redis)
    requester = Requester("1", 7, "ann@example.com")
    LatestRequests(store).enter(requester, "a")
    longest = next(limit.le for limit in Settings.model_fields["interactive_deadline"].metadata[1:])
    assert longest < redis.ttl(requester.key) <= 300
    assert "ann" not in requester.key


def test_a_newer_request_cancels_the_one_before_of_the_same_user_and_task(redis: Redis) -> None:
    store = JobStore(redis)
    latest = LatestRequests(store)
    ann, ben, nobody = (Requester("1", 7, user) for user in ("ann", "ben", ""))
    for requester, key in ((ann, "a"), (ben, "b"), (ann, "c"), (ann, "c"), (nobody, "d")):
        latest.enter(requester, key)
        asker = requester.digest
        store.accept([Job(key, QueueName.INTERACTIVE, "1", {"id": 7}, timeout=60, asker=asker)])
    assert pending_keys(store) == {"b", "c", "d"}
    assert latest.is_replaced(ann, "a")
    assert not latest.is_replaced(ann, "c")
    assert not latest.is_replaced(Requester("1", 7, ""), "a"), "an unknown user has none"
