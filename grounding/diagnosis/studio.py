"""Looks at Label Studio: its address, the token, a project, its connection and its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from time import time
from typing import Any
from urllib.parse import urlsplit

import httpx

from grounding.diagnosis.checks import CheckResult, Deployment, fault, of_error, warning, well
from grounding.diagnosis.machine import SKEW_SECONDS
from grounding.errors import GroundingError, ImageError, LabelStudioError
from grounding.factory import fetcher
from grounding.labelstudio.client.api import (
    BOTH_NEEDED,
    KEY_NEEDED,
    Api,
    check_status,
    read_json,
)
from grounding.labelstudio.client.projects import Project, Projects, configured_api
from grounding.labelstudio.config.interface import LabelConfig
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.data import find_image_address
from grounding.settings import Settings

SUBNETS = (
    "Start Label Studio with USE_DEFAULT_BANNED_SUBNETS=false and "
    "USER_ADDITIONAL_BANNED_SUBNETS=169.254.0.0/16"
)
SAMPLED = 20
"""Tasks whose pictures' hosts are tried."""


def check_studio(deployment: Deployment) -> Iterator[CheckResult]:
    """Look at Label Studio's address, its release, its clock and the token."""
    settings = deployment.settings
    if not settings.label_studio_url:
        yield warning("Label Studio", BOTH_NEEDED, "Set both")
        return
    api = Api(settings.label_studio_url, settings.label_studio_token)
    answer = api.call("GET", "/api/version")
    release = _release(answer)
    if release is None:
        yield fault(
            "Label Studio",
            f"{settings.label_studio_url} answers {answer.status_code}, not as Label Studio does",
            "Set LABEL_STUDIO_URL to its address, with its sub-path",
        )
        return
    yield well("Label Studio", f"{release} at {settings.label_studio_url}")
    yield from _clock(answer)
    yield from _token(api, settings)


def _release(answer: httpx.Response) -> str | None:
    try:
        found = answer.json()
    except ValueError:
        return None
    if answer.status_code in (401, 403):
        return "a release that tells only users its number"
    return str(found["release"]) if isinstance(found, dict) and "release" in found else None


def _clock(answer: httpx.Response) -> Iterator[CheckResult]:
    try:
        theirs = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return
    skew = theirs - time()
    if abs(skew) > SKEW_SECONDS:
        yield warning("its clock", f"{skew:+.0f} s from ours", "Synchronize the clocks (NTP)")


def _token(api: Api, settings: Settings) -> Iterator[CheckResult]:
    if not settings.label_studio_token:
        yield fault("token", f"{KEY_NEEDED}, which is not set", "Set it to a personal access token")
        return
    answer = api.call("GET", "/api/current-user/whoami")
    if answer.is_success:
        yield well("token", "accepted")
    else:
        seen = f"refused ({answer.status_code})"
        yield fault("token", seen, "Set LABEL_STUDIO_API_KEY to a personal access token")


def check_project(deployment: Deployment) -> Iterator[CheckResult]:
    """Look at a project's labelling config, its connection to us, and its pictures."""
    if deployment.project is None:
        return
    projects = Projects.of(deployment.settings)
    project = projects.find(deployment.project)
    yield well("project", f"{project.id}, {project.title}: {project.tasks:,} tasks")
    try:
        config = parse(project.label_config, projects.extra_params(project.id))
    except GroundingError as error:
        yield of_error("labelling config", error)
        config = None
    if config is not None:
        yield from _config(config)
    yield from _connection(deployment.settings, project)
    if config is not None:
        yield from _pictures(deployment.settings, projects, project, config)


def _config(config: LabelConfig) -> Iterator[CheckResult]:
    if not config.controls:
        yield fault("labelling config", "no control is served", "See docs/prompts.md for the tags")
    for said in config.warnings:
        yield warning("labelling config", said, "See python -m grounding config check")
    if config.controls and not config.warnings:
        yield well("labelling config", f"{len(config.controls)} controls served")


def _connection(settings: Settings, project: Project) -> Iterator[CheckResult]:
    answer = configured_api(settings).call("GET", "/api/ml/", params={"project": project.id})
    check_status(answer)
    found = read_json(answer)
    if not isinstance(found, list):
        raise LabelStudioError("Label Studio lists no models of the project")
    backends = [one for one in found if isinstance(one, Mapping)]
    if not backends:
        yield fault(
            "connection",
            "no model is connected to the project",
            f"Add http://{settings.address} in Settings → Model. If it is refused: {SUBNETS}",
        )
    for backend in backends:
        yield _backend(backend)


def _backend(backend: Mapping[str, Any]) -> CheckResult:
    url, state = str(backend.get("url")), str(backend.get("readable_state") or "")
    said = str(backend.get("error_message") or "")
    if "reserved network" in said or "URL resolves" in said:
        return fault("connection", f"Label Studio may not call {url}: {said[:120]}", SUBNETS)
    if state in ("Error", "Disconnected"):
        cure = "Start the web server, and see that Label Studio reaches its address"
        private = f". If the address is private: {SUBNETS}" if _is_private(url) else ""
        return fault("connection", f"{url}: {state} {said[:120]}".strip(), cure + private)
    return well("connection", f"{url}: {state}")


def _is_private(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host


def _pictures(
    settings: Settings, projects: Projects, project: Project, config: LabelConfig
) -> Iterator[CheckResult]:
    """Try one picture of each host that the first tasks name."""
    page = next(projects.pages(project.id, size=SAMPLED), None)
    get, tried = fetcher(settings), set[str]()
    for task in page.tasks if page else ():
        for key in config.data_keys:
            address = _address(task, key)
            host = _host(address)
            if address and host not in tried:
                tried.add(host)
                yield _picture(get.fetch, address, host, task.get("id"))


def _address(task: Mapping[str, Any], key: str) -> str:
    data = task.get("data")
    try:
        return find_image_address(data if isinstance(data, Mapping) else {}, key)
    except GroundingError:
        return ""


def _host(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else "Label Studio"


def _picture(fetch: Any, address: str, host: str, task: Any) -> CheckResult:
    what = f"pictures of {host}"
    try:
        size = len(fetch(address, task if isinstance(task, int) else None))
    except ImageError as error:
        return fault(what, f"task {task}: {error.cause}", error.hint)
    except GroundingError as error:
        return of_error(what, error)
    return well(what, f"task {task}: {size:,} bytes")
