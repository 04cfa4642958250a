"""Calls Label Studio's API as one user, with any kind of token that Label Studio issues.

`Importer` stores predictions through the import endpoint.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property
from typing import Any

import httpx

from grounding.errors import (
    AnswerLost,
    ImageMissing,
    ImageUnreachable,
    ImportRefused,
    LabelStudioAway,
    LabelStudioError,
    TokenRefused,
)
from grounding.retry import Backoff, retry_after
from grounding.waiting import Check, is_done, no_check

ACCESS_SECONDS = 300
"""Lifetime of an access token of Label Studio 1.23."""

MARGIN_SECONDS = 30
"""An access token is renewed this long before it expires: longer than one fetch takes."""

TIMEOUT = httpx.Timeout(10, connect=3)
"""Seconds to wait for Label Studio's API, per step."""

EXCHANGE_SECONDS = 20
"""After this time, an exchange of tokens that has not ended is abandoned for a new one."""

RETRIES = 2
"""Further tries at an exchange that fails for a reason that may pass."""

BACKOFF = Backoff(first=0.5, longest=4)
"""Seconds between these tries."""

FAILURE_SECONDS = 5
"""A failed exchange is remembered this long, so that not every task waits for the next one."""

REFRESH = "/api/token/refresh/"

TIMEOUT_CODE = "fetch_timeout"

KEY_NEEDED = "Label Studio's files need LABEL_STUDIO_API_KEY"
"""What is said wherever that variable is not set: uploading is how most projects start."""

BOTH_NEEDED = f"{KEY_NEEDED} and LABEL_STUDIO_URL"
"""The same where no address of Label Studio is set either."""


