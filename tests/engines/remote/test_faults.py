"""How the remote engine treats servers that are away, busy, broken, or refuse."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from grounding.engines.base import Completion
from grounding.engines.local.engine import LocalEngine
from grounding.engines.remote.engine import RemoteEngine
from grounding.engines.remote.failures import SHOWN, Failure, Refusal, explain
from grounding.errors import EngineAway, EngineError, GroundingError, TaskError
from grounding.factory import load_engine
from grounding.jobs.heartbeat import Heartbeat, any_ready, readiness, worker_statuses
from grounding.retry import Backoff
from grounding.testing import ask_one
from tests.engines.openai_server import (
    KEY,
    Behaviour,
    Fault,
    Handler,
    Server,
    drip,
    half,
    raw,
    reset,
    status,
)
from tests.engines.remote import connecting
from tests.engines.remote.connecting import INTERACTIVE, connect, make_request

SEED, WORDS = 50_000_000, 12
PASSING: dict[str, Fault] = {
    "429": status(429, "slow down"),
    "429 with Retry-After": status(429, "slow down", Retry_After="0.2"),
    "500": status(500),
    "502 with a page": status(502, "<html>bad gateway</html>"),
    "503": status(503, "loading"),
    "half an answer": half,
    "no JSON": raw(b"<html>hello</html>"),
    "cut JSON": raw(b'{"choices": [{"message": {"content": "[{'),
    "JSON of another shape": raw(b'["choices"]'),
    "no answer in it": raw(b'{"choices": []}'),
    "broken off": raw(b'{"choices":[{"message":{"content":"["},"finish_reason":"abort"}]}'),
    "drops of bytes": drip(8),
    "a reset": reset,
}
REFUSED: dict[str, tuple[Fault, str]] = {
    "a wrong key": (status(401, "no such key"), "OPENAI_API_KEY"),
    "a key without the right": (status(403, "denied"), "OPENAI_API_KEY"),
    "an unpaid bill": (status(400, "pay first", "Arrearage"), "OPENAI_API_KEY"),
    "an unknown model": (status(404, "no such model"), "MODEL=qwen2.5-vl-shapes"),
    "a field that it does not know": (status(400, "extra field logprobs"), "GROUNDING_SERVER"),
    "a picture that is too large": (status(413, "too large"), "GROUNDING_MAX_PIXELS"),
}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grounding.engines.remote.engine.BACKOFF", Backoff(0.1, 30))


@pytest.fixture
def remote(server: Server) -> Iterator[RemoteEngine]:
    engine = connect(server, server_timeout=3)
    yield engine
    engine.close()


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def ask(engine: RemoteEngine) -> Completion:
    return connecting.ask(engine, SEED, most=WORDS)


def test_an_interactive_request_is_tried_no_longer_than_the_annotator_waits(
    server: Server, behaviour: Behaviour
) -> None:
    behaviour.faults = iter([PASSING["503"]] * 1000)
    engine = connect(server, server_retry_timeout=600, interactive_deadline=0.5)
    with pytest.raises(EngineError):
        ask_one(engine, make_request(SEED, engine, priority=INTERACTIVE, most=WORDS))
    assert len(behaviour.seen) < 10
    engine.close()


@pytest.mark.parametrize("fault", PASSING)
def test_a_temporary_fault_costs_no_answer(
    fault: str, remote: RemoteEngine, behaviour: Behaviour, shapes: LocalEngine
) -> None:
    behaviour.faults = iter([PASSING[fault]] * 2)
    assert ask(remote) == connecting.ask(shapes, SEED, most=WORDS)
    assert len(behaviour.seen) == 3


def test_a_request_waits_for_a_server_that_is_not_up_yet(shapes: LocalEngine) -> None:
    server = Server(shapes, Behaviour())
    port = server.server_port
    server.server_close()
    engine = connect(server)
    started: list[Server] = []

    def start() -> None:
        started.append(Server(shapes, Behaviour(), port))
        started[0].serve_forever(0.02)

    timer = threading.Timer(1.0, start)
    timer.start()
    assert ask(engine).text
    started[0].shutdown()
    started[0].server_close()
    timer.join()
    engine.close()


def test_retry_after_is_honoured(remote: RemoteEngine, behaviour: Behaviour) -> None:
    behaviour.faults = iter([status(429, Retry_After="2")])
    begun = time.monotonic()
    ask(remote)
    assert time.monotonic() - begun >= 2


def test_a_request_that_waits_for_its_retry_leaves_its_place_to_others(
    server: Server, behaviour: Behaviour
) -> None:
    behaviour.faults = iter([status(429, Retry_After="3")])
    engine = connect(server, max_in_flight=1)
    first, second = engine.submit([make_request(SEED, engine, most=WORDS)] * 2)
    assert second.result(60).text
    assert not first.done()
    assert first.result(60) == second.result()
    engine.close()


def test_draining_ends_the_wait_for_a_retry_and_blames_no_request(
    remote: RemoteEngine, behaviour: Behaviour
) -> None:
    ask(remote)
    behaviour.faults = iter([status(500), status(503, Retry_After="15")])
    failing = remote.submit([make_request(SEED, remote, most=WORDS)])[0]
    wait_until(lambda: len(behaviour.seen) == 3)
    remote.drain()
    error = failing.exception(10)
    assert isinstance(error, EngineAway)
    assert not error.suspect
    assert ask(remote).text


def test_a_wait_beyond_the_time_for_retries_ends_at_once(
    server: Server, behaviour: Behaviour
) -> None:
    behaviour.faults = iter([status(429, "later", Retry_After="3600")])
    engine = connect(server, server_retry_timeout=5)
    with pytest.raises(EngineError) as caught:
        ask(engine)
    assert (caught.value.code, caught.value.retryable) == ("server_busy", True)
    assert len(behaviour.seen) == 1
    engine.close()


LOADING = PASSING["503"]


@pytest.fixture
def hasty(server: Server) -> Iterator[RemoteEngine]:
    engine = connect(server, server_retry_timeout=2)
    yield engine
    engine.close()


@pytest.mark.parametrize(
    ("faults", "suspect"),
    [
        ([LOADING], False),
        ([status(429, "slow down")], False),
        ([REFUSED["a wrong key"][0]], False),
        ([status(502, "<html>bad gateway</html>")], False),
        ([half], False),
        ([reset, LOADING], True),
    ],
    ids=["loading", "busy", "a wrong key", "a proxy", "half an answer", "down since it was asked"],
)
def test_a_request_may_be_retried_while_none_is_answered_but_is_suspect_if_the_server_went_down(
    faults: list[Fault], suspect: bool, hasty: RemoteEngine, behaviour: Behaviour
) -> None:
    """The server may have gone down over this very request."""
    ask(hasty)
    behaviour.faults = iter([*faults, *[faults[-1]] * 100])
    with pytest.raises(EngineAway) as caught:
        ask(hasty)
    assert caught.value.suspect is suspect
    assert len(behaviour.seen) > 2


@pytest.mark.parametrize(("fault", "waits"), [(status(500), False), (LOADING, True)])
def test_a_request_that_fails_alone_may_be_retried_only_if_the_fault_is_common(
    hasty: RemoteEngine, behaviour: Behaviour, fault: Fault, waits: bool
) -> None:
    """It is suspect nevertheless: so even a server that is always busy fails it in the end."""

    def choosy(handler: Handler) -> None:
        unlucky = handler.body["max_tokens"] == WORDS + 1
        fault(handler) if unlucky else handler.answer()

    over = threading.Event()

    def others() -> None:
        while not over.wait(0.1):
            ask(hasty)

    behaviour.faults = itertools.repeat(choosy)
    asking = threading.Thread(target=others)
    asking.start()
    try:
        with pytest.raises(EngineError) as caught:
            ask_one(hasty, make_request(SEED, hasty, most=WORDS + 1))
    finally:
        over.set()
        asking.join()
    assert isinstance(caught.value, EngineAway) is waits
    assert getattr(caught.value, "suspect", True)


def test_a_server_that_stays_away_is_an_engine_error(shapes: LocalEngine) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        server = Server(shapes, Behaviour())
        engine = connect(server, openai_base_url=url, server_retry_timeout=1)
        with pytest.raises(EngineAway) as caught:
            ask(engine)
        engine.close()
    server.server_close()
    assert caught.value.code == "server_away"
    assert "OPENAI_BASE_URL" in str(caught.value)


@pytest.mark.parametrize("refusal", REFUSED)
def test_a_server_that_refuses_from_the_start_fails_an_interactive_request_at_once(
    refusal: str, remote: RemoteEngine, behaviour: Behaviour
) -> None:
    fault, cure = REFUSED[refusal]
    behaviour.faults = iter([fault])
    with pytest.raises(EngineError, match=cure):
        ask_one(remote, make_request(SEED, remote, priority=INTERACTIVE, most=WORDS))
    assert len(behaviour.seen) == 1


@pytest.mark.parametrize("refusal", ["a wrong key", "an unpaid bill", "an unknown model"])
def test_a_server_that_answered_before_is_tried_again_when_it_refuses(
    refusal: str, remote: RemoteEngine, behaviour: Behaviour
) -> None:
    """The setting may be corrected soon; the tasks must not be lost meanwhile."""
    ask(remote)
    behaviour.faults = iter([REFUSED[refusal][0]] * 2)
    assert ask(remote).text
    assert len(behaviour.seen) == 4


@pytest.mark.parametrize("number", [400, 413, 422])
def test_a_refused_request_costs_its_task_alone(
    number: int, remote: RemoteEngine, behaviour: Behaviour
) -> None:
    ask(remote)
    behaviour.faults = iter([status(number, "indecent picture")])
    with pytest.raises(TaskError, match="indecent picture"):
        ask(remote)
    assert ask(remote).text


@pytest.mark.parametrize("before", ["you sent ", "y" * (SHOWN - len(KEY) + 1)])
@pytest.mark.parametrize("number", [400, 401, 500])
def test_no_error_holds_the_key_or_the_picture(number: int, before: str, server: Server) -> None:
    server.behaviour.faults = iter([status(number, f"{before}{KEY} and " + "x" * 5000)] * 9)
    engine = connect(server, server_retry_timeout=0)
    with pytest.raises(GroundingError) as caught:
        ask(engine)
    assert KEY[:-1] not in str(caught.value)
    assert len(str(caught.value)) < 500
    engine.close()


def test_without_a_key_the_servers_words_are_unchanged() -> None:
    refusal = Refusal(503, b'{"message": "none of the models"}')
    failure = explain(refusal, model="m", secret="", task_alone=True)
    assert isinstance(failure, Failure)
    assert "none of the models" in str(failure.error)


def test_an_outage_is_reported_and_so_is_its_end(
    remote: RemoteEngine, behaviour: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[str] = []
    remote._outage._report = lambda words, _lasting: shown.append(words)
    behaviour.faults = iter([status(503, "loading the model")])
    ask(remote)
    wait_until(lambda: len(shown) == 2)
    assert [("loading the model" in words) for words in shown] == [True, False]
    assert shown[-1] == ""
    assert "loading the model" in caplog.text


@pytest.mark.parametrize(
    ("fault", "obstacle"),
    [(status(401, "no such key"), "OPENAI_API_KEY"), (status(503, "loading"), "")],
    ids=["a key that was withdrawn", "a server that starts"],
)
def test_a_worker_whose_server_refuses_everybody_is_not_ready_until_it_answers(
    server: Server, behaviour: Behaviour, redis: Redis, fault: Fault, obstacle: str
) -> None:
    heartbeat = Heartbeat(redis, "w", "shapes")
    engine = load_engine(connecting.settings(server, server_timeout=3), heartbeat.update)
    heartbeat.update(phase="ready")
    behaviour.faults = iter([fault] * 3)
    waiting = engine.submit([make_request(SEED, engine, most=WORDS)])
    wait_until(lambda: "server answered" in worker_statuses(redis)[0].detail)
    reason = readiness(worker_statuses(redis))
    assert any_ready(redis) is not bool(obstacle)
    assert obstacle in reason if obstacle else reason == "ready"
    waiting[0].result(30)
    wait_until(lambda: any_ready(redis))
    engine.close()


def test_a_report_that_fails_or_hangs_costs_and_repeats_no_request(
    remote: RemoteEngine, behaviour: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    ended = threading.Event()
    shown: list[str] = []

    def report(words: str, lasting: bool) -> None:
        shown.append(words)
        if words:
            raise ZeroDivisionError
        ended.wait(60)

    remote._outage._report = report
    behaviour.faults = iter([status(503, "loading the model")])
    ask(remote)
    wait_until(lambda: len(shown) == 2)
    remote._outage._reported = -60.0
    behaviour.faults = iter([status(503, "again")])
    ask(remote)
    ended.set()
    wait_until(lambda: len(shown) == 3)
    assert len(behaviour.seen) == 4, "each request is sent twice, since one answer was a failure"
    assert shown[2] == "", "of words that wait, the latest are reported"
    assert "was not reported" in caplog.text
