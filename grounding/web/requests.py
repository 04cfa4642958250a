"""What Label Studio asks at once, and what it gets back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from grounding.jobs.store import QueueName
from grounding.web.entries import Entry


class RequestKind(Enum):
    """The three kinds of request, told apart by their shape."""

    INTERACTIVE = QueueName.INTERACTIVE
    """An annotator asked in the page and waits."""
    PAGE = "page"
    """Label Studio asks while it opens a task, and the page hangs until we answer."""
    BULK = QueueName.BULK
    """Pre-labelling."""

    @property
    def queue(self) -> QueueName:
        """The queue that serves this kind."""
        return QueueName.BULK if self is RequestKind.BULK else QueueName.INTERACTIVE


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """One `/predict` as it came: raw tasks, and the project's own labelling config.

    `extra_params` are the project's, as they are kept; the backend fills them in, since they come
    with `/setup` only. With `stored` Label Studio keeps the answers, as it does with all but an
    annotator's; what it does not get in time is then owed to it. `begun` is when it began
    to come, in seconds of the monotonic clock.
    """

    tasks: Sequence[Any]
    project: str
    label_config: str
    context: Mapping[str, Any] | None = None
    extra_params: str = ""
    stored: bool = True
    begun: float = field(default_factory=time.monotonic, compare=False)

    @property
    def kind(self) -> RequestKind:
        """What kind of request this is."""
        if self.context is not None:
            return RequestKind.INTERACTIVE
        return RequestKind.PAGE if len(self.tasks) == 1 else RequestKind.BULK

    @property
    def undelivered(self) -> bool:
        """Whether the answers are owed to Label Studio until it has them.

        A page's is too: one task selected for Retrieve predictions looks just the same.
        """
        return self.stored and self.kind is not RequestKind.INTERACTIVE


@dataclass(frozen=True, slots=True)
class PredictResponse:
    """One entry per task, and the debts of `project` that they pay once the caller has them."""

    entries: list[Entry]
    project: str = ""
    undelivered: Sequence[str] = ()
