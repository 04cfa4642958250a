"""Imports into Label Studio's API, on real servers on loopback."""

from __future__ import annotations

import json
import socket
from contextlib import suppress

import pytest

from grounding.errors import (
    AnswerLost,
    GroundingError,
    ImportRefused,
    LabelStudioAway,
    LabelStudioError,
    TokenRefused,
)
from grounding.labelstudio.client.api import Api, Importer
from tests.labelstudio.client.tokens import LEGACY, PERSONAL, access, authorization
from tests.media.hosts import Response, answer, host, ok

ITEM = {"task": 1, "result": [], "model_version": "v"}


def page(status: int, text: str = "<html>", *fields: str) -> bytes:
    """Return a response of any server between us and Label Studio."""
    return answer(status, *fields, f"Content-Length: {len(text)}") + text.encode()


def own(status: int) -> bytes:
    """Return a response with Label Studio's own error body."""
    return page(status, json.dumps({"status_code": status, "detail": "…"}))


def after_body(reply: bytes) -> Response:
    """Return `reply`, said once the body has come: hanging up on it would be a reset."""

    def send(connection: socket.socket) -> None:
        connection.settimeout(0.1)
        with suppress(TimeoutError):
            connection.recv(65536)
        connection.sendall(reply)

    return send


def test_a_refused_access_token_is_renewed_once() -> None:
    replies = (access("one"), answer(401), access("two"), ok(b'{"created": 1}'))
    with host(*map(after_body, replies)) as server:
        assert Importer(Api(server.origin, PERSONAL)).send(1, [ITEM]) == 1
    sent = [authorization(request) for request in server.requests]
    assert sent == [None, "Bearer one", None, "Bearer two"]


def test_a_sub_path_is_kept() -> None:
    with host(after_body(ok(b'{"created": 1}'))) as server:
        Importer(Api(f"{server.origin}/studio", LEGACY)).send(7, [ITEM])
    (request,) = server.requests
    assert request.startswith("POST /studio/api/projects/7/import/predictions HTTP/1.1")


OUTCOMES: dict[str, tuple[bytes, type[GroundingError]]] = {
    "its own 400": (own(400), ImportRefused),
    "a proxy's 400": (page(400), LabelStudioError),
    "too large": (page(413), ImportRefused),
    "403": (own(403), TokenRefused),
    "404": (page(404), LabelStudioError),
    "moved": (page(302, "", "Location: /login"), LabelStudioError),
    "500": (own(500), AnswerLost),
    "502": (page(502), AnswerLost),
    "429": (page(429), LabelStudioError),
    "a login page": (ok(b"<html>"), AnswerLost),
    "cut off": (b"HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{", AnswerLost),
    "no answer": (b"", AnswerLost),
}


@pytest.mark.parametrize(("reply", "error"), OUTCOMES.values(), ids=OUTCOMES)
def test_a_failed_import_raises_the_error_that_says_what_was_stored(
    reply: bytes, error: type[GroundingError]
) -> None:
    with host(after_body(reply)) as server, pytest.raises(LabelStudioError) as caught:
        Importer(Api(server.origin, LEGACY)).send(1, [ITEM])
    assert type(caught.value) is error
    assert LEGACY not in str(caught.value)


def test_a_refused_connection_means_that_nothing_was_sent() -> None:
    with pytest.raises(LabelStudioAway):
        Importer(Api("http://127.0.0.1:1", LEGACY)).send(1, [ITEM])
