"""Keeps, in the worker, small pictures of what was answered, for the operator's page."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from grounding.jobs.operating.answers import LastAnswers
from grounding.media.views import View, thumbnail
from grounding.pipeline import TaskResult

log = logging.getLogger(__name__)

PERIOD_SECONDS = 1.0
"""At most one answer in so long is kept: people look at a few, and each takes milliseconds."""


class AnswerRecorder:
    """Keeps now and then an answer of this worker; never raises, safe to share between threads."""

    def __init__(self, redis: Redis, most: int) -> None:
        self._answers = LastAnswers(redis, most)
        self._is_on = most > 0
        self._due = threading.Lock()
        self._next = 0.0

    def note(self, payload: Mapping[str, Any], result: TaskResult) -> None:
        """Keep the answer to a task, unless one was kept a moment ago or it shows no whole view."""
        if not self._is_on or result.view is None or not self._take_turn():
            return
        try:
            self._keep(payload, result.view, result.prediction["result"])
        except RedisError as exc:  # away, or its memory is full: others say so
            log.debug("an answer is not kept for the operator's page: %s", exc)
        except Exception as exc:  # it is only for looking at
            log.warning(
                "an answer is not kept for the operator's page: %s (%s)", exc, type(exc).__name__
            )

    def _keep(self, payload: Mapping[str, Any], view: View, regions: list[dict[str, Any]]) -> None:
        size = (int(view.image.width), int(view.image.height))
        task = (str(payload.get("project") or ""), payload.get("id"))
        self._answers.keep(task, size, regions, thumbnail(view))

    def _take_turn(self) -> bool:
        with self._due:
            now = time.monotonic()
            if now < self._next:
                return False
            self._next = now + PERIOD_SECONDS
            return True
