"""The Flask app: what Label Studio calls, and what operators look at.

Every error has one JSON shape: `{"error": {"code", "message", "id"}}`, with the id in our log
beside the details.
"""

from __future__ import annotations

import hmac
import json
import logging
import math
import secrets
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlencode

from flask import Flask, Response, jsonify, request
from werkzeug.datastructures import Authorization
from werkzeug.exceptions import HTTPException

from grounding.errors import GroundingError
from grounding.jobs.connection import queue_errors
from grounding.jobs.metrics import CONTENT_TYPE
from grounding.settings import Settings
from grounding.web import examples, predictions
from grounding.web.bodies import read_json, read_label_config, read_predict, read_project
from grounding.web.operator import actions, page, status
from grounding.web.projects import connect_project
from grounding.web.services import Services

log = logging.getLogger(__name__)

HEALTH = "/health"
OPEN_PATHS = frozenset({HEALTH, "/webhook"})
"""Label Studio calls the webhook without a password; it does nothing, and health says nothing."""

REASON_CHARS = 300
"""Longest reason in a status line: three lines of Label Studio's dialog."""

CLOSED = getattr(select, "POLLRDHUP", select.POLLHUP)
"""The event of a peer that sends no more; Linux tells it even before its last bytes are read."""


def create_app(settings: Settings | None = None) -> Flask:
    """Return the app, with nothing loaded or opened yet; `SettingError` for a wrong setting."""
    settings = settings or Settings.load()
    app = Flask("grounding", template_folder="web")
    app.config["MAX_CONTENT_LENGTH"] = settings.max_request_bytes
    services = app.extensions["grounding"] = Services(settings)
    app.before_request(lambda: _check_password(settings))
    app.register_error_handler(GroundingError, error_response)
    app.register_error_handler(HTTPException, _http_error_response)
    app.register_error_handler(Exception, _fault_response)
    for rule, method, view in (
        ("/", "GET", lambda: _home(services)),
        ("/operator.js", "GET", page.script),
        ("/thumbnails/<key>", "GET", lambda key: _thumbnail(services, key)),
        (
            f"/projects/<project>/<any({', '.join(actions.ACTIONS)}):action>",
            "POST",
            lambda project, action: _act(services, project, action),
        ),
        (HEALTH, "GET", _health),
        ("/setup", "POST", lambda: _setup(services)),
        ("/predict", "POST", lambda: _predict(services)),
        ("/webhook", "POST", _webhook),
        ("/versions", "GET", lambda: _versions(settings)),
        ("/ready", "GET", lambda: _ready(services)),
        ("/jobs", "GET", lambda: _jobs(services)),
        ("/jobs/<key>", "GET", lambda key: _job(services, key)),
        ("/metrics", "GET", lambda: _metrics(services)),
        (f"{examples.PREFIX}<name>", "GET", examples.send_picture),
    ):
        app.add_url_rule(rule, rule, view, methods=[method])
    return app


def _health() -> Response:
    return jsonify(status="UP", model_class="QwenGrounding")


def _home(services: Services) -> Response:
    """Answer people with a page, and whoever does not prefer one, such as Label Studio, as ever."""
    kinds = request.accept_mimetypes
    if kinds.best_match(("application/json", "text/html")) != "text/html":
        return _health()
    return page.page(services)


def _thumbnail(services: Services, key: str) -> Response:
    return page.thumbnail(services, key) or _error(404, "picture_unknown", "it is kept no more")


def _act(services: Services, project: str, action: str) -> Response:
    """Do what an operator asks; answer forms with the page, programs with JSON."""
    with queue_errors():
        actions.check_origin(services.queue.redis)
    done = actions.ACTIONS[action](services, read_project({"project": project}))
    if request.is_json:
        return jsonify(done)
    told = urlencode({"did": action, "project": project, **done})
    # Relative, for a proxy may serve the page below a path of its own.
    return Response(status=303, headers={"Location": f"../../?{told}"})


def _setup(services: Services) -> Response:
    body = read_json()
    schema, project = read_label_config(body, "schema"), read_project(body)
    version = connect_project(services, schema, project, body.get("extra_params"))
    return jsonify(model_version=version)


def _predict(services: Services) -> Response:
    begun = time.monotonic()  # Label Studio counts the time that a large body takes, too
    asked = read_predict(read_json(has_tasks=True), begun, _caller_has_left())
    answer = predictions.predict(services, asked)
    response = Response(_write_results(answer.entries), mimetype="application/json")
    return call_when_sent(response, lambda: predictions.mark_delivered(services, answer))


def _write_results(entries: Sequence[predictions.Entry]) -> str:
    """Return the answer's JSON, made entry by entry: in one piece it would hold up `/health`."""
    return f'{{"results":[{",".join(json.dumps(entry) for entry in entries)}]}}'


