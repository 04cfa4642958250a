"""The whole request that each server's preset sends."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from grounding.engines.base import ModelRequest, Priority
from grounding.engines.remote.servers import (
    ANSWER_REGEX,
    ANSWER_SCHEMA,
    SEED,
    SERVERS,
    RequestFormat,
)
from grounding.testing import make_view

URI, TEXT = "data:image/png;base64,AAAA", "Where is the cat?"
VIEW = make_view(Image.new("RGB", (868, 588)))
REQUEST = ModelRequest((VIEW, TEXT), 512, form="places")
BOUNDS = {"min_pixels": 200_704, "max_pixels": 1_003_520}
GREEDY = {"temperature": 0, "seed": SEED, "max_tokens": 512, "logprobs": True}
PICTURE = {"type": "image_url", "image_url": {"url": URI}}
WORDS = {"type": "text", "text": TEXT}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "regions", "schema": ANSWER_SCHEMA}}


def chat(picture: dict[str, Any], **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": [picture, WORDS]}]
    return {"model": "qwen2.5-vl-7b", "messages": messages, **GREEDY, **fields}


PENALTY = {"repetition_penalty": 1.0}
QUIET = {"chat_template_kwargs": {"enable_thinking": False}} | PENALTY
KWARGS = {"mm_processor_kwargs": BOUNDS} | QUIET
GUIDE = {"vl_high_resolution_images": True, "top_k": 1, "repetition_penalty": 1.0}
NATIVE_PARAMETERS = GREEDY | GUIDE | {"result_format": "message"}
NATIVE = {
    "model": "qwen2.5-vl-7b",
    "input": {
        "messages": [{"role": "user", "content": [{"image": URI, **BOUNDS}, {"text": TEXT}]}]
    },
    "parameters": NATIVE_PARAMETERS,
}

VLLM = QUIET | {
    "repetition_detection": {"max_pattern_size": 64, "min_pattern_size": 16, "min_count": 4}
}
PLAIN = {"frequency_penalty": 0}
LLAMA = {
    "chat_template_kwargs": {"enable_thinking": False},
    "cache_prompt": True,
    "repeat_penalty": 1.0,
}
OLLAMA = {"frequency_penalty": 0, "presence_penalty": 0}

TABLE: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "vllm": ("vllm", {}, chat(PICTURE, **VLLM)),
    "vllm, priority": ("vllm", {"priority": True}, chat(PICTURE, **VLLM, priority=1)),
    "vllm, structured": (
        "vllm",
        {"structured": True},
        chat(PICTURE, **VLLM, structured_outputs={"regex": ANSWER_REGEX}),
    ),
    "sglang": ("sglang", {}, chat(PICTURE, **KWARGS)),
    "sglang, priority": ("sglang", {"priority": True}, chat(PICTURE, **KWARGS, priority=0)),
    "sglang, structured": (
        "sglang",
        {"structured": True},
        chat(PICTURE, **KWARGS, regex=ANSWER_REGEX),
    ),
    "dashscope": ("dashscope", {}, chat(PICTURE | BOUNDS, **GUIDE)),
    "dashscope, structured": (
        "dashscope",
        {"structured": True},
        chat(PICTURE | BOUNDS, **GUIDE, response_format={"type": "json_object"}),
    ),
    "dashscope's own": ("dashscope", {"native": True}, NATIVE),
    "dashscope's own, structured": (
        "dashscope",
        {"native": True, "structured": True},
        NATIVE | {"parameters": NATIVE_PARAMETERS | {"response_format": {"type": "json_object"}}},
    ),
    "llama.cpp": ("llamacpp", {}, chat(PICTURE, **LLAMA)),
    "llama.cpp, structured": (
        "llamacpp",
        {"structured": True},
        chat(PICTURE, **LLAMA, response_format=SCHEMA),
    ),
    "llama.cpp, penalty": (
        "llamacpp",
        {"repetition_penalty": 1.05},
        chat(PICTURE, **LLAMA | {"repeat_penalty": 1.05}),
    ),
    "ollama": ("ollama", {}, chat(PICTURE, **OLLAMA)),
    "ollama, structured": (
        "ollama",
        {"structured": True},
        chat(PICTURE, **OLLAMA, response_format=SCHEMA),
    ),
    "ollama, priority": ("ollama", {"priority": True}, chat(PICTURE, **OLLAMA)),
    "generic": ("generic", {}, chat(PICTURE, **PLAIN)),
    "generic, structured": (
        "generic",
        {"structured": True},
        chat(PICTURE, **PLAIN, response_format=SCHEMA),
    ),
    "generic, priority": ("generic", {"priority": True}, chat(PICTURE, **PLAIN)),
}


def request_format(server: Any, **fields: Any) -> RequestFormat:
    return RequestFormat(SERVERS[server], "qwen2.5-vl-7b", *BOUNDS.values(), **fields)


def test_views_and_texts_keep_their_order() -> None:
    parts = ("<0.0 seconds>", VIEW, "<0.5 ", "seconds>", VIEW, TEXT)
    request = ModelRequest(parts, 8)
    body = RequestFormat(SERVERS["generic"], "m", 1, 2).build_body(request, ["a", "b"])
    (message,) = body["messages"]
    assert message["content"] == [
        {"type": "text", "text": "<0.0 seconds>"},
        {"type": "image_url", "image_url": {"url": "a"}},
        {"type": "text", "text": "<0.5 seconds>"},
        {"type": "image_url", "image_url": {"url": "b"}},
        WORDS,
    ]
    with pytest.raises(ValueError, match="comes after"):
        ModelRequest((TEXT, VIEW), 8)


@pytest.mark.parametrize("row", TABLE)
def test_the_request_is(row: str) -> None:
    server, fields, body = TABLE[row]
    assert request_format(server, **fields).build_body(REQUEST, [URI]) == body


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("qwen3-vl-plus", True),
        ("qwen3.5-flash", True),
        ("Qwen3-VL-Flash-2025-10-15", True),
        ("qwen3-vl-8b-thinking", False),
        ("qwen3-vl-8b-instruct", False),
        ("qwen2.5-vl-7b-instruct", False),
        ("qvq-max", False),
    ],
)
def test_dashscope_is_asked_not_to_think_where_the_model_has_a_switch(
    model: str, asked: bool
) -> None:
    body = replace(request_format("dashscope"), model=model).build_body(REQUEST, [URI])
    assert body.get("enable_thinking") == (False if asked else None)


@pytest.mark.parametrize(
    ("model", "asked"),
    [("qwen2.5vl:7b", False), ("qwen3-vl:8b", True), ("qwen3-vl:8b-instruct", False)],
)
def test_ollama_is_asked_not_to_think_where_the_model_has_a_switch(model: str, asked: bool) -> None:
    body = replace(request_format("ollama"), model=model).build_body(REQUEST, [URI])
    assert body.get("reasoning_effort") == ("none" if asked else None)


@pytest.mark.parametrize("server", SERVERS)
def test_an_answer_that_is_no_list_of_places_is_held_to_no_form(server: str) -> None:
    """A schema of boxes would make nonsense of values, text and whatever a raw prompt asks."""
    free = replace(REQUEST, form="free")
    held = request_format(server, structured=True).build_body(free, [URI])
    assert held == request_format(server).build_body(free, [URI])


COOKBOOK = (
    '```json\n[\n\t{"bbox_2d": [341, 258, 397, 360], "label": "top-left \\"cake\\""},\n'
    '\t{"bbox_2d": [0, 2, 11, 12], "label": "猫", "colour": "red"}\n]\n```'
)


@pytest.mark.parametrize(
    "answer",
    [
        "[]",
        "```json\n[]\n```",
        COOKBOOK,
        '[\n    {"point_2d": [12, 40], "label": "cat"}\n]',
    ],
)
def test_the_models_own_ways_to_write_places_are_allowed(answer: str) -> None:
    assert re.fullmatch(ANSWER_REGEX, answer)


@pytest.mark.parametrize("answer", ["", "\n\n", "none", '[{"bbox_2d": [1, 2, 3]}]', "```json\n[]"])
def test_anything_else_is_not(answer: str) -> None:
    assert not re.fullmatch(ANSWER_REGEX, answer)


@given(st.from_regex(ANSWER_REGEX, fullmatch=True, alphabet=st.characters(codec="utf-8")))
def test_whatever_is_allowed_is_a_list_of_places_in_json(answer: str) -> None:
    places = json.loads(answer.removeprefix("```json").removesuffix("```"), strict=False)
    assert [len(one.get("bbox_2d") or one["point_2d"]) in (4, 2) for one in places] == [
        True for _ in places
    ]


@pytest.mark.parametrize(("server", "first"), [("vllm", 0), ("sglang", 1)])
def test_an_interactive_request_goes_first_in_the_servers_own_order(
    server: str, first: int
) -> None:
    """vLLM serves low numbers first, SGLang high ones."""
    request = replace(REQUEST, priority=Priority.INTERACTIVE)
    assert request_format(server, priority=True).build_body(request, [URI])["priority"] == first


def test_without_probabilities_none_are_asked_for() -> None:
    assert "logprobs" not in request_format("vllm", logprobs=False).build_body(REQUEST, [URI])


@pytest.mark.parametrize("side", [28, 868, 3164])
def test_the_bounds_enclose_every_picture(side: int) -> None:
    view = make_view(Image.new("RGB", (side, side)))
    body = request_format("sglang").build_body(ModelRequest((view, TEXT), 1), [URI])
    bounds = body["mm_processor_kwargs"]
    assert bounds["min_pixels"] <= side * side <= bounds["max_pixels"]


@pytest.mark.parametrize("native", [False, True])
def test_a_system_text_is_a_message_of_its_own_and_stop_texts_are_a_field(native: bool) -> None:
    request = replace(REQUEST, system="Answer in one word.", stop=("]", "\n\n"))
    body = request_format("dashscope", native=native).build_body(request, [URI])
    system, user = (body["input"] if native else body)["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert system["content"][0]["text"] == "Answer in one word."
    assert (body["parameters"] if native else body)["stop"] == ["]", "\n\n"]


def test_several_views_come_in_order_before_the_text() -> None:
    body = request_format("generic").build_body(
        replace(REQUEST, parts=(VIEW, VIEW, TEXT)), ["a", "b"]
    )
    *pictures, text = body["messages"][0]["content"]
    assert [one["image_url"]["url"] for one in pictures] == ["a", "b"]
    assert text["text"] == TEXT


def test_no_text_of_a_request_carries_control_tokens() -> None:
    request = ModelRequest((VIEW, "a<|im_end|>b"), 8, system="c<|im_start|>d")
    body = request_format("generic").build_body(request, [URI])
    texts = [message["content"][-1]["text"] for message in body["messages"]]
    assert texts == ["cd", "ab"]
