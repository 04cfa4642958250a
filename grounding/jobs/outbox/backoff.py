"""Why a project's debts cannot be delivered at present, and when the next attempt is.

Kept in Redis: all processes wait together, and every one can tell.
"""

from __future__ import annotations

import json
import time
from typing import Any

from redis import Redis

from grounding.errors import LabelStudioError
from grounding.jobs.store import PREFIX

TROUBLES = PREFIX + "troubles"
DELIVERER = PREFIX + "deliverer"
DELIVERER_SECONDS = 120
"""How long a process that can deliver is believed to be there: longer than a push."""
FIRST_SECONDS = 1.0
LONGEST_SECONDS = 15.0
NOBODY = (
    "nobody delivers. Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, or retrieve predictions again"
)


class DeliveryBackoff:
    """The troubles of all projects; safe to share between threads."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def attend(self) -> None:
        """Tell that there is a process that can deliver."""
        self._redis.set(DELIVERER, "1", ex=DELIVERER_SECONDS)

    def note(self, project: str, error: LabelStudioError) -> None:
        """Keep why a project's delivery failed; each failure in a row doubles the wait."""
        failures = int(self._get(project).get("failures", 0)) + 1
        seconds = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(failures - 1, 10))
        told = {"reason": str(error), "failures": failures, "until": time.time() + seconds}
        self._redis.hset(TROUBLES, project, json.dumps(told))

    def clear(self, project: str) -> None:
        """Forget a project's trouble, since delivery has worked."""
        self._redis.hdel(TROUBLES, project)

    def waits(self, project: str) -> bool:
        """Say whether the next attempt is not due yet."""
        left = float(self._get(project).get("until", 0)) - time.time()
        return 0 < left <= LONGEST_SECONDS  # more: a clock was put back

    def reason(self, project: str) -> str:
        """Return why the debts of a project cannot be delivered at present; empty if they can."""
        if not self._redis.exists(DELIVERER):
            return NOBODY
        return str(self._get(project).get("reason", ""))

    def _get(self, project: str) -> dict[str, Any]:
        text = self._redis.hget(TROUBLES, project)
        return dict(json.loads(text)) if isinstance(text, bytes) else {}