class Api:
    """The API of the Label Studio at `home` for one user; safe to share between threads.

    `home` is Label Studio's address with its sub-path and without a slash at the end. `token` is
    a personal access token (a refresh token in JWT form, exchanged for short-lived access
    tokens), a legacy token, or empty. `clock` returns seconds.
    """

    def __init__(
        self, home: str, token: str = "", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._home = home
        self._token = token
        self._clock = clock
        self._access: Future[str] = Future()
        self._access_ends = 0.0
        self._lock = threading.Lock()

    def headers(self, seconds: float = EXCHANGE_SECONDS, check: Check = no_check) -> dict[str, str]:
        """Return the headers that authorize a request; none without a token.

        Takes at most `seconds`. Raises `ImageMissing` if Label Studio refuses the token,
        `ImageUnreachable` if it does not answer, and what `check` does while it waits.
        """
        try:
            return self._authorize(seconds, check)
        except TokenRefused as exc:
            raise ImageMissing(exc.cause, code="image_forbidden", hint=exc.hint) from exc
        except LabelStudioAway as exc:
            code = TIMEOUT_CODE if exc.code == TIMEOUT_CODE else ImageUnreachable.code
            raise ImageUnreachable(exc.cause, code=code, hint=exc.hint) from exc

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the response to a request to the API at `path`, whatever its status.

        After a 401, a new access token is tried once. `options` are those of
        `httpx.Client.request`. Raises `TokenRefused` if the token cannot be exchanged,
        `LabelStudioAway` if nothing was sent, and `AnswerLost` if the request was sent and no
        response came.
        """
        response = self._send(method, path, options)
        if response.status_code == httpx.codes.UNAUTHORIZED and self.renew():
            response = self._send(method, path, options)
        return response

    def _send(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        url = f"{self._home}{path}"
        try:
            return self._client.request(method, url, headers=self._authorize(), **options)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as exc:
            raise LabelStudioAway(f"Label Studio at {self._home} cannot be reached") from exc
        except httpx.HTTPError as exc:
            cause = f"Label Studio at {self._home} gave no answer ({type(exc).__name__})"
            raise AnswerLost(cause) from exc

    def _authorize(
        self, seconds: float = EXCHANGE_SECONDS, check: Check = no_check
    ) -> dict[str, str]:
        if not self._token:
            return {}
        if not self._is_personal:
            return {"Authorization": f"Token {self._token}"}
        return {"Authorization": f"Bearer {self._access_token(seconds, check)}"}

    @property
    def has_token(self) -> bool:
        """Whether there is a token at all, valid or not."""
        return bool(self._token)

    def renew(self) -> bool:
        """Forget the access token, which was refused; the next call gets a new one.

        Returns whether that is possible: a legacy token cannot be renewed.
        """
        with self._lock:
            self._access_ends = 0.0
        return self._is_personal

    @property
    def _is_personal(self) -> bool:
        return self._token.count(".") == 2

    def _access_token(self, seconds: float, check: Check) -> str:
        """Wait for the exchange that is running; start one if the last token has expired."""
        with self._lock:
            if self._clock() >= self._access_ends:
                self._access_ends = self._clock() + EXCHANGE_SECONDS
                self._access = Future()
                # In a thread, so that each caller has its own deadline.
                run = threading.Thread(target=self._exchange, args=(self._access,), daemon=True)
                run.start()
            access = self._access
        if not is_done(access, seconds, check):
            raise LabelStudioAway(f"Label Studio at {self._home} is too slow", code=TIMEOUT_CODE)
        return access.result()

    def _exchange(self, access: Future[str]) -> None:
        try:
            token = self._new_access_token()
        except Exception as exc:  # every caller that waits for this exchange must get its outcome
            self._expire_after(access, FAILURE_SECONDS)
            access.set_exception(exc)
        else:
            self._expire_after(access, ACCESS_SECONDS - MARGIN_SECONDS)
            access.set_result(token)

    def _expire_after(self, access: Future[str], seconds: float) -> None:
        with self._lock:
            if access is self._access:
                self._access_ends = self._clock() + seconds

    def _new_access_token(self) -> str:
        """Exchange the token; try again after a failure that may pass, unless asked to wait long.

        Raises `TokenRefused` and `LabelStudioAway`.
        """
        attempt = 0
        while True:
            response: httpx.Response | None = None
            try:
                response = self._post_token()
                return _read_access_token(response)
            except LabelStudioAway:
                wait = None if response is None else retry_after(response.headers)
                if attempt == RETRIES or (wait or 0) > FAILURE_SECONDS:
                    raise
            time.sleep(BACKOFF.delay(attempt, wait))
            attempt += 1

    @cached_property
    def _client(self) -> httpx.Client:
        """A client that shows no token to a proxy or a netrc host of the environment."""
        return httpx.Client(
            # The operator's own certificate authority (SSL_CERT_FILE) still counts.
            verify=httpx.create_ssl_context(),
            trust_env=False,
            timeout=TIMEOUT,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def _post_token(self) -> httpx.Response:
        """Return the response to the exchange of the personal access token, unless it is refused.

        Raises `TokenRefused`, and `LabelStudioAway` if there is no response.
        """
        url = f"{self._home}{REFRESH}"
        try:
            response = self._client.post(url, json={"refresh": self._token})
        except httpx.HTTPError as exc:
            raise LabelStudioAway(f"Label Studio at {self._home} does not answer") from exc
        if response.is_client_error and response.status_code != httpx.codes.TOO_MANY_REQUESTS:
            cause = f"Label Studio at {self._home} refuses the token ({response.status_code})"
            if response.status_code == httpx.codes.NOT_FOUND:
                cause = f"what answers at {self._home} is not Label Studio: it has no {REFRESH}"
            raise TokenRefused(
                cause,
                hint=(
                    "Set LABEL_STUDIO_URL to Label Studio's address and LABEL_STUDIO_API_KEY to a "
                    "personal access token that is still valid"
                ),
            )
        return response


def _read_access_token(response: httpx.Response) -> str:
    try:
        access = response.raise_for_status().json()["access"]
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as exc:
        raise LabelStudioAway(
            f"Label Studio gave no access token ({response.status_code})",
            hint="Check that LABEL_STUDIO_URL is Label Studio's address, sub-path included",
        ) from exc
    return str(access)


IMPORT_TIMEOUT = httpx.Timeout(45, write=10, connect=3)
"""Seconds per step of an import: in total less than the outbox holds an entry for a push."""

PROXY_TIMEOUTS = (
    httpx.codes.REQUEST_TIMEOUT,
    httpx.codes.BAD_GATEWAY,
    httpx.codes.GATEWAY_TIMEOUT,
)
"""The statuses of a proxy that stops waiting for Label Studio, which may still be working."""


class Importer:
    """The import endpoint of one Label Studio, for one user; safe to share between threads.

    Label Studio 1.23.2 refuses a whole batch (400) if one task is unknown. An item that fails its
    own check is dropped under a 201, and only the count shows it. It does not check for
    duplicates. Each call reads every task of the project, so batches should be large.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def send(self, project: int, predictions: Sequence[Mapping[str, Any]]) -> int:
        """Store `predictions`, each with its `task`, and return how many Label Studio stored.

        Raises `ImportRefused` if Label Studio rejects their content, and stores none. After
        `AnswerLost` they may be stored; after any other `LabelStudioError` none is.
        """
        path = f"/api/projects/{project}/import/predictions"
        response = self._api.call("POST", path, json=list(predictions), timeout=IMPORT_TIMEOUT)
        if _is_own_400(response):
            raise ImportRefused("Label Studio refuses a prediction (400)")
        if response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            raise ImportRefused("Label Studio refuses a prediction (413)", hint="It is too large")
        check_status(response)
        created = read_key(response, "created")
        if not isinstance(created, int):
            raise AnswerLost(f"the import gave no count ({response.status_code})")
        return created

    def has(self, task: int, model_version: str) -> bool:
        """Say whether the task has a prediction of this version. Raises `LabelStudioError`."""
        response = self._api.call("GET", "/api/predictions/", params={"task": task})
        if _is_own_400(response):
            return False  # there is no such task
        check_status(response)
        stored = read_json(response)
        if not isinstance(stored, list):
            raise LabelStudioError(f"Label Studio lists no predictions of task {task}")
        return any(one.get("model_version") == model_version for one in stored)


def check_status(response: httpx.Response) -> None:
    """Raise the error of a status that means failure for every call."""
    status = response.status_code
    if response.is_success:
        return
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise TokenRefused(f"Label Studio refuses the token ({status})")
    if response.is_server_error or status == httpx.codes.REQUEST_TIMEOUT:
        raise AnswerLost(f"Label Studio fails ({status})", ended=status not in PROXY_TIMEOUTS)
    if status == httpx.codes.NOT_FOUND:
        raise LabelStudioError(
            "Label Studio has no such project (404)",
            hint="It was deleted, or LABEL_STUDIO_URL is not Label Studio's address",
        )
    raise LabelStudioError(f"Label Studio answers {status}")


def _is_own_400(response: httpx.Response) -> bool:
    """Say whether Label Studio itself, and not a proxy, answers 400."""
    status = response.status_code
    return status == httpx.codes.BAD_REQUEST and read_key(response, "status_code") == status


def read_key(response: httpx.Response, name: str) -> Any:
    """Return the value of `name` in a JSON object; None if the response is something else."""
    body = read_json(response)
    return body.get(name) if isinstance(body, dict) else None


def read_json(response: httpx.Response) -> Any:
    """Return the JSON of a response; None if it is something else."""
    try:
        return response.json()
    except ValueError:
        return None
