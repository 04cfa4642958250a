"""Calls to Label Studio's API in the name of one user, whatever kind of token that user has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import cached_property
from random import SystemRandom
from typing import Any

import httpx

from grounding.errors import (
    AnswerLost,
    ImageMissing,
    ImageUnreachable,
    LabelStudioAway,
    TokenRefused,
)

ACCESS_S = 300
"""Seconds that the access tokens of Label Studio 1.23 live."""

MARGIN_S = 30
"""An access token is renewed this many seconds early: longer than one fetch may take."""

TIMEOUT = httpx.Timeout(10, connect=3)
"""Seconds to wait for Label Studio's API, per step."""

EXCHANGE_S = 20
"""Seconds after which an exchange of tokens that has not ended is given up for a new one."""

RETRIES = 2
"""Further tries at an exchange that gets no answer."""

TOO_MANY_REQUESTS = 429
TOO_SLOW = "fetch_timeout"

FAILED_S = 5
"""Seconds that a failed exchange is remembered, so that not every task waits for the next."""


class Api:
    """One user's way into the Label Studio at `home`; safe to share between threads.

    `home` is Label Studio's address with its sub-path and no slash at the end. `token` is a
    personal access token (a refresh token in JWT form, exchanged for short-lived access
    tokens), a legacy token, or empty. `clock` counts seconds.
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

    def headers(self, seconds: float = EXCHANGE_S) -> dict[str, str]:
        """Return what authorises a request; nothing without a token. Takes at most `seconds`.

        Raises `ImageMissing` where Label Studio refuses the token and `ImageUnreachable` where
        it does not answer.
        """
        try:
            return self._authorisation(seconds)
        except TokenRefused as exc:
            raise ImageMissing(exc.cause, code="image_forbidden", hint=exc.hint) from exc
        except LabelStudioAway as exc:
            code = TOO_SLOW if exc.code == TOO_SLOW else ImageUnreachable.code
            raise ImageUnreachable(exc.cause, code=code, hint=exc.hint) from exc

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the answer to a call of the API at `path`, whatever its status; 401 is tried anew.

        `options` are those of `httpx.Client.request`. Raises `TokenRefused` where the token
        cannot be exchanged, `LabelStudioAway` where nothing was sent, and `AnswerLost` where no
        answer came to what was sent.
        """
        answer = self._send(method, path, options)
        if answer.status_code == httpx.codes.UNAUTHORIZED and self.renew():
            answer = self._send(method, path, options)
        return answer

    def _send(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        url = f"{self._home}{path}"
        try:
            return self._client.request(method, url, headers=self._authorisation(), **options)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as exc:
            raise LabelStudioAway(f"Label Studio at {self._home} cannot be reached") from exc
        except httpx.HTTPError as exc:
            why = f"Label Studio at {self._home} gave no answer ({type(exc).__name__})"
            raise AnswerLost(why) from exc

    def _authorisation(self, seconds: float = EXCHANGE_S) -> dict[str, str]:
        if not self._token:
            return {}
        if not self._is_personal:
            return {"Authorization": f"Token {self._token}"}
        return {"Authorization": f"Bearer {self._access_token(seconds)}"}

    def renew(self) -> bool:
        """Forget the access token, since it was refused; the next `headers` gets a new one.

        Returns whether there is one to be had: a legacy token stays what it is.
        """
        with self._lock:
            self._access_ends = 0.0
        return self._is_personal

    @property
    def _is_personal(self) -> bool:
        return self._token.count(".") == 2

    def _access_token(self, seconds: float) -> str:
        """Wait for the exchange that is under way, or begin one where the last has lapsed."""
        with self._lock:
            if self._clock() >= self._access_ends:
                self._access_ends = self._clock() + EXCHANGE_S
                self._access = Future()
                # Aside, so that each who waits has a deadline of its own.
                run = threading.Thread(target=self._exchange, args=(self._access,), daemon=True)
                run.start()
            access = self._access
        try:
            return access.result(seconds)
        except TimeoutError as exc:
            raise LabelStudioAway(
                f"Label Studio at {self._home} is too slow", code=TOO_SLOW
            ) from exc

    def _exchange(self, access: Future[str]) -> None:
        try:
            token = self._new_access_token()
        except Exception as exc:
            self._lapse(access, FAILED_S)
            access.set_exception(exc)
        else:
            self._lapse(access, ACCESS_S - MARGIN_S)
            access.set_result(token)

    def _lapse(self, access: Future[str], seconds: float) -> None:
        with self._lock:
            if access is self._access:
                self._access_ends = self._clock() + seconds

    def _new_access_token(self) -> str:
        for attempt in range(RETRIES):
            try:
                return self._exchange_token()
            except LabelStudioAway:
                time.sleep(SystemRandom().uniform(0.2, 0.6) * 2**attempt)
        return self._exchange_token()

    @cached_property
    def _client(self) -> httpx.Client:
        """A client that no proxy or netrc of the environment gets to see a token through."""
        return httpx.Client(
            # The operator's own authority (SSL_CERT_FILE) counts nevertheless.
            verify=httpx.create_ssl_context(),
            trust_env=False,
            timeout=TIMEOUT,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def _exchange_token(self) -> str:
        """Exchange the personal access token for an access token."""
        url = f"{self._home}/api/token/refresh/"
        try:
            reply = self._client.post(url, json={"refresh": self._token})
        except httpx.HTTPError as exc:
            raise LabelStudioAway(f"Label Studio at {self._home} does not answer") from exc
        if 400 <= reply.status_code < 500 and reply.status_code != TOO_MANY_REQUESTS:
            raise TokenRefused(
                f"Label Studio at {self._home} refuses the token ({reply.status_code})",
                hint=(
                    "Set LABEL_STUDIO_URL to Label Studio's address and LABEL_STUDIO_API_KEY to a "
                    "personal access token that is still valid"
                ),
            )
        return _access_in(reply)


def _access_in(reply: httpx.Response) -> str:
    try:
        access = reply.raise_for_status().json()["access"]
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as exc:
        raise LabelStudioAway(
            f"Label Studio gave no access token ({reply.status_code})",
            hint="Check that LABEL_STUDIO_URL is Label Studio's address, sub-path included",
        ) from exc
    return str(access)
