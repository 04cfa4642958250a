"""Why the predictions of a project cannot be delivered now, and when the next attempt is.

Kept in Redis: all processes wait together, and every one can say why.
"""

from __future__ import annotations

import json
from typing import Any

from redis import Redis

from grounding.errors import LabelStudioError
from grounding.jobs.connection import shorten
from grounding.jobs.keys import PREFIX
from grounding.retry import Backoff

BACKOFF = PREFIX + "backoff:"
"""Before a project: why its delivery failed, and how often in a row."""
PAUSE = PREFIX + "pause:"
"""Before a project: exists until its next attempt. Redis counts the time, so no clocks differ."""
KEPT_SECONDS = 86_400
"""How long the reason of a project without further attempts is kept."""
DELIVERER = PREFIX + "deliverer"
DELIVERER_SECONDS = 120
"""How long a process that can deliver counts as running: longer than a push takes."""
LONGEST_SECONDS = 15.0
DELAYS = Backoff(first=1.0, longest=LONGEST_SECONDS)
NOBODY = (
    "nobody delivers. Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, or retrieve predictions again"
)


class DeliveryBackoff:
    """The waits of all projects; safe to share between threads."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def announce(self) -> None:
        """Note that a process runs that can deliver."""
        self._redis.set(DELIVERER, "1", ex=DELIVERER_SECONDS)

    def record_failure(self, project: str, error: LabelStudioError) -> None:
        """Keep why a project's delivery failed; each failure in a row doubles the wait."""
        failures = int(self._read(project).get("failures", 0)) + 1
        facts = {"reason": str(error), "failures": failures}
        pipe = self._redis.pipeline()
        pipe.set(BACKOFF + project, json.dumps(facts), ex=KEPT_SECONDS)
        pipe.set(PAUSE + project, 1, px=int(DELAYS.delay(failures - 1) * 1000))
        pipe.execute()

    def clear(self, project: str) -> None:
        """Forget a project's failures, since delivery has worked."""
        self._redis.delete(BACKOFF + project, PAUSE + project)

    def is_waiting(self, project: str) -> bool:
        """Say whether the next attempt is not due yet."""
        shorten(self._redis, PAUSE + project, int(LONGEST_SECONDS * 1000))
        return bool(self._redis.exists(PAUSE + project))

    def reason(self, project: str) -> str:
        """Return why the predictions of a project cannot be delivered now; empty if they can."""
        if not self._redis.exists(DELIVERER):
            return NOBODY
        return str(self._read(project).get("reason", ""))

    def _read(self, project: str) -> dict[str, Any]:
        text = self._redis.get(BACKOFF + project)
        return dict(json.loads(text)) if isinstance(text, bytes) else {}
