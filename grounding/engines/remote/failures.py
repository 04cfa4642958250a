"""What a server's 4xx and 5xx mean: is it busy, does it refuse us, or this question alone?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grounding.errors import EngineError, TaskError

KEY, MODEL, ACCOUNT = (401, 403), (404,), (402,)
AGAIN = (408, 409, 425)
BUSY = (429, 503)
"""What a server says to all when it has too much to do, or is not up yet."""
ACCOUNT_CODES = ("Arrearage", "insufficient_quota")
"""Unpaid bills, which DashScope reports with status 400 and OpenAI with 429."""

SEE_LOG = "See the server's log"
SHOWN = 200
"""Characters of the server's own words that are shown: it may repeat the whole question."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a try failed; `lasting` until a person helps, `common` to whatever is asked.

    `retry_after` is how many seconds the server asks to wait.
    """

    error: EngineError
    retry_after: float | None = None
    lasting: bool = False
    common: bool = False


def of_status(
    status: int,
    body: object,
    *,
    model: str,
    secret: str,
    retry_after: float | None,
    task_alone: bool,
) -> Failure:
    """Return what a response of this status and parsed body means.

    Raises `TaskError` where the question is refused and others were answered (`task_alone`);
    where none ever was, the fault is likelier in what all questions have in common. Nothing
    shown holds `secret`, which is empty where no key is set.
    """
    code, words = _said(body, secret)
    said = f"the server answered {status}{': ' if words else ''}{words}"
    if cure := _lasting_cure(status, code, model):
        refused = EngineError(said, code="server_refused", hint=cure)
        return Failure(refused, lasting=True, common=True)
    if status in (*AGAIN, *BUSY) or status >= 500:
        hint = "Lower GROUNDING_MAX_IN_FLIGHT if it stays so" if status == 429 else SEE_LOG
        busy = EngineError(said, code="server_busy", hint=hint)
        return Failure(busy, retry_after, common=status in BUSY)
    if task_alone:
        raise TaskError(said, code="question_refused", hint=_cure(status))
    hint = f"{_cure(status)}; check GROUNDING_SERVER and its settings"
    return Failure(EngineError(said, code="server_refused", hint=hint), lasting=True)


def _lasting_cure(status: int, code: str, model: str) -> str:
    """Return what a person must do before anyone is answered; empty where nobody need."""
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


def _said(body: object, secret: str) -> tuple[str, str]:
    """Return the code and words of an error in OpenAI's, vLLM's or DashScope's form."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        found = inner if isinstance(inner, Mapping) else {"message": inner}
        code, words = found.get("code") or "", found.get("message") or found.get("detail") or ""
    else:
        code, words = "", body or ""
    # The secret goes before the words are cut, lest a half of it stay.
    open_words = str(words).replace(secret, "…") if secret else str(words)
    seen = "".join(c if c.isprintable() else " " for c in open_words)
    return str(code), " ".join(seen.split())[:SHOWN]
