"""Settings: read once, typed, checked; a wrong one refuses to start."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from grounding.errors import SettingError
from grounding.settings import ANSWER_SETTINGS, ANSWERS, SPARE_THREADS, Settings
from tests.labelstudio.client.tokens import PERSONAL

WRONG = {
    "no number": ({"PORT": "abc"}, "PORT"),
    "negative": ({"GROUNDING_MAX_TASKS": "-1"}, "GROUNDING_MAX_TASKS"),
    "too large": ({"GROUNDING_BULK_DEADLINE": "1e9"}, "GROUNDING_BULK_DEADLINE"),
    "no boolean": ({"GROUNDING_ALLOW_ANONYMOUS": "maybe"}, "GROUNDING_ALLOW_ANONYMOUS"),
    "user without password": ({"BASIC_AUTH_USER": "a"}, "BASIC_AUTH_PASS"),
    "password without user": ({"BASIC_AUTH_PASS": "a"}, "BASIC_AUTH_USER"),
    "token with a space": ({"LABEL_STUDIO_API_KEY": "a b"}, "LABEL_STUDIO_API_KEY"),
    "token without its end": (
        {"LABEL_STUDIO_API_KEY": PERSONAL.rpartition(".")[0]},
        "LABEL_STUDIO_API_KEY: is not whole: .* create a new one",
    ),
    "no web address": ({"LABEL_STUDIO_URL": "localhost:8080"}, "LABEL_STUDIO_URL"),
    "no host": ({"LABEL_STUDIO_URL": "http://"}, "LABEL_STUDIO_URL"),
    "port that is no number": ({"LABEL_STUDIO_URL": "http://a:b"}, "LABEL_STUDIO_URL"),
    "user name": ({"LABEL_STUDIO_URL": "http://me@a"}, "LABEL_STUDIO_URL: must not hold a user"),
    "query": ({"OPENAI_BASE_URL": "http://a/v1?key=b"}, r"OPENAI_BASE_URL: must end before any \?"),
    "fragment": ({"LABEL_STUDIO_HOST": "http://a/#b"}, "LABEL_STUDIO_HOST: must end before"),
    "no Redis address": ({"REDIS_URL": "http://a:6379"}, "REDIS_URL: must read like redis://"),
    "Redis without a host": ({"REDIS_URL": "redis:///0"}, "REDIS_URL: must read like redis://"),
    "Redis at no port": ({"REDIS_URL": "redis://a:b/0"}, r"REDIS_URL: must read .* %23 and %2F"),
    "Redis password as it is": ({"REDIS_URL": "redis://:a#b@c/0"}, r"REDIS_URL: must read .* %23"),
    "crossed bounds": (
        {"GROUNDING_MIN_PIXELS": "99999", "GROUNDING_MAX_PIXELS": "9999"},
        "GROUNDING_MIN_PIXELS",
    ),
}


@pytest.mark.parametrize(("environment", "named"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_refuses_to_start_and_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], named: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=named) as caught:
        Settings.load()
    assert "\n" not in str(caught.value)


def test_a_wrong_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "canary 4711")
    with pytest.raises(SettingError) as caught:
        Settings.load()
    assert "canary" not in str(caught.value)


MISSPELT = {
    "MAX_PIXLES": "GROUNDING_MAX_PIXELS",
    "MAX_PIXELS": "GROUNDING_MAX_PIXELS",
    "GROUNDING_MAX_PIXLES": "GROUNDING_MAX_PIXELS",
    "GROUNDING_MAX_PIXLES_FILE": "GROUNDING_MAX_PIXELS",
    "GROUNDIG_MAX_PIXELS": "GROUNDING_MAX_PIXELS",
    "GROUNDING_HOSTS": "GROUNDING_HOST",
    "GROUNDING_MODEL": "MODEL",
    "GROUNDING_PORT": "PORT",
    "LABEL_STUDIO_API_KEYS": "LABEL_STUDIO_API_KEY",
    "REDIS_ULR": "REDIS_URL",
    "BASIC_AUTH_PASSWORD": "BASIC_AUTH_PASS",
    "BASIC_AUTH_USERNAME": "BASIC_AUTH_USER",
    "REDIS_URI": "REDIS_URL",
    "SERVER_PATIENCE": "GROUNDING_SERVER_RETRY_TIMEOUT",
    "LABELS_PER_QUESTION": "GROUNDING_LABELS_PER_QUERY",
    "GROUNDING_LABELS_PER_QUESTION": "GROUNDING_LABELS_PER_QUERY",
    "GROUNDING_LABELS_PER_QUESTION_FILE": "GROUNDING_LABELS_PER_QUERY",
}


@pytest.mark.parametrize(("wrong", "right"), MISSPELT.items(), ids=MISSPELT)
def test_a_misspelt_name_refuses_to_start_and_the_nearest_one_is_named(
    monkeypatch: pytest.MonkeyPatch, wrong: str, right: str
) -> None:
    monkeypatch.setenv(wrong, "canary")
    with pytest.raises(SettingError) as caught:
        Settings.load()
    assert f"{wrong} is not read here; the nearest name is {right}." in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_name_of_ours_that_is_like_no_other_refuses_to_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GROUNDING_ZZZ", "1")
    with pytest.raises(SettingError, match="GROUNDING_ZZZ is not read here"):
        Settings.load()


FOREIGN = [
    "HOST",
    "DEVICE",
    "SERVER",
    "PROFILE",
    "ENGINE",
    "THREADS",
    "WORKERS",
    "LOGLEVEL",
    "MODELS",
    "HF_HOME",
    "MAX_JOBS",
    "LABEL_STUDIO_PORT",
    "LABEL_STUDIO_BASE_DATA_DIR",
    "LABEL_STUDIO_USERNAME",
    "LABEL_STUDIO_HOSTNAME",
    "OPENAI_API_BASE",
    "OPENAI_ORG_ID",
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_TLS_URL",
    "REDIS_PASSWORD",
    "BASIC_AUTH_REALM",
    "OMP_NUM_THREADS",
    "TORCH_HOME",
    "CUDA_VISIBLE_DEVICES",
    "SSL_CERT_FILE",
    "DATABASE_URL",
    "KUBERNETES_SERVICE_HOST",
    "SERVER_PORT",
    "XDG_DATA_DIRS",
    "MODEL_DIR",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_variable_of_another_program_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Conda's shells, for one, have a HOST that is no address to listen on."""
    before = Settings.load()
    monkeypatch.setenv(name, "x86_64-conda-linux-gnu")
    assert Settings.load() == before


