"""The Flask app: what Label Studio calls, and what operators look at.

Bodies carry tokens and passwords, so none is ever logged. Every error is one JSON shape:
`{"error": {"code", "message", "id"}}`, with the id in our log beside the details.
"""

from __future__ import annotations

import hmac
import json
import logging
import math
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from grounding.errors import GroundingError, QueueError, RequestError
from grounding.jobs.connection import queue_errors
from grounding.jobs.heartbeat import readiness, reports
from grounding.jobs.overview import metrics, one, overview
from grounding.settings import Settings
from grounding.web import examples
from grounding.web.predictions import Backend
from grounding.web.requests import PredictRequest

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/health", "/webhook"})
"""Label Studio calls the webhook without a password; it does nothing, and health says nothing."""

REASON_CHARS = 300
"""Longest reason in a status line: three lines of Label Studio's dialog."""


def create_app(settings: Settings | None = None) -> Flask:
    """Return the app, with nothing loaded or opened yet; `SettingError` for a wrong setting."""
    settings = settings or Settings.load()
    app = Flask("grounding")
    app.config["MAX_CONTENT_LENGTH"] = settings.max_request_bytes
    backend = app.extensions["grounding"] = Backend(settings)
    app.before_request(lambda: _check_password(settings))
    app.register_error_handler(GroundingError, error_answer)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _fault)
    for rule, method, view in (
        ("/", "GET", _health),
        ("/health", "GET", _health),
        ("/setup", "POST", lambda: _setup(backend)),
        ("/predict", "POST", lambda: _predict(backend)),
        ("/webhook", "POST", _webhook),
        ("/versions", "GET", lambda: _versions(settings)),
        ("/ready", "GET", lambda: _ready(backend)),
        ("/jobs", "GET", lambda: _jobs(backend)),
        ("/jobs/<key>", "GET", lambda key: _job(backend, key)),
        ("/metrics", "GET", lambda: _metrics(backend)),
        (f"{examples.PREFIX}<name>", "GET", examples.send_picture),
    ):
        app.add_url_rule(rule, rule, view, methods=[method])
    return app


def _health() -> Response:
    return jsonify(status="UP", model_class="QwenGrounding")


def _setup(backend: Backend) -> Response:
    body = _body()
    version = backend.setup(_text(body, "schema"), _project(body), body.get("extra_params"))
    return jsonify(model_version=version)


def _predict(backend: Backend) -> Response:
    begun = time.monotonic()  # Label Studio counts the time that a large body takes, too
    body = _body()
    tasks = body.get("tasks")
    if not isinstance(tasks, list):
        raise RequestError("tasks is no list", code="tasks_missing")
    config, context = _text(body, "label_config"), _context(body)
    asked = PredictRequest(tasks, _project(body), config, context, begun=begun)
    answer = backend.predict(asked)
    return _told(jsonify(results=answer.entries), lambda: backend.sent(answer))


def _told(response: Response, then: Callable[[], None]) -> Response:
    """Return `response`, to call `then` once the caller has taken all of it and did not hang up."""
    body = response.get_data()
    caller = request.environ.get("gunicorn.socket")

    def written() -> Iterator[bytes]:
        gone = caller is not None and _hung_up(caller)
        yield body  # where writing fails, the server does not come back for more
        if not gone:
            then()

    told = Response(written(), mimetype=response.mimetype)
    told.content_length = len(body)
    return told


def _hung_up(caller: socket.socket) -> bool:
    """Say whether the other side has closed: what is written then is lost without an error."""
    try:
        return caller.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _webhook() -> Response:
    return jsonify(status="ignored")


def _versions(settings: Settings) -> Response:
    return jsonify(versions=[settings.model_name])


def _ready(backend: Backend) -> tuple[Response, int]:
    try:
        with queue_errors():
            workers = reports(backend.queue.redis)
            obstacle = backend.queue.store.obstacle()
    except QueueError as exc:
        return jsonify(ready=False, reason=str(exc), workers=[]), 503
    ready = not obstacle and any(worker.phase == "ready" for worker in workers)
    said = [
        {"worker": w.worker, "model": w.model, "phase": w.phase, "done": w.done, "detail": w.detail}
        for w in workers
    ]
    reason = obstacle or readiness(workers)
    return jsonify(ready=ready, reason=reason, workers=said), 200 if ready else 503


