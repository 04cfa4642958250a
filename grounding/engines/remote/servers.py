"""What each server wants to be sent, and how it answers: a new server is one entry of `SERVERS`.

Every request says all that decides the answer, because servers fill in what is missing from the
checkpoint's `generation_config.json`, which asks for sampling and a repetition penalty.

Our pictures have the size that the model is to see, so what each server has to be told is pixel
bounds that enclose it. Where it reads them differs: vLLM in `mm_processor_kwargs` (bounds in the
content part have no effect there), DashScope in the content part. SGLang takes the field, but
for Qwen it heeds its own start-up options alone, whose defaults (4 to 16,384 tokens) do enclose us
(read in vLLM 0.33.0, SGLang 0.5.23 and DashScope's SDK 2.0.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from grounding.qwen.schema import ANSWER_SCHEMA
from grounding.settings import ServerName

BoundsIn = Literal["request", "part", "nowhere"]
Body = dict[str, Any]

SEED = 3407
"""The seed of the sample call in DashScope's guide; with temperature 0 it changes nothing."""

CHAT = "chat/completions"
NATIVE = "services/aigc/multimodal-generation/generation"


@dataclass(frozen=True, slots=True)
class Server:
    """How one kind of server is asked.

    `bounds_in` says where it reads pixel bounds, `fields` are sent with every question,
    `structured` those that bind the answer to a schema. `penalty` says whether it knows
    `repetition_penalty`, and `priorities` are what it calls urgent and not. `cure` is what to do
    where it resizes our pictures.
    """

    bounds_in: BoundsIn
    cure: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    structured: Mapping[str, Any] = field(default_factory=dict)
    penalty: bool = True
    priorities: tuple[int, int] | None = None


_JSON_SCHEMA = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "regions", "schema": ANSWER_SCHEMA},
    }
}

SERVERS: Mapping[ServerName, Server] = {
    "vllm": Server(
        bounds_in="request",
        structured={"structured_outputs": {"json": ANSWER_SCHEMA}},
        priorities=(0, 1),
        cure="Start vLLM with --mm-processor-kwargs that enclose GROUNDING_MIN_PIXELS and "
        "GROUNDING_MAX_PIXELS",
    ),
    "sglang": Server(
        bounds_in="request",
        structured=_JSON_SCHEMA,
        priorities=(1, 0),
        cure="Start SGLang with an --mm-process-config whose image bounds enclose "
        "GROUNDING_MIN_PIXELS and GROUNDING_MAX_PIXELS, and SGLANG_IMAGE_MAX_PIXELS of at "
        "least GROUNDING_MAX_PIXELS",
    ),
    "dashscope": Server(
        bounds_in="part",
        fields={"vl_high_resolution_images": True, "top_k": 1},
        structured={"response_format": {"type": "json_object"}},
        cure="Keep GROUNDING_MIN_PIXELS and GROUNDING_MAX_PIXELS within what DashScope shows the "
        "model",
    ),
    "generic": Server(
        bounds_in="nowhere",
        structured=_JSON_SCHEMA,
        penalty=False,
        cure="Name the server with GROUNDING_SERVER=vllm, sglang or dashscope if it is one of "
        "them; else set its own pixel bounds, or GROUNDING_MIN_PIXELS and GROUNDING_MAX_PIXELS, so "
        "that its bounds enclose ours",
    ),
}


@dataclass(frozen=True, slots=True)
class RequestFormat:
    """What the settings say of every request, whatever it asks."""

    server: Server
    model: str
    min_pixels: int
    max_pixels: int
    native: bool = False
    logprobs: bool = True
    structured: bool = False
    priority: bool = False
    repetition_penalty: float = 1.0

    @property
    def path(self) -> str:
        """Where questions are posted, under the base URL."""
        return NATIVE if self.native else CHAT

    def body(
        self, uri: str, text: str, *, area: int, max_tokens: int, urgent: bool = False
    ) -> Body:
        """Return the request's JSON: the picture (a data URI of `area` pixels), then the text."""
        bounds = {
            "min_pixels": min(self.min_pixels, area),
            "max_pixels": max(self.max_pixels, area),
        }
        parameters = self._parameters(max_tokens, urgent)
        if self.server.bounds_in == "request":
            parameters["mm_processor_kwargs"] = bounds
        in_part = bounds if self.server.bounds_in == "part" else {}
        if self.native:
            content = [{"image": uri, **in_part}, {"text": text}]
            messages = [{"role": "user", "content": content}]
            parameters["result_format"] = "message"
            return {"model": self.model, "input": {"messages": messages}, "parameters": parameters}
        picture = {"type": "image_url", "image_url": {"url": uri}, **in_part}
        content = [picture, {"type": "text", "text": text}]
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            **parameters,
        }

    def _parameters(self, max_tokens: int, urgent: bool) -> Body:
        fields: Body = {"temperature": 0, "seed": SEED, "max_tokens": max_tokens}
        fields |= self.server.fields
        if self.logprobs:
            fields["logprobs"] = True
        if self.server.penalty:
            fields["repetition_penalty"] = self.repetition_penalty
        if self.structured:
            fields |= self.server.structured
        if self.priority and self.server.priorities:
            at_once, later = self.server.priorities
            fields["priority"] = at_once if urgent else later
        return fields