def test_what_no_setting_is_called_is_a_fault_of_the_caller() -> None:
    with pytest.raises(TypeError, match="ports"):
        Settings.load(ports=1)


@pytest.mark.parametrize("url", ["redis://:p@h:1/0", "rediss://h", "unix:///a/b.sock?db=1"])
def test_every_way_to_write_a_redis_address_is_taken(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    secret = Settings.load().redis_url
    assert secret is not None
    assert secret.get_secret_value() == url


def test_each_waiting_request_has_a_thread_and_others_have_some_left() -> None:
    settings = Settings.load(max_interactive_requests=5, max_page_requests=4, max_bulk_requests=3)
    assert settings.threads == 5 + 4 + 3 + SPARE_THREADS


def test_empty_is_unset_and_spaces_around_a_number_are_fine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORT", "")
    monkeypatch.setenv("GROUNDING_MAX_BATCH", " 5 ")
    settings = Settings.load()
    assert (settings.port, settings.max_batch) == (9090, 5)


def test_origins_are_a_comma_separated_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDING_ALLOWED_ORIGINS", "http://minio:9000, https://10.0.3.0/24,")
    assert Settings.load().allowed_origins == {"http://minio:9000", "https://10.0.3.0/24"}


def test_the_model_version_changes_with_what_changes_answers_and_with_nothing_else() -> None:
    first = Settings.load().model_version("<View/>")
    assert re.fullmatch(r"shapes-[0-9a-f]{10}", first)
    assert Settings.load(port=1234, max_batch=3).model_version("<View/>") == first
    changed = [
        Settings.load().model_version("<View></View>"),
        Settings.load(model="Qwen/Qwen2.5-VL-7B-Instruct").model_version("<View/>"),
        Settings.load(max_pixels=50_000).model_version("<View/>"),
        Settings.load(repetition_penalty=1.05).model_version("<View/>"),
        Settings.load(labels_per_query=0).model_version("<View/>"),
        Settings.load().model_version("<View/>", '{"model_prompt": "toys"}'),
        Settings.load(adapter="me/lora").model_version("<View/>"),
        Settings.load(adapter="me/lora", adapter_revision="v2").model_version("<View/>"),
    ]
    assert len({first, *changed}) == 9
    assert changed[1].startswith("Qwen2.5-VL-7B-Instruct-")


def test_an_adapter_with_a_model_behind_http_is_refused() -> None:
    remote = {"engine": "openai", "openai_base_url": "http://vllm:8000/v1", "model": "m"}
    with pytest.raises(SettingError, match="GROUNDING_ADAPTER needs GROUNDING_ENGINE=local"):
        Settings.load(**remote, adapter="me/lora")


def test_a_setting_that_is_renamed_keeps_the_versions_that_projects_have() -> None:
    facts = {name: getattr(Settings.load(), name) for name in ANSWER_SETTINGS}
    facts |= {"labels_per_question": 1, "config": "<View/>", "extra_params": "", "answers": ANSWERS}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]
    assert Settings.load().model_version("<View/>") == f"shapes-{digest}"


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_child_process_loads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL", "someone/else")
    parent = Settings.load(
        model="",
        port=1234,
        allow_anonymous=True,
        allowed_origins=frozenset({"http://b:1", "http://a:1"}),
        label_studio_api_key="secret",
        max_pixels=None,
    )
    for name, value in parent.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == parent


