"""The settings of a model behind HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from grounding.errors import SettingError
from grounding.settings import Settings

REMOTE = {
    "engine": "openai",
    "server": "dashscope",
    "openai_base_url": "http://gpu:8000/v1",
    "model": "Qwen/Qwen2.5-VL-7B-Instruct",
}


def version(**changes: Any) -> str:
    return Settings.load(**(REMOTE | changes)).model_version("<View/>")


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "local"},
        {"server": "vllm"},
        {"image_format": "png"},
        {"image_quality": 90},
        {"structured_output": True},
        {"dashscope_native": True},
        {"logprobs": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_answers_changes_the_version(change: dict[str, Any]) -> None:
    assert version(**change) != version()


@pytest.mark.parametrize(
    "change",
    [{"openai_base_url": "http://other/v1"}, {"max_in_flight": 8}, {"openai_api_key": "sk-2"}],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_change_answers_keeps_the_version(change: dict[str, Any]) -> None:
    assert version(**change) == version()


def test_a_local_engines_version_does_not_hear_of_servers() -> None:
    local = {"engine": "local", "openai_base_url": ""}
    assert version(**local, image_format="png") == version(**local)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"openai_base_url": ""}, "OPENAI_BASE_URL"),
        ({"openai_base_url": "gpu:8000"}, "OPENAI_BASE_URL"),
        ({"model": ""}, "MODEL"),
        ({"server": "vllm", "dashscope_native": True}, "GROUNDING_DASHSCOPE_NATIVE"),
        ({"server_priority": True}, "GROUNDING_SERVER_PRIORITY"),
        ({"server": "generic", "repetition_penalty": 1.1}, "GROUNDING_REPETITION_PENALTY"),
        ({"openai_api_key": "sk 1"}, "OPENAI_API_KEY"),
        ({"openai_api_key": "sk…1"}, "OPENAI_API_KEY"),
        ({"openai_api_key": "sk\x011"}, "OPENAI_API_KEY"),
    ],
)
def test_what_cannot_work_refuses_to_start_and_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        Settings.load(**(REMOTE | change))


@pytest.mark.parametrize(
    ("given", "slots"),
    [({}, (64, 8)), ({"bulk_slots": 5}, (5, 8)), ({"engine": "local"}, (14, 2))],
)
def test_slots_are_many_where_a_server_computes(
    given: dict[str, Any], slots: tuple[int, int]
) -> None:
    chosen = Settings.load(**(REMOTE | given))
    assert (chosen.bulk_slots, chosen.interactive_slots) == slots


def test_a_child_process_gets_the_very_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Settings.load(**REMOTE, openai_api_key="sk-1", logprobs=False)
    for name, value in chosen.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == chosen
