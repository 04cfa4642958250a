"""Legacy and personal access tokens, and the exchange for access tokens, on loopback."""

from __future__ import annotations

import threading
import time

import pytest

from grounding.errors import ImageMissing, ImageUnreachable
from grounding.labelstudio.client.api import EXCHANGE_SECONDS
from grounding.labelstudio.client.files import LabelStudioClient
from grounding.media.fetch import Fetcher, FetchRules
from tests.labelstudio.client.tokens import FILE, LEGACY, PERSONAL, access, authorization, fetch
from tests.media.hosts import BODY, LONGEST_SECONDS, Response, answer, dripping, host, moved, ok


def test_an_uploaded_file_comes_with_a_legacy_token() -> None:
    with host() as server:
        assert fetch(FILE, server) == BODY
    assert server.requests[0].startswith(f"GET {FILE} ")
    assert authorization(server.requests[0]) == f"Token {LEGACY}"


def test_a_file_comes_under_the_sub_path() -> None:
    with host(access("one"), ok()) as server:
        client = LabelStudioClient(f"{server.origin}/sub/", PERSONAL)
        assert Fetcher(FetchRules(), client).fetch(f"/sub{FILE}") == BODY
    assert [r.split()[1] for r in server.requests] == [
        "/sub/api/token/refresh/",
        f"/sub{FILE}",
    ]


def test_a_personal_access_token_is_exchanged_once_for_many_files() -> None:
    with host(access("one"), ok()) as server:
        client = LabelStudioClient(server.origin, PERSONAL)
        fetcher = Fetcher(FetchRules(), client)
        assert [fetcher.fetch(FILE) for _ in range(3)] == [BODY] * 3
    exchange, *files = server.requests
    assert exchange.startswith("POST /api/token/refresh/ ")
    assert authorization(exchange) is None
    assert [authorization(file) for file in files] == ["Bearer one"] * 3
    assert not any(PERSONAL in file for file in files)


def test_an_access_token_is_renewed_before_it_expires() -> None:
    now = 1000.0
    with host(access("one"), access("two")) as server:
        client = LabelStudioClient(server.origin, PERSONAL, clock=lambda: now)
        url = server.origin + FILE
        assert client.headers(url) == {"Authorization": "Bearer one"}
        now += 265
        assert client.headers(url) == {"Authorization": "Bearer one"}
        now += 10
        assert client.headers(url) == {"Authorization": "Bearer two"}


def test_an_access_token_refused_early_is_renewed_once() -> None:
    with host(access("one"), answer(401), access("two"), ok()) as server:
        assert fetch(FILE, server, PERSONAL) == BODY
    assert authorization(server.requests[1]) == "Bearer one"
    assert authorization(server.requests[3]) == "Bearer two"
    with host(access("one"), answer(401), access("two"), answer(401)) as server:
        with pytest.raises(ImageMissing) as failure:
            fetch(FILE, server, PERSONAL)
        assert len(server.requests) == 4
    assert failure.value.code == "image_forbidden"
    assert "LABEL_STUDIO_API_KEY" in failure.value.hint


