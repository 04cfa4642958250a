"""The engine behind HTTP: any server that speaks OpenAI's chat completions, or DashScope's own.

The pictures travel as data URIs at the exact size that the model is to see. A question is put
again until it is answered or its time is up, because whoever asked has a whole task in hand and
an outage of a minute must not cost thousands of them.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

import httpx2
import openai

from grounding.engines.base import Completion, ModelRequest
from grounding.engines.remote.completions import read_reply
from grounding.engines.remote.data_uris import DataUris, Encoding
from grounding.engines.remote.failures import SEE_LOG, Failure, of_status
from grounding.engines.remote.limiter import ResponseLimiter
from grounding.engines.remote.retry import Retry, retry_after
from grounding.engines.remote.semaphore import PrioritySemaphore
from grounding.engines.remote.servers import RequestFormat
from grounding.errors import EngineAway, EngineError
from grounding.qwen.profiles import Profile

log = logging.getLogger(__name__)

NO_KEY = "none"
"""What is sent where no key is set: a server that wants none looks at none."""

PICTURE = "(picture)"
"""Stands for the data URI while the rest of a request is written as JSON."""

CONNECT_SECONDS = 10.0
SAY_SECONDS = 5.0
"""How often trouble is told at most: dozens of questions meet it at once."""

CONTROL = re.compile(r"<\|[^|<>\s]+\|>")
"""Qwen's control tokens as text, which a server would tokenise as such."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How much is asked at once, and how long an answer is waited for, in seconds.

    `timeout` is for one request's connection, headers and each wait in between, and again for
    its whole body; `patience` for all tries of one question, and `urgent_patience` for those
    of one that a person waits for.
    """

    in_flight: int = 64
    timeout: float = 120
    patience: float = 600
    urgent_patience: float = 60


class RemoteEngine:
    """Answers questions by asking a server; an `Engine`. Blocks in the asker's own thread.

    `on_trouble` hears, in words and now and then, why answers are wanting, and "" once they come.
    """

    def __init__(
        self,
        base_url: str,
        manner: RequestFormat,
        profile: Profile,
        *,
        api_key: str = "",
        encoding: Encoding | None = None,
        terms: RetryPolicy | None = None,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        terms = terms or RetryPolicy()
        self.profile = profile
        self.manner = manner
        self._key = api_key
        self._uris = DataUris(encoding or Encoding())
        self._gate = PrioritySemaphore(terms.in_flight)
        self._patience = {False: terms.patience, True: terms.urgent_patience}
        self._draining = Event()
        self._closed = Event()
        self._answered: float | None = None
        self._troubled = False
        self._on_trouble = on_trouble or (lambda _: None)
        self._said = -SAY_SECONDS
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=api_key or NO_KEY,
            max_retries=0,  # ours have a deadline and heed any Retry-After; two layers would add up
            http_client=openai.DefaultHttpxClient(
                timeout=httpx2.Timeout(terms.timeout, connect=CONNECT_SECONDS),
                limits=httpx2.Limits(
                    max_connections=terms.in_flight, max_keepalive_connections=terms.in_flight
                ),
                event_hooks={"response": [ResponseLimiter(terms.timeout).put_on]},
            ),
        )

    def ask(self, question: ModelRequest) -> Completion:
        """Return the server's reply; blocks, and may be called from many threads at once.

        Raises `ImageError` where the pixels do not have a model frame's size, `TaskError` where
        the server refuses this question alone, `EngineError` where it could not be asked within
        the patience of `RetryPolicy`, or at once where a person waits and it never answered but
        refuses us altogether. `EngineAway` where that may not be the question's fault.
        """
        body = self._encoded(question)
        patience = Retry(self._patience[question.urgent], self._draining)
        met: list[Failure] = []
        begun = time.monotonic()
        while True:
            with self._gate.enter(urgent=question.urgent):
                outcome = self._try(body)
            if isinstance(outcome, Completion):
                self._recovered()
                return outcome
            self._tell(outcome.error)
            met.append(outcome)
            if question.urgent and outcome.lasting and self._answered is None:
                raise outcome.error
            if not patience.pause(outcome.retry_after):
                raise self._verdict(met, begun)

    def drain(self) -> None:
        """Try nothing again from now on: what waits for another try fails with `EngineAway`."""
        self._draining.set()

    def close(self) -> None:
        """End the engine; what waits for another try fails with `EngineAway`."""
        self.drain()
        self._closed.set()
        self._client.close()

    def _encoded(self, question: ModelRequest) -> bytes:
        """Return the request's JSON, the picture put in last: it needs no escaping, only time."""
        question.check(self.profile.factor)
        image = question.pixels
        body = self.manner.body(
            PICTURE,
            plain_words(question.text),
            area=image.width * image.height,
            max_tokens=question.max_new_tokens,
            urgent=question.urgent,
        )
        # The first is ours: the picture stands before whatever words may look like it.
        head, _, tail = json.dumps(body).partition(PICTURE)
        return b"".join((head.encode(), self._uris.of(image), tail.encode()))

    def _try(self, body: bytes) -> Completion | Failure:
        """Ask once; return the reply or what went wrong, or raise what concerns this task alone."""
        if self._closed.is_set():
            return Failure(EngineError("the engine is closed", hint="Ask again"))
        try:
            answer = self._client.post(
                self.manner.path,
                content=body,
                options={"headers": {"Content-Type": "application/json"}},
                cast_to=httpx2.Response,
            )
            return read_reply(answer.content, native=self.manner.native)
        except openai.APIConnectionError as exc:
            return _broken(exc)
        except openai.APIStatusError as exc:
            return of_status(
                exc.status_code,
                exc.body,
                model=self.manner.model,
                secret=self._key,
                retry_after=retry_after(exc.response.headers),
                task_alone=self._answered is not None,
            )
        except EngineError as exc:
            return Failure(exc)

    def _verdict(self, met: Sequence[Failure], begun: float) -> EngineError:
        """Return what it means that a question's patience is over, by what it met.

        It has failed where others are answered: not only at first, since the server may have gone
        down then. It may wait where it met only what all would have met, or nobody is answered;
        a suspect, then, is what the server was well before.
        """
        error, answered = met[-1].error, self._answered or -math.inf
        own = [not trouble.common for trouble in met]
        others = answered > (begun + time.monotonic()) / 2
        if others and any(own) and not self._draining.is_set():
            return error
        downed = any(own) and (answered > begun or not own[-1])
        suspect = (others or downed) and not self._draining.is_set()
        return EngineAway(error.cause, code=error.code, hint=error.hint, suspect=suspect)

    def _recovered(self) -> None:
        self._answered = time.monotonic()
        if self._troubled:
            self._troubled = False
            self._on_trouble("")

    def _tell(self, error: EngineError) -> None:
        now = time.monotonic()
        if now - self._said >= SAY_SECONDS:
            self._said, self._troubled = now, True
            log.warning("%s", error)
            self._on_trouble(str(error))


def plain_words(text: str) -> str:
    """Return `text` without control tokens: no text can end its own turn or start another."""
    while (less := CONTROL.sub("", text)) != text:
        text = less
    return text


def _broken(exc: openai.APIConnectionError) -> Failure:
    """Return what a connection that failed means: a question that was sent may be to blame."""
    cause = exc.__cause__ or exc
    what = f"{type(cause).__name__}: {cause}"[:120]
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout):
        away = f"the server is not to be reached ({what})"
        return Failure(EngineError(away, code=EngineAway.code, hint=EngineAway.hint), common=True)
    if isinstance(exc, openai.APITimeoutError):
        return Failure(
            EngineError("the server took too long", hint="Raise GROUNDING_SERVER_TIMEOUT")
        )
    return Failure(EngineError(f"the server gave no answer ({what})", hint=SEE_LOG))
