"""A job as it is asked, claimed and answered, and what its record holds across releases.

A record has the task without what is large. A labelling config is stored once for all jobs that
have it, under its digest. Task data that is long, such as pictures as `data:` addresses, lies
beside the record until the job ends, and all of it together is bounded, so that pictures of
megabytes cannot fill the queue's memory for everyone.

A record of another format is left to the processes that read it. Within a format fields may be
added: a reader ignores those that it does not know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, TypeVar

from grounding.errors import DataError, GroundingError
from grounding.jobs.keys import text

FORMAT = 2
"""The format of the records that this release writes. Format 1 had the config in each record."""
OLDEST_FORMAT = 2
"""The oldest format that this release reads."""
INLINE_BYTES = 1024
"""Task data up to this length stays in the record: an ordinary address and a little more."""
ASK_AGAIN = "Ask again, once a worker is running"

T = TypeVar("T")


class QueueName(StrEnum):
    """The two queues: what a person waits for goes before the bulk."""

    INTERACTIVE = "interactive"
    BULK = "bulk"

    @classmethod
    def of(cls, word: str) -> QueueName:
        """Return the queue called `word`; the bulk queue for one that this release lacks."""
        return cls(word) if word in set(cls) else cls.BULK


class State(StrEnum):
    """What `accept` says of a job: its state, what it did with it, or why it refused it."""

    NEW = "new"
    RAISED = "raised"
    PENDING = "pending"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"
    FULL = "full"
    NO_ROOM = "no_room"

    @classmethod
    def of(cls, word: str) -> State:
        """Return the state called `word`; pending for one that this release lacks."""
        return cls(word) if word in set(cls) else cls.PENDING


@dataclass(frozen=True, slots=True)
class Job:
    """What to answer: a `payload` of plain JSON under its `key`.

    `config` and `blob` are the parts that `payloads.split` took out of the payload. After
    `timeout` seconds nobody waits for the answer any more; 0 means that it is always wanted.
    `asker` is a digest of the annotator who asks, empty where none does or their name is unknown.
    """

    key: str
    queue: QueueName
    project: str
    payload: Mapping[str, Any]
    blob: bytes = b""
    timeout: float = 0
    config: str = ""
    asker: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this process holds; with `alone` it runs beside no other, since a worker died.

    `deadline` is until when an annotator waits for the answer, on `time.monotonic`'s clock; None
    where none does. `config` and `blob` are what `payloads.restore` puts back into the payload,
    None where there is none or it has expired.
    """

    key: str
    payload: Mapping[str, Any]
    alone: bool
    queue: QueueName = QueueName.BULK
    deadline: float | None = None
    blob: bytes | None = None
    config: bytes | None = None

    @property
    def task(self) -> object:
        """The id of its task, by which people know it; None where it has none."""
        return self.payload.get("id")

    @property
    def urgent(self) -> bool:
        """Whether it goes before the bulk."""
        return self.queue is QueueName.INTERACTIVE

    @property
    def waited(self) -> bool:
        """Whether an annotator waits for the answer."""
        return self.deadline is not None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an ended job: a prediction, or the code and reason of its failure.

    `left_out` is the stored form of a `LeftOut`: what is not in the prediction, and why.
    """

    prediction: Mapping[str, Any] | None = None
    code: str = ""
    reason: str = ""
    left_out: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, text: bytes) -> Outcome:
        """Return the outcome that a record has; an unreadable one is a failure that says so."""
        try:
            found = build(cls, json.loads(text))
            if not (found._has_prediction() or (found.prediction is None and found.code)):
                raise unreadable()
        except (ValueError, AttributeError, RecursionError, GroundingError):
            return cls(code=unreadable().code, reason=str(unreadable()))
        return found

    def _has_prediction(self) -> bool:
        prediction = self.prediction
        return isinstance(prediction, dict) and isinstance(prediction.get("result"), list)


@dataclass(frozen=True, slots=True)
class Parts:
    """A payload apart: the `record`, the text of its labelling `config`, and the long task `data`.

    Either text is empty where the record has it itself.
    """

    record: Mapping[str, Any]
    config: str = ""
    data: bytes = b""


def split(payload: Mapping[str, Any], written: bytes = b"") -> Parts:
    """Return `payload` apart; `restore` is the reverse.

    The data may be `written` as JSON already, and is then taken from that alone.
    """
    text = written or json.dumps(payload["data"], ensure_ascii=False).encode()
    config = payload["label_config"]
    record = {**payload, "label_config": None if config else ""}
    if len(text) > INLINE_BYTES:
        return Parts({**record, "data": None}, config, text)
    return Parts({**record, "data": json.loads(text)} if written else record, config)


def restore(claim: Claim) -> Mapping[str, Any]:
    """Return the payload that `split` took apart; `DataError` where a part has expired."""
    payload = dict(claim.payload)
    if payload.get("data") is None:
        if claim.blob is None:
            cause = "the task waited so long that its picture is no longer kept"
            raise DataError(cause, code="data_expired", hint=ASK_AGAIN)
        payload["data"] = json.loads(claim.blob)
    if payload.get("label_config") is None:
        if claim.config is None:
            cause = "the task waited so long that its labelling config is no longer kept"
            raise DataError(cause, code="config_expired", hint=ASK_AGAIN)
        payload["label_config"] = text(claim.config)
    return payload


def digest(config: str) -> str:
    """Return what a labelling config is stored under."""
    return hashlib.sha256(config.encode()).hexdigest()[:40]


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """Return the dataclass `cls` from those `values` that it has fields for.

    Raises `DataError` where a field without a default is missing.
    """
    known = {one.name for one in fields(cls)}  # type: ignore[arg-type]
    try:
        return cls(**{name: value for name, value in values.items() if name in known})
    except TypeError as exc:
        raise unreadable() from exc


def unreadable() -> DataError:
    """Return the error of a record that is not JSON or not of this program."""
    return DataError(
        "the job's record cannot be read",
        code="record_unreadable",
        hint="See that nothing else writes to the queue's Redis, and ask again",
    )
