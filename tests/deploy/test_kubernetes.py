"""The manifests of deploy/kubernetes/, as kustomize builds them: valid, hardened, and ours."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from grounding.settings import Settings
from grounding.settings.environment import variable
from tests.containers.files import images

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
VARIANTS = ("gpu", "light")
RELEASES = ("1.30", "1.34", "1.37")
WORKLOADS = ("Deployment", "StatefulSet")
LONGEST_REQUEST = 95
SECRETS = "/run/secrets/grounding/"

pytestmark = pytest.mark.deploy
each_variant = pytest.mark.parametrize("variant", VARIANTS)


@cache
def build(variant: str) -> tuple[dict[str, Any], ...]:
    """Return what `kubectl apply -k` would send."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER / variant)], capture_output=True, text=True, check=True
    )
    return tuple(yaml.safe_load_all(done.stdout))


def workloads(variant: str) -> dict[str, Any]:
    return {
        one["metadata"]["name"]: one["spec"] for one in build(variant) if one["kind"] in WORKLOADS
    }


def pods(variant: str) -> dict[str, Any]:
    return {name: spec["template"]["spec"] for name, spec in workloads(variant).items()}


def settings(variant: str) -> dict[str, str]:
    (found,) = (one["data"] for one in build(variant) if one["kind"] == "ConfigMap")
    return dict(found)


@each_variant
@pytest.mark.parametrize("release", RELEASES)
def test_every_object_follows_the_schema_of_its_kind(variant: str, release: str) -> None:
    for one in build(variant):
        kubernetes_validate.validate(one, release, strict=True)


def test_a_field_that_no_schema_has_is_found() -> None:
    (service, *_) = (one for one in build("gpu") if one["kind"] == "Service")
    wrong = {**service, "spec": {**service["spec"], "prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, RELEASES[-1], strict=True)


@each_variant
def test_the_settings_are_settings_and_load(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {variable(name) for name in Settings.model_fields}
    for pod in pods(variant).values():
        (container,) = pod["containers"]
        own = {one["name"]: one["value"] for one in container["env"]}
        assert {name.removesuffix("_FILE") for name in own} <= names
        assert settings(variant).keys() <= names
        assert container["envFrom"] == [{"configMapRef": {"name": config_name(variant)}}]
    for name, value in settings(variant).items():
        monkeypatch.setenv(name, value)
    assert Settings.load().engine == {"gpu": "local", "light": "openai"}[variant]


def config_name(variant: str) -> str:
    (name,) = (one["metadata"]["name"] for one in build(variant) if one["kind"] == "ConfigMap")
    return str(name)


@each_variant
def test_a_changed_setting_restarts_every_part(variant: str) -> None:
    assert re.fullmatch(r"settings-\w{10}", config_name(variant)), "named by what is in it"


@each_variant
def test_variables_of_services_are_not_taken_for_settings(variant: str) -> None:
    """A Service called `grounding` would set GROUNDING_PORT, at which every part would stop."""
    assert all(pod["enableServiceLinks"] is False for pod in pods(variant).values())


@each_variant
def test_every_pod_runs_with_the_least_it_needs(variant: str) -> None:
    for pod in pods(variant).values():
        assert pod["automountServiceAccountToken"] is False
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        user, _, group = images()[stage(container)].user.partition(":")
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]["cpu"]


def stage(container: dict[str, Any]) -> str:
    """Return the stage of the Dockerfile that makes a container's image."""
    return str(container["image"].partition(":")[0].removeprefix("qwen-grounding-"))


@each_variant
def test_images_and_releases_are_those_of_compose(variant: str) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for pod in pods(variant).values():
        (container,) = pod["containers"]
        assert container["image"] == compose[stage(container)]["image"]


@each_variant
def test_what_the_image_writes_to_is_writable(variant: str) -> None:
    for pod in pods(variant).values():
        (container,) = pod["containers"]
        mounted = {one["mountPath"] for one in container["volumeMounts"]}
        assert "/tmp" in mounted
        if stage(container) == "worker":
            assert images()["worker"].env["HF_HOME"] in mounted


@each_variant
def test_each_part_reads_the_secrets_that_it_needs_and_no_others(variant: str) -> None:
    for name, pod in pods(variant).items():
        (container,) = pod["containers"]
        asked = {
            one["value"].removeprefix(SECRETS) for one in container["env"] if "_FILE" in one["name"]
        }
        (volume,) = (one["secret"] for one in pod["volumes"] if "secret" in one)
        assert {item["path"] for item in volume["items"]} == asked
        assert ("basic_auth_pass" in asked) is (name == "web")
        assert not volume["defaultMode"] & 0o007
    assert not any(one["kind"] == "Secret" for one in build(variant)), "only by reference"


@each_variant
def test_there_is_time_to_finish_what_has_begun(variant: str) -> None:
    gunicorn = (ROOT / "gunicorn.conf.py").read_text()
    (graceful,) = re.findall(r"^graceful_timeout = (\d+)", gunicorn, re.MULTILINE)
    for name, pod in pods(variant).items():
        (container,) = pod["containers"]
        grace = pod["terminationGracePeriodSeconds"]
        if name == "web":
            (waits,) = container["lifecycle"]["preStop"]["exec"]["command"][1:]
            grace -= int(waits)
            assert grace > int(graceful)
        assert grace > LONGEST_REQUEST


@each_variant
def test_a_restart_leaves_parts_running(variant: str) -> None:
    for spec in workloads(variant).values():
        if "strategy" in spec:
            assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
            assert spec["replicas"] >= 2
    budgets = [one["spec"] for one in build(variant) if one["kind"] == "PodDisruptionBudget"]
    guarded = [budget["selector"] for budget in budgets]
    assert all(spec["selector"] in guarded for spec in workloads(variant).values())
    assert all(budget["maxUnavailable"] == 1 for budget in budgets)


@each_variant
def test_an_outage_of_redis_restarts_nothing(variant: str) -> None:
    """Loading the model again would take minutes, in which nothing is answered."""
    for name, pod in pods(variant).items():
        (container,) = pod["containers"]
        if name == "web":
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert container[probe]["httpGet"]["path"] == "/health"
        else:
            assert "livenessProbe" not in container
            assert container["readinessProbe"]["exec"]["command"][-2:] == ["worker", "--ready"]


@each_variant
def test_selectors_find_the_pods_that_they_mean(variant: str) -> None:
    labels = [spec["template"]["metadata"]["labels"] for spec in workloads(variant).values()]
    for one in build(variant):
        spec = one.get("spec", {})
        wanted = spec.get("selector") or spec.get("podSelector") or {}
        wanted = wanted.get("matchLabels", wanted)
        assert any(wanted.items() <= label.items() for label in labels)
