"""Calls to Label Studio's API in the name of one user, whatever kind of token that user has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cached_property

import httpx

from grounding.errors import ImageMissing, ImageUnreachable

ACCESS_S = 300
"""Seconds that the access tokens of Label Studio 1.23 live."""

MARGIN_S = 30
"""An access token is renewed this many seconds early: longer than one fetch may take."""

TIMEOUT = httpx.Timeout(10, connect=3)
"""Seconds to wait for Label Studio's API, per step."""


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
        self._access = ""
        self._access_ends = 0.0
        self._lock = threading.Lock()

    def headers(self) -> dict[str, str]:
        """Return what authorises a request; nothing without a token.

        Raises `ImageMissing` where Label Studio refuses the token and `ImageUnreachable` where
        it does not answer.
        """
        if not self._token:
            return {}
        if self._token.count(".") != 2:
            return {"Authorization": f"Token {self._token}"}
        return {"Authorization": f"Bearer {self._access_token()}"}

    def renew(self) -> None:
        """Forget the access token, since it was refused; the next `headers` gets a new one."""
        with self._lock:
            self._access_ends = 0.0

    def _access_token(self) -> str:
        with self._lock:
            now = self._clock()
            if now >= self._access_ends:
                self._access = self._exchange_token()
                self._access_ends = now + ACCESS_S - MARGIN_S
            return self._access

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
            raise ImageUnreachable(f"Label Studio at {self._home} does not answer") from exc
        if 400 <= reply.status_code < 500:
            raise ImageMissing(
                f"Label Studio at {self._home} refuses the token ({reply.status_code})",
                code="image_forbidden",
                hint="Set LABEL_STUDIO_API_KEY to a personal access token that is still valid",
            )
        return _access_in(reply)


def _access_in(reply: httpx.Response) -> str:
    try:
        access = reply.raise_for_status().json()["access"]
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as exc:
        raise ImageUnreachable(
            f"Label Studio gave no access token ({reply.status_code})",
            hint="Check that LABEL_STUDIO_URL is Label Studio's address, sub-path included",
        ) from exc
    return str(access)