def _jobs(backend: Backend) -> Response:
    with queue_errors():
        return jsonify(overview(backend.queue.store))


def _job(backend: Backend, key: str) -> Response:
    with queue_errors():
        found = one(backend.queue.store, key)
    if found is None:
        return _error(404, "job_unknown", "there is no such job, or it is forgotten by now")
    return jsonify(found)


def _metrics(backend: Backend) -> Response:
    with queue_errors():
        return Response(metrics(backend.queue.store), mimetype="text/plain")


def _body() -> Mapping[str, Any]:
    if request.content_encoding not in (None, "identity"):
        raise RequestError("compressed bodies are not read", code="encoding_refused", status=415)
    if not request.is_json:
        raise RequestError("the body is not JSON", code="not_json", status=415)
    raw = request.get_data(cache=False)
    if not raw:
        raise RequestError("the body is empty", code="body_missing")
    try:
        body = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as exc:
        raise RequestError("the body is not JSON", code="body_not_json") from exc
    if not isinstance(body, dict):
        raise RequestError("the body is no JSON object", code="body_not_object")
    return body


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise RequestError(f"{name} is missing or no text", code="label_config_invalid")
    return value


def _project(body: Mapping[str, Any]) -> str:
    """Return the project's name: its number, and the time of its creation where that is given."""
    value = str(body.get("project") if body.get("project") is not None else "")
    if value and not all(part.isascii() and part.isdigit() for part in value.split(".")):
        raise RequestError("project is no number", code="project_invalid")
    return value


def _context(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    params = body.get("params")
    if params is None:
        return None
    if not isinstance(params, dict):
        raise RequestError("params is no object", code="params_invalid")
    context = params.get("context")
    if context is not None and not isinstance(context, dict):
        raise RequestError("context is no object", code="context_invalid")
    return context


def _check_password(settings: Settings) -> Response | None:
    is_open = request.path in OPEN_PATHS or request.path.startswith(examples.PREFIX)
    if is_open or not settings.basic_auth_pass:
        return None
    given = request.authorization
    user = (given.username if given else None) or ""
    word = (given.password if given else None) or ""
    wanted = settings.basic_auth_pass.get_secret_value()
    # Both are always compared, in constant time, so that timing tells neither.
    right = _same(user, settings.basic_auth_user) & _same(word, wanted)
    if right:
        return None
    answer = _error(401, "unauthorized", "user and password are needed")
    answer.headers["WWW-Authenticate"] = 'Basic realm="grounding"'
    return answer


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())


def error_answer(error: GroundingError) -> Response:
    """Return the answer that tells an error of ours, and log it."""
    answer = _error(error.status, error.code, str(error))
    number = answer.headers["X-Error-Id"]
    log.warning("%s: %s (%s, error %s)", request.path, error, error.code, number)
    # The status line is the only text of ours that Label Studio shows when connecting.
    answer.status = f"{error.status} {_one_line(str(error))}"
    return answer


def _http_error(error: HTTPException) -> Response:
    answer = _error(error.code or 500, error.name.lower().replace(" ", "_"), error.name)
    log.info("%s: %s (error %s)", request.path, error.name, answer.headers["X-Error-Id"])
    return answer


def _fault(error: Exception) -> Response:
    answer = _error(500, "fault", "a fault of this program; its log tells more under this id")
    log.exception("%s: fault %s", request.path, answer.headers["X-Error-Id"])
    return answer


def _error(status: int, code: str, message: str) -> Response:
    number = secrets.token_hex(4)
    answer = jsonify(error={"code": code, "message": message, "id": number})
    answer.status_code = status
    answer.headers["X-Error-Id"] = number
    return answer


def _one_line(text: str) -> str:
    """Return `text` fit for a status line, without the brackets that the page takes for HTML."""
    plain = text.encode("ascii", "replace").decode().replace("<", "").replace(">", "")
    return " ".join(plain.split())[:REASON_CHARS]