def test_a_setting_may_come_from_a_file_without_its_line_break(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("secret\n")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY_FILE", str(tmp_path / "key"))
    key = Settings.load().label_studio_api_key
    assert key is not None
    assert key.get_secret_value() == "secret"


def test_the_variable_itself_and_what_a_caller_gives_go_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "port").write_text("1111")
    monkeypatch.setenv("PORT_FILE", str(tmp_path / "port"))
    assert Settings.load().port == 1111
    assert Settings.load(port=2222).port == 2222
    monkeypatch.setenv("PORT", "3333")
    assert Settings.load().port == 3333


def test_an_empty_file_counts_as_unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY_FILE", str(tmp_path / "key"))
    assert Settings.load().label_studio_api_key is None


UNREADABLE = {"missing": "none", "a folder": ".", "no text": "bytes"}


@pytest.mark.parametrize("name", UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read_refuses_to_start_and_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / name))
    with pytest.raises(SettingError, match="REDIS_URL_FILE") as caught:
        Settings.load()
    assert "\n" not in str(caught.value)


def test_a_child_process_gets_what_came_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("redis://:secret@host/0\n")
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "url"))
    assert Settings.load().environment()["REDIS_URL"] == "redis://:secret@host/0"


def test_a_control_served_since_a_later_release_changes_the_version_of_its_configs() -> None:
    config = "<View/>"
    first = Settings.load().model_version(config)
    assert Settings.load().model_version(config, "", ()) == first
    assert Settings.load().model_version(config, "", ("Choices",)) != first


def test_the_type_of_the_weights_changes_the_version_where_it_is_chosen_and_the_model_is_here() -> (
    None
):
    usual = Settings.load().model_version("<View/>")
    assert Settings.load(dtype="auto").model_version("<View/>") == usual
    assert Settings.load(dtype="bfloat16").model_version("<View/>") != usual
    remote = {"engine": "openai", "openai_base_url": "http://h/v1", "model": "qwen2.5-vl"}
    there = [Settings.load(dtype=d, **remote).model_version("<View/>") for d in ("auto", "float32")]
    assert there[0] == there[1]
