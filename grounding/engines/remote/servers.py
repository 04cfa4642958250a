"""What each kind of server expects: a new server is one entry of `SERVERS`.

Every request states all that decides the answer, because servers fill in what is missing from the
checkpoint's `generation_config.json`, which asks for sampling and a repetition penalty.

Our pictures have the size that the model is to see, so a server's pixel bounds must enclose it.
Where it reads them differs. vLLM reads them at its start (`--mm-processor-kwargs`); from 0.32 it
answers 400 to a request that carries `mm_processor_kwargs`, unless `--trust-request-mm-kwargs` is
set. DashScope reads them in the content part. SGLang accepts the field, but for Qwen it uses its
start-up options alone, whose defaults (4 to 16,384 tokens) enclose ours. (Run with vLLM 0.32.0;
read in vLLM 0.33.0, SGLang 0.5.23 and DashScope's SDK 2.0.2.)

llama.cpp takes pictures of 8 to 4,096 tokens as they are unless it is started with other bounds,
and Ollama those of 56×56 to 2,097,152 pixels unless the model's file says otherwise; neither reads
bounds in requests. Ollama makes a message of each part of ours, and takes its repetition penalty
of 1.1 from the model's file alone. (Read: llama.cpp's tools/mtmd/clip.cpp, Ollama's
openai/openai.go, api/types.go and model/models/qwen25vl. Run: llama.cpp's build 9993.)

A model that thinks spends its answer on drafts, so it is asked not to where there is a switch.
vLLM, SGLang and llama.cpp hand `chat_template_kwargs` to the chat template, which ignores what it
does not know. DashScope and Ollama have fields of their own for hybrid models; those that always
think have no switch. Other servers may refuse a field that they do not know, and are sent none.

Only answers that list places are held to a form, where GROUNDING_STRUCTURED_OUTPUT asks for it. A
JSON schema leaves white space free, and vLLM 0.32 then writes line breaks up to the limit; so
servers that take a regular expression get the very form that these models write by themselves.
xgrammar 0.2.8 forbids tokens that this form begins with ("\\n[\\n\\t{" beside "\\n\\t{"), and the
model then says that nothing is there; with vLLM's other back end, guidance, it writes its boxes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from grounding.engines.base import ModelRequest, Priority
from grounding.engines.remote.client import Encoding
from grounding.settings.parts import ServerName

Body = dict[str, Any]


def _place(key: str, numbers: int) -> Body:
    integers = {"type": "integer", "minimum": 0}
    return {
        "type": "object",
        "properties": {
            key: {"type": "array", "items": integers, "minItems": numbers, "maxItems": numbers},
            "label": {"type": "string"},
        },
        "required": [key, "label"],
        "additionalProperties": False,
    }


ANSWER_SCHEMA: Body = {
    "type": "array",
    "items": {"anyOf": [_place("bbox_2d", 4), _place("point_2d", 2)]},
}
"""A list of boxes and points, each with its label; empty if the model finds nothing."""

_NUMBER = r"(0|[1-9][0-9]{0,4})"
_STRING = r'"([^"\\\n]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"'
_ENTRY = (
    rf'\{{"(bbox_2d": \[{_NUMBER}(, {_NUMBER}){{3}}\]|point_2d": \[{_NUMBER}, {_NUMBER}\])'
    rf'(, "[a-z_]{{1,32}}": {_STRING})+\}}'
)
_LIST = rf"\[(\n(\t|    ){_ENTRY}(,\n(\t|    ){_ENTRY})*\n)?\]"

ANSWER_REGEX = rf"(```json\n{_LIST}\n```|{_LIST})"
"""The same, as these models write it: fenced or not, one place in a line."""

REPETITION: Body = {"max_pattern_size": 64, "min_pattern_size": 16, "min_count": 4}
"""When vLLM ends a looping answer: 16 to 64 tokens, about a place, four times in a row."""


BoundsIn = Literal["request", "part", "nowhere"]

SEED = 3407
"""The seed of the sample call in DashScope's guide; with temperature 0 it changes nothing."""

CHAT = "chat/completions"
NATIVE = "services/aigc/multimodal-generation/generation"

NO_THINKING: Body = {"chat_template_kwargs": {"enable_thinking": False}}

HYBRID = re.compile(r"qwen3(?!.*(?:instruct|thinking))", re.IGNORECASE)
"""Names of models that think or do not, as a request says: qwen3-vl-plus, qwen3-vl:8b."""

CONTROL = re.compile(r"<\|[^|<>\s]+\|>")
"""Qwen's control tokens as text, which a server would tokenise as such."""


@dataclass(frozen=True, slots=True)
class Server:
    """What one kind of server is sent.

    `bounds_in` says where it reads pixel bounds. `fields` are sent with every request, `hybrid`
    with those to a model that can think, and `structured` with those whose answer is to be held to
    its form. `penalty` is its name of the repetition penalty, empty where requests have none;
    `priorities` are its numbers of interactive and bulk requests. `cure` is what to do where it
    resizes our pictures.
    """

    bounds_in: BoundsIn
    cure: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    hybrid: Mapping[str, Any] = field(default_factory=dict)
    structured: Mapping[str, Any] = field(default_factory=dict)
    penalty: str = "repetition_penalty"
    priorities: Mapping[Priority, int] = field(default_factory=dict)


_JSON_SCHEMA = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "regions", "schema": ANSWER_SCHEMA},
    }
}

