"""Connecting, and what Redis remembers of projects and of the latest request of a user.

Label Studio sends `extra_params` when it connects, not with each request, and pre-labelling may
look for an annotator's last prompt. Both are kept for every web process, and so is the reason why a
project's config is refused.

Label Studio's page uses the answer to the latest request only, and does not tell us that it has
stopped waiting for an older one. So a newer request of the same user on the same task cancels it.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from redis import Redis

from grounding.errors import ConfigError, QueueError
from grounding.jobs.connection import queue_errors
from grounding.jobs.keys import PREFIX, PROJECT_SECONDS, redis_key, text
from grounding.jobs.store import PROJECTS, JobStore, milliseconds
from grounding.labelstudio.config.attributes import read_params
from grounding.labelstudio.config.interface import LabelConfig
from grounding.labelstudio.config.parse import parse
from grounding.tasks import model_version
from grounding.web.services import Services

CONFIG_ERROR_SECONDS = 86_400
"""How long it is shown why a config is refused, unless it is mended before."""
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

    def keep_config_error(self, project: str, reason: str) -> None:
        """Keep why the project's labelling config is refused, for a day; empty if it is not."""
        key = redis_key("config_error", project=project)
        if not reason:
            self._redis.delete(key)
            return
        pipe = self._redis.pipeline()
        pipe.set(key, reason, ex=CONFIG_ERROR_SECONDS)
        pipe.zadd(PROJECTS, {project: milliseconds(self._redis)})  # `/jobs` lists these
        pipe.execute()

    def _get(self, project: str, field: str) -> str:
        pipe = self._redis.pipeline(transaction=False)
        pipe.hget(_key(project), field)
        pipe.expire(_key(project), PROJECT_SECONDS)  # a project that is used is not forgotten
        value, _ = pipe.execute()
        return text(value) if isinstance(value, bytes) else ""

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
    def digest(self) -> str:
        """A digest, which reveals no user's address; empty for an unknown user."""
        if not self.user:
            return ""
        who = f"{self.project} {self.task} {self.user}".encode(errors="surrogatepass")
        return hashlib.sha256(who).hexdigest()[:40]

    @property
    def key(self) -> str:
        """The Redis key of the latest request."""
        return f"{PREFIX}latest:{self.digest}"


class LatestRequests:
    """The job of each requester's latest request; nothing is kept for an unknown user."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def enter(self, requester: Requester, key: str) -> None:
        """Make job `key` the latest request, and cancel the one before."""
        if not requester.user:
            return
        before = self._store.redis.set(requester.key, key, ex=LATEST_SECONDS, get=True)
        if isinstance(before, bytes) and text(before) != key:
            self._store.cancel([text(before)], requester.digest)

    def is_replaced(self, requester: Requester, key: str) -> bool:
        """Return whether a job other than `key` is the latest request."""
        latest = self._store.redis.get(requester.key) if requester.user else None
        return latest is not None and latest != key.encode()


def _key(project: str) -> str:
    return redis_key("project", project=project)


log = logging.getLogger(__name__)


def connect_project(
    services: Services, label_config: str, project: str, extra_params: object
) -> str:
    """Return the model version for a project that connects; `ConfigError` for a broken config.

    Without a queue it works too: the parameters come again with each connection.
    """
    params = read_params(extra_params)
    for warning in _parse_noting(services, project, label_config, params.text).warnings:
        services.warn_once(project, warning)
    try:
        _keep_params(services, project, params.text)
    except QueueError as exc:
        log.warning("the extra_params of project %s are not kept: %s", project, exc)
    return model_version(services.settings, label_config, params.text)


def read_config(
    services: Services, project: str, label_config: str, extra_params: str
) -> LabelConfig:
    """Return what a config asks; `ConfigError` for a broken one, with its reason kept for `/jobs`.

    Label Studio shows only some of our errors, and a config may be broken long after connecting.
    """
    config = _parse_noting(services, project, label_config, extra_params)
    _note_config(services, project, "")
    return config


def _parse_noting(
    services: Services, project: str, label_config: str, extra_params: str
) -> LabelConfig:
    try:
        return parse(label_config, extra_params)
    except ConfigError as exc:
        _note_config(services, project, str(exc))
        raise


def _note_config(services: Services, project: str, reason: str) -> None:
    try:
        if project:
            with queue_errors():
                Projects(services.queue.redis).keep_config_error(project, reason)
    except QueueError as exc:
        log.debug("the state of the config of project %s is not kept: %s", project, exc)


def kept_params(services: Services, project: str) -> str:
    """Return the extra parameters of a project's last connection; `QueueError` without a queue."""
    with queue_errors():
        return Projects(services.queue.redis).params(project) if project else ""


def _keep_params(services: Services, project: str, params: str) -> None:
    if project:  # parameters without a project's name could be anyone's
        with queue_errors():
            projects = Projects(services.queue.redis)
            projects.keep_params(project, params)
            projects.keep_config_error(project, "")
