"""What a project has told us beside its requests: extra parameters, and the last typed prompt.

Label Studio sends `extra_params` when it connects and not with each request, and an annotator's
prompt is to serve the next task too; both are therefore kept in Redis, for every process.
"""

from __future__ import annotations

from redis import Redis

from grounding.jobs.store import PREFIX

KEPT_SECONDS = 90 * 86_400
"""How long a project that nobody opens is remembered."""

PARAMS, PROMPT = "params", "prompt"


class Projects:
    """The memory of all projects, by the full project string that Label Studio sends."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def params(self, project: str) -> str:
        """Return the extra parameters as they were kept; empty where there are none."""
        return self._get(project, PARAMS)

    def keep_params(self, project: str, params: str) -> None:
        """Keep a project's extra parameters; empty ones are forgotten."""
        self._keep(project, PARAMS, params)

    def prompt(self, project: str) -> str:
        """Return the prompt that was typed last; empty where none was."""
        return self._get(project, PROMPT)

    def keep_prompt(self, project: str, prompt: str) -> None:
        """Keep the prompt that was typed last; an empty one is forgotten."""
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
        pipe.expire(_key(project), KEPT_SECONDS)
        pipe.execute()


def _key(project: str) -> str:
    return f"{PREFIX}project:{project}"
