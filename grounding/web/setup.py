"""Connects a project: checks its config, keeps its extra parameters, returns its version."""

from __future__ import annotations

import logging

from grounding.errors import ConfigError, QueueError
from grounding.jobs.connection import queue_errors
from grounding.labelstudio.config.extra_params import read_params
from grounding.labelstudio.config.interface import LabelConfig
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
