"""The request that each preset sends, whole."""

from __future__ import annotations

from typing import Any

import pytest

from grounding.engines.remote.servers import SEED, SERVERS, RequestFormat
from grounding.qwen.schema import ANSWER_SCHEMA

URI, TEXT = "data:image/png;base64,AAAA", "Where is the cat?"
BOUNDS = {"min_pixels": 200_704, "max_pixels": 1_003_520}
GREEDY = {"temperature": 0, "seed": SEED, "max_tokens": 512, "logprobs": True}
PICTURE = {"type": "image_url", "image_url": {"url": URI}}
WORDS = {"type": "text", "text": TEXT}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "regions", "schema": ANSWER_SCHEMA}}


def chat(picture: dict[str, Any], **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": [picture, WORDS]}]
    return {"model": "qwen2.5-vl-7b", "messages": messages, **GREEDY, **fields}


KWARGS = {"mm_processor_kwargs": BOUNDS, "repetition_penalty": 1.0}
GUIDE = {"vl_high_resolution_images": True, "top_k": 1, "repetition_penalty": 1.0}
NATIVE_PARAMETERS = GREEDY | GUIDE | {"result_format": "message"}
NATIVE = {
    "model": "qwen2.5-vl-7b",
    "input": {
        "messages": [{"role": "user", "content": [{"image": URI, **BOUNDS}, {"text": TEXT}]}]
    },
    "parameters": NATIVE_PARAMETERS,
}

TABLE: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "vllm": ("vllm", {}, chat(PICTURE, **KWARGS)),
    "vllm, priority": ("vllm", {"priority": True}, chat(PICTURE, **KWARGS, priority=1)),
    "vllm, structured": (
        "vllm",
        {"structured": True},
        chat(PICTURE, **KWARGS, structured_outputs={"json": ANSWER_SCHEMA}),
    ),
    "sglang": ("sglang", {}, chat(PICTURE, **KWARGS)),
    "sglang, priority": ("sglang", {"priority": True}, chat(PICTURE, **KWARGS, priority=0)),
    "sglang, structured": (
        "sglang",
        {"structured": True},
        chat(PICTURE, **KWARGS, response_format=SCHEMA),
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
    "generic": ("generic", {}, chat(PICTURE)),
    "generic, structured": (
        "generic",
        {"structured": True},
        chat(PICTURE, response_format=SCHEMA),
    ),
    "generic, priority": ("generic", {"priority": True}, chat(PICTURE)),
}


def manner(server: Any, **fields: Any) -> RequestFormat:
    return RequestFormat(SERVERS[server], "qwen2.5-vl-7b", *BOUNDS.values(), **fields)


@pytest.mark.parametrize("row", TABLE)
def test_the_request_is(row: str) -> None:
    server, fields, body = TABLE[row]
    assert manner(server, **fields).body(URI, TEXT, area=500_192, max_tokens=512) == body


@pytest.mark.parametrize(("server", "first"), [("vllm", 0), ("sglang", 1)])
def test_who_waits_goes_first_in_the_servers_own_order(server: str, first: int) -> None:
    """vLLM serves low numbers first, SGLang high ones."""
    asked = manner(server, priority=True)
    assert asked.body(URI, TEXT, area=1, max_tokens=1, urgent=True)["priority"] == first


def test_without_probabilities_none_are_asked_for() -> None:
    assert "logprobs" not in manner("vllm", logprobs=False).body(URI, TEXT, area=1, max_tokens=1)


@pytest.mark.parametrize("area", [784, 500_192, 9_999_360])
def test_the_bounds_enclose_every_picture(area: int) -> None:
    told = manner("vllm").body(URI, TEXT, area=area, max_tokens=1)["mm_processor_kwargs"]
    assert told["min_pixels"] <= area <= told["max_pixels"]
