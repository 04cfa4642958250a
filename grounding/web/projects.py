"""What Redis remembers between requests: settings of projects, and the latest request of a user.

Label Studio sends `extra_params` when it connects, not with each request, and pre-labelling may
look for an annotator's last prompt: both are kept for every web process. Label Studio's page uses
the answer to the latest request only, and does not tell us that it stopped waiting for an older
one: so a newer request of the same user on the same task cancels the older.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from redis import Redis

from grounding.jobs.store import PREFIX, JobStore

PROJECT_SECONDS = 90 * 86_400
"""How long an unused project is remembered."""
LATEST_SECONDS = 120
"""How long a latest request is remembered; no request may wait longer than 95 s."""

PARAMS, PROMPT = "params", "prompt"


class Projects:
    """The stored parameters and prompts, by the full project string that Label Studio sends."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def params(self, project: str) -> str:
        """Return the project's extra parameters as they were kept; empty if there are none."""
        return self._get(project, PARAMS)

    def keep_params(self, project: str, params: str) -> None:
        """Keep the project's extra parameters; an empty string deletes them."""
        self._keep(project, PARAMS, params)

    def prompt(self, project: str) -> str:
        """Return the prompt that was typed last; empty if there is none."""
        return self._get(project, PROMPT)

    def keep_prompt(self, project: str, prompt: str) -> None:
        """Keep the prompt that was typed last; an empty string deletes it."""
        self._keep(project, PROMPT, prompt)

    def _get(self, project: str, field: str) -> str:
        value = self._redis.hget(_key(project), field)
        return value.decode() if isinstance(value, bytes) else ""

    def _keep(self, project: str, field: str, value: str) -> None:
        pipe = self._redis.pipeline()
        if value:
            pipe.hset(_key(project), field, value)
        else:
            pipe.hdel(_key(project), field)
        pipe.expire(_key(project), PROJECT_SECONDS)
        pipe.execute()


@dataclass(frozen=True, slots=True)
class Requester:
    """Who requests what: a user, by the name that Label Studio uses, and a task of a project."""

    project: str
    task: int | None
    user: str

    @property
    def key(self) -> str:
        """The Redis key, a digest: it reveals no user's address."""
        who = f"{self.project} {self.task} {self.user}".encode(errors="surrogatepass")
        return f"{PREFIX}latest:{hashlib.sha256(who).hexdigest()[:40]}"


class LatestRequests:
    """The job of each requester's latest request; nothing is kept for an unknown user."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def enter(self, requester: Requester, key: str) -> None:
        """Make job `key` the latest request, and cancel the one before unless it has started."""
        if not requester.user:
            return
        before = self._store.redis.set(requester.key, key, ex=LATEST_SECONDS, get=True)
        if isinstance(before, bytes) and before.decode() != key:
            self._store.cancel([before.decode()])

    def is_replaced(self, requester: Requester, key: str) -> bool:
        """Return whether a job other than `key` is the latest request."""
        latest = self._store.redis.get(requester.key) if requester.user else None
        return latest is not None and latest != key.encode()


def _key(project: str) -> str:
    return f"{PREFIX}project:{project}"
