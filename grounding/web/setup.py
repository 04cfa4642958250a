"""Connects a project: checks its config, keeps its extra parameters, returns its version."""

from __future__ import annotations

import logging

from grounding.errors import QueueError
from grounding.jobs.connection import queue_errors
from grounding.labelstudio.config.extra_params import read_params
from grounding.labelstudio.config.parse import parse
from grounding.tasks import model_version
from grounding.web.projects import Projects
from grounding.web.services import Services

log = logging.getLogger(__name__)


def connect_project(
    services: Services, label_config: str, project: str, extra_params: object
) -> str:
    """Return the model version for a project that connects; `ConfigError` for a broken config.

    Without a queue it works too: the parameters come again with each connection.
    """
    params = read_params(extra_params)
    for warning in parse(label_config, params.text).warnings:
        services.warn_once(project, warning)
    try:
        _keep_params(services, project, params.text)
    except QueueError as exc:
        log.warning("the extra_params of project %s are not kept: %s", project, exc)
    return model_version(services.settings, label_config, params.text)


def kept_params(services: Services, project: str) -> str:
    """Return the extra parameters of a project's last connection; `QueueError` without a queue."""
    with queue_errors():
        return Projects(services.queue.redis).params(project) if project else ""


def _keep_params(services: Services, project: str, params: str) -> None:
    if project:  # parameters without a project's name could be anyone's
        with queue_errors():
            Projects(services.queue.redis).keep_params(project, params)
