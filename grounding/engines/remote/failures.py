"""What a failed try means: is the server busy, does it refuse us, or this request alone?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grounding.errors import EngineAway, EngineError, TaskError

KEY, MODEL, ACCOUNT = (401, 403), (404,), (402,)
AGAIN = (408, 409, 425)
BUSY = (429, 503)
"""What a server answers to all when it has too much to do, or is not up yet."""
ACCOUNT_CODES = ("Arrearage", "insufficient_quota")
"""Unpaid bills, which DashScope reports with status 400 and OpenAI with 429."""

SEE_LOG = "See the server's log"
SHOWN = 200
"""Characters of the server's own words that are shown: it may repeat the whole request."""


class Failure(Exception):
    """A try failed; whether another one is made is the engine's decision.

    `lasting` until a person helps, `common` to every request. `retry_after` is how many seconds
    the server asks to wait.
    """

    def __init__(
        self,
        error: EngineError,
        retry_after: float | None = None,
        *,
        lasting: bool = False,
        common: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after
        self.lasting = lasting
        self.common = common


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response with an error status: its body, and the seconds that it asks to wait."""

    status: int
    body: bytes
    retry_after: float | None = None


def explain(refusal: Refusal, *, model: str, secret: str, task_alone: bool) -> Failure | TaskError:
    """Return what a response with an error status means.

    It is a `TaskError` where the request is refused and others were answered (`task_alone`);
    where none ever was, the fault is likelier in what all requests have in common. Nothing
    shown holds `secret`, which is empty where no key is set.
    """
    status = refusal.status
    code, words = _read_error(refusal.body, secret)
    answer = f"the server answered {status}{': ' if words else ''}{words}"
    if cure := _lasting_cure(status, code, model):
        error = EngineError(answer, code="server_refused", hint=cure)
        return Failure(error, lasting=True, common=True)
    if status in (*AGAIN, *BUSY) or status >= 500:
        hint = "Lower GROUNDING_MAX_IN_FLIGHT if it stays so" if status == 429 else SEE_LOG
        error = EngineError(answer, code="server_busy", hint=hint)
        return Failure(error, refusal.retry_after, common=status in BUSY)
    if task_alone:
        return TaskError(answer, code="prompt_refused", hint=_cure(status))
    hint = f"{_cure(status)}; check GROUNDING_SERVER and its settings"
    return Failure(EngineError(answer, code="server_refused", hint=hint), lasting=True)


@dataclass(frozen=True, slots=True)
class Period:
    """The time from a request's submission to now, and when any request was last answered.

    In seconds of one monotonic clock; `answered` is None before the first answer.
    """

    begun: float
    now: float
    answered: float | None

    @property
    def others_answered(self) -> bool:
        """Whether some request was answered in the second half of the period.

        Not in the first half: the server may have gone down since.
        """
        return self.answered is not None and self.answered > (self.begun + self.now) / 2

    @property
    def was_up(self) -> bool:
        """Whether the server answered some request after this one was submitted."""
        return self.answered is not None and self.answered > self.begun


def judge(failures: Sequence[Failure], period: Period, *, draining: bool) -> EngineError:
    """Return the error of a request whose time is up, by the failures that it met.

    The request has failed where others are answered and some failure was its own. Otherwise the
    error is `EngineAway`, and the request may be submitted again later: it met only what every
    request would have met, or nobody is answered. It is a suspect where the server may have gone
    down over it. While draining no request is blamed.
    """
    error = failures[-1].error
    own = [not failure.common for failure in failures]
    if period.others_answered and any(own) and not draining:
        return error
    brought_down = any(own) and (period.was_up or not own[-1])
    suspect = (period.others_answered or brought_down) and not draining
    return EngineAway(error.cause, code=error.code, hint=error.hint, suspect=suspect)


def _lasting_cure(status: int, code: str, model: str) -> str:
    """Return what a person must do before any request is answered; empty where nothing."""
    if status in ACCOUNT or code in ACCOUNT_CODES:
        return "Settle the account that OPENAI_API_KEY belongs to"
    if status in KEY:
        return "Check OPENAI_API_KEY, and what it may be used for"
    if status in MODEL:
        return f"Check that the server serves MODEL={model}, and that OPENAI_BASE_URL is right"
    return ""


def _cure(status: int) -> str:
    if status == 413:
        return "Lower GROUNDING_MAX_PIXELS, or raise the server's limit of a request's size"
    return SEE_LOG


def _read_error(data: bytes, secret: str) -> tuple[str, str]:
    """Return the code and words of an error in OpenAI's, vLLM's or DashScope's form."""
    body = _parse(data)
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        found = inner if isinstance(inner, Mapping) else {"message": inner}
        code, words = found.get("code") or "", found.get("message") or found.get("detail") or ""
    else:
        code, words = "", body or ""
    # The secret is removed before the words are cut, because half of it might remain.
    open_words = str(words).replace(secret, "…") if secret else str(words)
    printable = "".join(c if c.isprintable() else " " for c in open_words)
    return str(code), " ".join(printable.split())[:SHOWN]


def _parse(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode(errors="replace")
