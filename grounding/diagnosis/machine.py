"""Looks at this machine: Python, the queue, the workers, the web server and the model."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx

from grounding.diagnosis.checks import CheckResult, Deployment, fault, of_error, warning, well
from grounding.errors import GroundingError
from grounding.jobs.connection import (
    OLDEST_REDIS,
    connect,
    eviction_policy,
    forgets,
    is_too_old,
    queue_errors,
    queue_url,
)
from grounding.jobs.heartbeat import readiness, worker_statuses
from grounding.qwen.profiles import MODEL_TYPES, profile_for
from grounding.settings import Settings

ANSWER_SECONDS = 5.0
RESUMES = "Mend that; the worker then goes on by itself"
SKEW_SECONDS = 5.0
"""Differences of clocks from which logs and token lifetimes mislead."""
PYTHONS = ((3, 11), (3, 13))
NEEDED = {"flask": "web server", "rq": "queue", "redis": "queue", "httpx": "fetching"}
OF_WORKER = {"torch": "the model", "transformers": "the model", "numpy": "pictures"}
OF_ADAPTER = {"peft": "GROUNDING_ADAPTER"}


def check_python(deployment: Deployment) -> Iterator[CheckResult]:
    """Look at Python, and whether what is needed is installed."""
    mine = ".".join(map(str, sys.version_info[:3]))
    first, last = PYTHONS
    if first <= sys.version_info[:2] <= last:
        yield well("Python", mine)
    else:
        wanted = f"{first[0]}.{first[1]} to {last[0]}.{last[1]}"
        yield fault("Python", mine, f"Use Python {wanted}")
    local = deployment.settings.engine == "local"
    lora = OF_ADAPTER if deployment.settings.adapter else {}
    for package, purpose in (NEEDED | (OF_WORKER if local else {}) | lora).items():
        yield _package(package, purpose)


def _package(name: str, purpose: str) -> CheckResult:
    try:
        return well(name, version(name))
    except PackageNotFoundError:
        seen = f"not installed; it is needed for {purpose}"
        if name in OF_ADAPTER:
            return fault(name, seen, "pip install 'qwen-grounding[adapter]'")
        extra = "[worker]" if name in OF_WORKER else ""
        cure = f"pip install 'qwen-grounding{extra}', or set GROUNDING_ENGINE=openai"
        return fault(name, seen, cure)


def check_exposure(deployment: Deployment) -> Iterator[CheckResult]:
    """Look at who can reach the web server."""
    settings = deployment.settings
    try:
        settings.check_exposure()
    except GroundingError as error:
        yield of_error("password", error)
        return
    if settings.basic_auth_pass is None and settings.allow_anonymous:
        yield warning(
            "password",
            f"anyone who reaches {settings.address} may use it",
            "Set BASIC_AUTH_USER and BASIC_AUTH_PASS",
        )
    else:
        yield well("password", "set" if settings.basic_auth_pass else "none needed on loopback")


def check_queue(deployment: Deployment) -> Iterator[CheckResult]:
    """Look at Redis: whether it answers, keeps what it is given, and shares our clock."""
    with connect(queue_url(deployment.settings)) as redis, queue_errors():
        before = time.time()
        seconds, micros = redis.time()
        info: dict[str, Any] = redis.info()
        release = str(info.get("valkey_version") or info.get("redis_version"))
        if is_too_old(info):
            yield fault(
                "queue", f"version {release}", f"Use Redis or Valkey {OLDEST_REDIS} or newer"
            )
        else:
            yield well("queue", f"version {release}")
        yield _eviction(eviction_policy(info), deployment.settings)
        if forgets(info):
            yield warning(
                "queue's file", "appendonly is off: a restart loses tasks", "Set appendonly yes"
            )
        yield _skew("queue's clock", seconds + float(f"0.{micros:06}") - before)
        yield from _workers(redis, deployment.settings)


def _eviction(policy: str, settings: Settings) -> CheckResult:
    if not policy:
        return well("queue's memory", "a full one refuses new tasks, and keeps what it has")
    found = warning if settings.allow_eviction else fault
    return found(
        "queue's memory",
        f"maxmemory-policy is {policy}: a full Redis would drop tasks",
        "Set maxmemory-policy noeviction",
    )


def _skew(what: str, seconds: float) -> CheckResult:
    if abs(seconds) < SKEW_SECONDS:
        return well(what, f"{abs(seconds):.1f} s from ours")
    return warning(what, f"{seconds:+.0f} s from ours", "Synchronize the clocks (NTP)")


def _workers(redis: Any, settings: Settings) -> Iterator[CheckResult]:
    workers = worker_statuses(redis)
    ready = [worker for worker in workers if worker.is_ready]
    for worker in workers:
        if worker.phase == "failed":
            yield fault("worker", f"{worker.host}: {worker.line}", "See the worker's log")
        elif worker.obstacle:
            yield fault("worker", f"{worker.host}: {worker.obstacle}", RESUMES)
        elif worker.model and worker.model != settings.model_name:
            yield fault(
                "worker",
                f"{worker.host} serves {worker.model}, and MODEL here is {settings.model_name}",
                "Start the web server and all workers with the same MODEL",
            )
    if ready:
        yield well("workers", f"{len(ready)} of {len(workers)} ready")
    elif not any(worker.obstacle for worker in workers):
        yield fault("workers", readiness(workers), "Start one: python -m grounding worker")


def check_server(deployment: Deployment) -> Iterator[CheckResult]:
    """Look at whether the web server answers on this machine."""
    url = f"{deployment.settings.own_url}/health"
    try:
        found = httpx.get(url, timeout=ANSWER_SECONDS, trust_env=False)
        if found.is_success and "UP" in found.text:
            yield _admission(deployment.settings)
            return
    except httpx.HTTPError as exc:
        cause = f"nothing answers at {url} ({type(exc).__name__})"
        yield fault("web server", cause, "Start it: python -m grounding up")
        return
    seen = f"{url} answers {found.status_code}, and is not ours"
    yield fault("web server", seen, "Choose another PORT, or end what listens there")


def _admission(settings: Settings) -> CheckResult:
    """Say whether the web server takes the user and password of these settings."""
    auth = settings.basic_auth
    url = f"{settings.own_url}/ready"
    answer = httpx.get(url, auth=auth, timeout=ANSWER_SECONDS, trust_env=False)
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        sent = "refuses BASIC_AUTH_USER and BASIC_AUTH_PASS" if auth else "wants a password"
        cure = "Set BASIC_AUTH_USER and BASIC_AUTH_PASS to what it was started with"
        return fault("web server", f"it {sent}", cure)
    return well("web server", f"answers at {settings.address}")


def check_model(deployment: Deployment) -> Iterator[CheckResult]:
    """Look at the model: its files or its server, its family, and the device."""
    settings = deployment.settings
    if settings.engine == "openai":
        yield from _served_model(settings)
        return
    yield _stored_model(settings)
    if settings.adapter:
        yield _adapter(settings.adapter)
    yield from _device(settings)


def _stored_model(settings: Settings) -> CheckResult:
    folder = Path(settings.model_path)
    if settings.is_demo:
        return warning(
            "model",
            "the demo's model, which knows only coloured shapes",
            "Set MODEL, such as Qwen/Qwen2.5-VL-7B-Instruct",
        )
    if not folder.is_dir():
        if settings.model.count("/") == 1 and not settings.model.startswith((".", "/")):
            profile_for(settings.model, name=settings.profile or None)
            return well("model", f"{settings.model} of the hub; loading it tells more")
        return fault("model", f"there is no folder {folder}", "Set MODEL to a folder or a hub id")
    return _checkpoint(folder, settings)


def _checkpoint(folder: Path, settings: Settings) -> CheckResult:
    try:
        facts = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return fault(
            "model", f"{folder} has no config.json that can be read", "Copy the whole checkpoint"
        )
    if not any(folder.glob("*.safetensors")):
        return fault("model", f"{folder} has no *.safetensors", "Copy the whole checkpoint")
    kind = facts.get("model_type") if isinstance(facts, dict) else None
    if kind not in MODEL_TYPES and not settings.profile:
        known = ", ".join(MODEL_TYPES)
        return fault("model", f"{folder} is of the family {kind!r}", f"Use a checkpoint of {known}")
    return well("model", f"{folder}, {kind}")


def _adapter(name: str) -> CheckResult:
    folder = Path(name)
    if not folder.is_dir():
        if name.count("/") == 1 and not name.startswith((".", "/")):
            return well("adapter", f"{name} of the hub; loading it tells more")
        return fault("adapter", f"there is no folder {folder}", "Correct GROUNDING_ADAPTER")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / file).is_file():
            cure = "Set GROUNDING_ADAPTER to what PEFT's save_pretrained wrote"
            return fault("adapter", f"{folder} has no {file}", cure)
    return well("adapter", str(folder))


def _served_model(settings: Settings) -> Iterator[CheckResult]:
    key = settings.openai_token
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"{settings.openai_base_url}/models"
    try:
        answer = httpx.get(url, headers=headers, timeout=ANSWER_SECONDS, trust_env=False)
    except httpx.HTTPError as exc:
        cause = f"{url} does not answer ({type(exc).__name__})"
        yield fault("model server", cause, "Check OPENAI_BASE_URL, and that the server is up")
        return
    if answer.status_code in (401, 403):
        yield fault("model server", f"it answers {answer.status_code}", "Set OPENAI_API_KEY")
        return
    if answer.is_server_error:
        yield fault("model server", f"{url} answers {answer.status_code}", "See the server's log")
        return
    names = _model_names(answer)
    if names and settings.model not in names:
        seen = f"it serves {', '.join(names)}, and not {settings.model}"
        yield fault("model server", seen, "Set MODEL to the name that it serves")
    else:
        yield well("model server", f"{settings.openai_base_url} answers")


def _model_names(answer: httpx.Response) -> list[str]:
    try:
        return [str(one["id"]) for one in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return []  # some servers list none


def _device(settings: Settings) -> Iterator[CheckResult]:
    try:
        import torch
    except ImportError:
        return  # `check_python` tells that
    wanted = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        yield fault(
            "device",
            f"GROUNDING_DEVICE is {wanted}, and torch {torch.__version__} sees no GPU",
            "Install the driver and a CUDA build of torch, or unset GROUNDING_DEVICE",
        )
    elif wanted.startswith("cuda"):
        free, total = torch.cuda.mem_get_info()
        yield well("device", f"{torch.cuda.get_device_name()}, {free / total:.0%} of memory free")
    elif settings.is_demo:
        yield well("device", "CPU")
    else:
        yield warning("device", f"CPU with {os.cpu_count()} cores", "A GPU is many times faster")