SERVERS: Mapping[ServerName, Server] = {
    "vllm": Server(
        bounds_in="nowhere",
        fields=NO_THINKING | {"repetition_detection": REPETITION},
        structured={"structured_outputs": {"regex": ANSWER_REGEX}},
        priorities={Priority.INTERACTIVE: 0, Priority.BULK: 1},
        cure="Start vLLM with --mm-processor-kwargs whose min_pixels and max_pixels enclose "
        "GROUNDING_MIN_PIXELS and GROUNDING_MAX_PIXELS",
    ),
    "sglang": Server(
        bounds_in="request",
        fields=NO_THINKING,
        structured={"regex": ANSWER_REGEX},
        priorities={Priority.INTERACTIVE: 1, Priority.BULK: 0},
        cure="Start SGLang with an --mm-process-config whose image bounds enclose "
        "GROUNDING_MIN_PIXELS and GROUNDING_MAX_PIXELS, and SGLANG_IMAGE_MAX_PIXELS of at least "
        "GROUNDING_MAX_PIXELS",
    ),
    "dashscope": Server(
        bounds_in="part",
        fields={"vl_high_resolution_images": True, "top_k": 1},
        hybrid={"enable_thinking": False},
        structured={"response_format": {"type": "json_object"}},
        cure="Keep GROUNDING_MIN_PIXELS and GROUNDING_MAX_PIXELS within what DashScope shows the "
        "model",
    ),
    "llamacpp": Server(
        bounds_in="nowhere",
        fields=NO_THINKING | {"cache_prompt": True},
        structured=_JSON_SCHEMA,
        penalty="repeat_penalty",
        cure="Start llama-server with --image-min-tokens and --image-max-tokens that enclose "
        "GROUNDING_MIN_PIXELS and GROUNDING_MAX_PIXELS, and --ctx-size of at least 8192 for each "
        "of its --parallel slots",
    ),
    "ollama": Server(
        bounds_in="nowhere",
        fields={"frequency_penalty": 0, "presence_penalty": 0},
        hybrid={"reasoning_effort": "none"},
        structured=_JSON_SCHEMA,
        penalty="",
        cure="Set OLLAMA_CONTEXT_LENGTH to at least 8192, since a shorter context cuts the prompt, "
        "and keep GROUNDING_MAX_PIXELS within 2097152, above which Ollama shrinks pictures",
    ),
    "generic": Server(
        bounds_in="nowhere",
        # `transformers serve` makes a repetition penalty of it, and takes the checkpoint's without.
        fields={"frequency_penalty": 0},
        structured=_JSON_SCHEMA,
        penalty="",
        cure="Name the server with GROUNDING_SERVER if it is one of those that it takes; else set "
        "its own pixel bounds, or GROUNDING_MIN_PIXELS and GROUNDING_MAX_PIXELS, so that its "
        "bounds enclose ours",
    ),
}


@dataclass(frozen=True, slots=True)
class RequestFormat:
    """What the settings fix for every request."""

    server: Server
    model: str
    min_pixels: int
    max_pixels: int
    encoding: Encoding = field(default_factory=Encoding)
    native: bool = False
    logprobs: bool = True
    structured: bool = False
    priority: bool = False
    repetition_penalty: float = 1.0

    @property
    def path(self) -> str:
        """Where requests are posted, under the base URL."""
        return NATIVE if self.native else CHAT

    def build_body(self, request: ModelRequest, uris: Sequence[str]) -> Body:
        """Return the request's JSON; `uris` are the data URIs of its views, in order."""
        bounds = self._enclose(request)
        fields = self._build_fields(request)
        if self.server.bounds_in == "request":
            fields["mm_processor_kwargs"] = bounds
        messages = self._build_messages(
            request, uris, bounds if self.server.bounds_in == "part" else {}
        )
        if self.native:
            fields["result_format"] = "message"
            return {"model": self.model, "input": {"messages": messages}, "parameters": fields}
        return {"model": self.model, "messages": messages, **fields}

    def _enclose(self, request: ModelRequest) -> Body:
        """Return pixel bounds that enclose ours and every view of the request."""
        areas = [view.pixels.width * view.pixels.height for view in request.views]
        return {
            "min_pixels": min([self.min_pixels, *areas]),
            "max_pixels": max([self.max_pixels, *areas]),
        }

    def _build_messages(
        self, request: ModelRequest, uris: Sequence[str], bounds: Body
    ) -> list[Body]:
        pictures = (self._wrap_picture(uri) | bounds for uri in uris)
        content = [
            self._wrap_text(part) if isinstance(part, str) else next(pictures)
            for part in request.runs
        ]
        user = {"role": "user", "content": content}
        if request.system is None:
            return [user]
        return [{"role": "system", "content": [self._wrap_text(request.system)]}, user]

    def _wrap_picture(self, uri: str) -> Body:
        return {"image": uri} if self.native else {"type": "image_url", "image_url": {"url": uri}}

    def _wrap_text(self, text: str) -> Body:
        words = plain_words(text)
        return {"text": words} if self.native else {"type": "text", "text": words}

    def _build_fields(self, request: ModelRequest) -> Body:
        fields: Body = {"temperature": 0, "seed": SEED, "max_tokens": request.max_new_tokens}
        fields |= self.server.fields
        if HYBRID.search(self.model):
            fields |= self.server.hybrid
        if request.stop:
            fields["stop"] = list(request.stop)
        if self.logprobs:
            fields["logprobs"] = True
        if self.server.penalty:
            fields[self.server.penalty] = self.repetition_penalty
        if self.structured and request.form == "places":
            fields |= self.server.structured
        if self.priority and self.server.priorities:
            fields["priority"] = self.server.priorities[request.priority]
        return fields


def plain_words(text: str) -> str:
    """Return `text` without control tokens: no text can end its own turn or start another."""
    while (shorter := CONTROL.sub("", text)) != text:
        text = shorter
    return text