def _webhook() -> Response:
    return jsonify(status="ignored")


def _versions(settings: Settings) -> Response:
    return jsonify(versions=[settings.model_name])


def _ready(services: Services) -> tuple[Response, int]:
    readiness = status.read_readiness(services)
    return jsonify(readiness), 200 if readiness["ready"] else 503


def _jobs(services: Services) -> Response:
    """Answer for all projects, or for those that the address names."""
    return jsonify(status.read_overview(services, request.args.getlist("project") or None))


def _job(services: Services, key: str) -> Response:
    job = status.read_job(services, key)
    if job is None:
        return _error(404, "job_unknown", "there is no such job, or it is forgotten by now")
    return jsonify(job)


def _metrics(services: Services) -> Response:
    return Response(status.read_metrics(services), content_type=CONTENT_TYPE)


def call_when_sent(response: Response, callback: Callable[[], None]) -> Response:
    """Return `response`, which calls `callback` after its last byte.

    Not if writing fails, nor if the caller had hung up before.
    """
    body = response.get_data()
    has_left = _caller_has_left()

    def write() -> Iterator[bytes]:
        gone = has_left()
        yield body  # where writing fails, the server does not come back for more
        if not gone:
            callback()

    watched = Response(write(), mimetype=response.mimetype)
    watched.content_length = len(body)
    return watched


def _caller_has_left() -> Callable[[], bool]:
    """Return what says, in any thread, whether the current request's caller has hung up."""
    caller = request.environ.get("gunicorn.socket")
    return lambda: caller is not None and has_hung_up(caller)


def has_hung_up(caller: socket.socket) -> bool:
    """Say whether the other side has closed: what is written then is lost without an error.

    Asks the kernel and reads nothing, so that it works for TLS sockets, too.
    """
    if caller.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(caller, CLOSED)
    return bool(poll.poll(0))


LOGIN_NEEDED = "user and password are needed, as BASIC_AUTH_USER and BASIC_AUTH_PASS say"


def _check_password(settings: Settings) -> Response | None:
    if is_authorized(settings, request.path, request.headers.get("Authorization")):
        return None
    response = _error(401, "unauthorized", LOGIN_NEEDED)
    response.status = f"401 {LOGIN_NEEDED}"  # Label Studio's dialog shows it
    response.headers["WWW-Authenticate"] = 'Basic realm="grounding"'
    return response


def is_authorized(settings: Settings, path: str, header: str | None) -> bool:
    """Say whether a request with this Authorization header may have an answer of `path`."""
    if not settings.basic_auth_pass or path in OPEN_PATHS or path.startswith(examples.PREFIX):
        return True
    sent = _credentials(header)
    user = (sent.username if sent else None) or ""
    password = (sent.password if sent else None) or ""
    wanted = settings.basic_auth_pass.get_secret_value()
    # Both are always compared, in constant time, so that timing tells neither.
    return _same(user, settings.basic_auth_user) & _same(password, wanted)


def _credentials(header: str | None) -> Authorization | None:
    try:
        return Authorization.from_header(header)
    except ValueError:  # it is not ASCII
        return None


def _same(sent: str, wanted: str) -> bool:
    return hmac.compare_digest(sent.encode(errors="replace"), wanted.encode())


def error_response(error: GroundingError) -> Response:
    """Return the response for an error of ours, and log it."""
    response = _error(error.status, error.code, str(error))
    if error.wait_s:
        response.headers["Retry-After"] = str(math.ceil(error.wait_s))
    error_id = response.headers["X-Error-Id"]
    log.warning("%s: %s (%s, error %s)", request.path, error, error.code, error_id)
    # The status line is the only text of ours that Label Studio shows when connecting.
    response.status = f"{error.status} {_status_line(str(error))}"
    return response


def _http_error_response(error: HTTPException) -> Response:
    response = _error(error.code or 500, error.name.lower().replace(" ", "_"), error.name)
    log.info("%s: %s (error %s)", request.path, error.name, response.headers["X-Error-Id"])
    return response


def _fault_response(error: Exception) -> Response:
    response = _error(500, "fault", "a fault of this program; its log tells more under this id")
    log.exception("%s: fault %s", request.path, response.headers["X-Error-Id"])
    return response


def _error(status: int, code: str, message: str) -> Response:
    error_id = secrets.token_hex(4)
    response = jsonify(error={"code": code, "message": message, "id": error_id})
    response.status_code = status
    response.headers["X-Error-Id"] = error_id
    return response


def _status_line(text: str) -> str:
    """Return `text` fit for a status line, without the brackets that the page takes for HTML."""
    plain = text.encode("ascii", "replace").decode().replace("<", "").replace(">", "")
    return " ".join(plain.split())[:REASON_CHARS]