def test_many_threads_share_one_exchange() -> None:
    with host(access("one"), access("two")) as server:
        client = LabelStudioClient(server.origin, PERSONAL)
        got: list[dict[str, str]] = []
        threads = [
            threading.Thread(target=lambda: got.append(client.headers(server.origin + FILE)))
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == [{"Authorization": "Bearer one"}] * 16
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refused_token_says_which_setting_to_change(status: int) -> None:
    with host(answer(status)) as server, pytest.raises(ImageMissing) as failure:
        fetch(FILE, server, PERSONAL)
    assert failure.value.code == "image_forbidden"
    assert "LABEL_STUDIO_API_KEY" in failure.value.hint
    assert PERSONAL not in str(failure.value)
    assert len(server.requests) == 1


def test_another_program_is_not_called_label_studio() -> None:
    with host(answer(404)) as server, pytest.raises(ImageMissing) as failure:
        fetch(FILE, server, PERSONAL)
    assert "is not Label Studio" in failure.value.cause
    assert "LABEL_STUDIO_URL" in failure.value.hint


@pytest.mark.parametrize(
    "reply", [answer(503), ok(b"<html>"), ok(b"[]"), ok(b"{}"), moved("/x"), b""]
)
def test_an_exchange_that_fails_may_work_later(reply: Response) -> None:
    with host(reply) as server, pytest.raises(ImageUnreachable) as failure:
        fetch(FILE, server, PERSONAL)
    assert failure.value.retryable
    assert PERSONAL not in str(failure.value)
    with host(reply, access("one"), ok()) as server:
        assert fetch(FILE, server, PERSONAL) == BODY


def test_the_exchange_ignores_proxies_and_redirects(monkeypatch: pytest.MonkeyPatch) -> None:
    with host(access("stolen")) as spy, host(moved(f"{spy.origin}/")) as server:
        monkeypatch.setenv("HTTP_PROXY", spy.origin)
        monkeypatch.setenv("ALL_PROXY", spy.origin)
        with pytest.raises(ImageUnreachable):
            LabelStudioClient(server.origin, PERSONAL).headers(server.origin + FILE)
    assert spy.requests == []


@pytest.mark.parametrize(
    ("reply", "exchanges"), [(answer(401), 1), (answer(503), 3), (answer(429), 3)]
)
def test_a_failed_exchange_is_remembered_for_a_few_seconds(reply: Response, exchanges: int) -> None:
    now = 1000.0
    with host(*[reply] * exchanges, access("one")) as server:
        client = LabelStudioClient(server.origin, PERSONAL, clock=lambda: now)
        for later in (0, 1, 3):
            now = 1000.0 + later
            with pytest.raises((ImageMissing, ImageUnreachable)):
                client.headers(server.origin + FILE)
        assert len(server.requests) == exchanges
        now = 1006.0
        assert client.headers(server.origin + FILE) == {"Authorization": "Bearer one"}


def test_a_server_that_asks_for_a_long_wait_is_not_asked_again_for_the_same_file() -> None:
    with host(answer(429, "Retry-After: 60"), access("one")) as server:
        with pytest.raises(ImageUnreachable):
            LabelStudioClient(server.origin, PERSONAL).headers(server.origin + FILE)
        assert len(server.requests) == 1


def test_a_server_that_asks_for_a_short_wait_gets_it() -> None:
    with host(answer(503, "Retry-After: 1"), access("one")) as server:
        client = LabelStudioClient(server.origin, PERSONAL)
        started = time.monotonic()
        assert client.headers(server.origin + FILE) == {"Authorization": "Bearer one"}
        assert time.monotonic() - started >= 1


SILENT = dripping(b"", b"", 0.02)
DRIPPING = dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.02)


@pytest.mark.parametrize("reply", [SILENT, DRIPPING])
def test_an_exchange_counts_in_the_time_of_the_fetch(reply: Response) -> None:
    with host(reply) as server:
        fetcher = Fetcher(FetchRules(total_s=0.4), LabelStudioClient(server.origin, PERSONAL))
        started = time.monotonic()
        with pytest.raises(ImageUnreachable) as failure:
            fetcher.fetch(FILE)
        assert time.monotonic() - started < EXCHANGE_SECONDS / 2
    assert failure.value.code == "fetch_timeout"


def test_an_exchange_that_hangs_is_abandoned_for_a_new_one() -> None:
    now = 1000.0
    with host(DRIPPING, access("two")) as server:
        client = LabelStudioClient(server.origin, PERSONAL, clock=lambda: now)
        with pytest.raises(ImageUnreachable):
            client.headers(server.origin + FILE, 0.1)
        # The first exchange must have arrived, so that it is the one that hangs.
        arrived = time.monotonic() + LONGEST_SECONDS
        while not server.requests and time.monotonic() < arrived:
            time.sleep(0.01)
        now += 21
        assert client.headers(server.origin + FILE, 5) == {"Authorization": "Bearer two"}


def test_a_legacy_token_that_is_refused_is_not_tried_again() -> None:
    with host(answer(401)) as server:
        with pytest.raises(ImageMissing) as failure:
            fetch(FILE, server, LEGACY)
        assert len(server.requests) == 1
    assert "LABEL_STUDIO_API_KEY" in failure.value.hint
