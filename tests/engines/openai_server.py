"""A small server that speaks OpenAI's chat completions and DashScope's own form, over real HTTP.

It runs a real engine: it decodes the pictures, resizes them as vLLM or DashScope would, within the
bounds that it reads where that server reads them, and answers with text, log-probabilities and
counts. It can also resize unasked, refuse fields, and answer with faults.
`python -m tests.engines.openai_server` serves the shapes checkpoint until it is ended.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from PIL import Image

from grounding.engines.base import Completion, Engine, ModelRequest
from grounding.geometry import PixelBounds, image_frame, model_frame
from grounding.testing import ask_one, make_view

Body = dict[str, Any]
Fault = Callable[["Handler"], None]
Bounds = tuple[int, int]

CHAT, NATIVE = "/v1/chat/completions", "/api/v1/services/aigc/multimodal-generation/generation"
KEY, MODEL = "sk-test", "qwen2.5-vl-shapes"


@dataclass(slots=True)
class Behaviour:
    """How the server behaves; tests change it while it runs.

    `reads` is where it looks for pixel bounds; `own` are its bounds where it finds none, by
    default those that leave every picture alone, and `forced` are bounds that it uses whatever a
    request says. It answers 400 to a request with one of the fields `refused`. `faults` are what
    it does instead of answering, one request each; `seen` are the bodies of all requests, and
    `most` is the most requests that it had at once.
    """

    reads: Literal["request", "part", "nowhere"] = "request"
    own: Bounds = (28 * 28, 16384 * 28 * 28)
    forced: Bounds | None = None
    refused: frozenset[str] = frozenset()
    logprobs: bool = True
    counts: bool = True
    faults: Iterator[Fault | None] = field(default_factory=lambda: iter(()))
    seen: list[Body] = field(default_factory=list)
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """What a request's messages hold; `bounds` are those in the picture's own part."""

    parts: list[Image.Image | str]
    system: str | None
    bounds: Mapping[str, Any]


class Server(ThreadingHTTPServer):
    """The server; `url` is the compatible API's base URL, `native_url` DashScope's."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, engine: Engine, behaviour: Behaviour, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.engine = engine
        self.behaviour = behaviour
        host = f"http://127.0.0.1:{self.server_port}"
        self.url, self.native_url = f"{host}/v1", f"{host}/api/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: clients hang up here on purpose."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server
    body: Body

    def do_POST(self) -> None:
        """Answer a request, or do what the next fault says."""
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        behaviour = self.server.behaviour
        with behaviour.lock:
            behaviour.seen.append(self.body)
            behaviour.now += 1
            behaviour.most = max(behaviour.most, behaviour.now)
            fault = next(behaviour.faults, None)
        try:
            (fault or Handler.answer)(self)
        finally:
            with behaviour.lock:
                behaviour.now -= 1

    def answer(self) -> None:
        """Answer the request, or refuse it as such servers do."""
        self.reply(*self._compute(self.body))

    def reply(self, status: int, body: Body, **headers: str) -> None:
        """Send JSON."""
        self.send(status, json.dumps(body).encode(), **headers)

    def send(self, status: int, data: bytes, length: int | None = None, **headers: str) -> None:
        """Send bytes, announced as `length` of them."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def _compute(self, body: Body) -> tuple[int, Body]:
        if self.headers["Authorization"] != f"Bearer {KEY}":
            return 401, _error("Incorrect API key provided", "invalid_api_key")
        if body["model"] != MODEL:
            return 404, _error(f"The model `{body['model']}` does not exist.", "model_not_found")
        behaviour, native = self.server.behaviour, self.path == NATIVE
        fields = body["parameters"] if native else body
        if found := behaviour.refused & fields.keys():
            return 400, _error(f"the field {sorted(found)[0]} is disabled", "BadRequestError")
        try:
            asked = _parse(body, native)
        except (KeyError, ValueError, OSError) as exc:
            return 400, _error(f"bad picture: {exc}", "invalid_request_error")
        completion = ask_one(self.server.engine, self._request(asked, fields))
        wanted = behaviour.logprobs and fields.get("logprobs", False)
        return 200, (_native if native else _chat)(completion, wanted, behaviour.counts)

    def _request(self, asked: ReceivedRequest, fields: Body) -> ModelRequest:
        """Return the engine's request, the pictures resized as this server does."""
        behaviour = self.server.behaviour
        bounds = fields.get("mm_processor_kwargs", {}) if behaviour.reads == "request" else {}
        bounds = asked.bounds if behaviour.reads == "part" else bounds
        used = behaviour.forced or _bounds(bounds, behaviour.own)
        parts = [
            one if isinstance(one, str) else make_view(_resized(one, used)) for one in asked.parts
        ]
        stop = tuple(fields.get("stop", ()))
        return ModelRequest(tuple(parts), fields["max_tokens"], asked.system, stop=stop)


def _parse(body: Body, native: bool) -> ReceivedRequest:
    """Return what a request asks."""
    *before, user = (body["input"] if native else body)["messages"]
    content = user["content"]
    parts = [part["text"] if "text" in part else _decode(_uri(part, native)) for part in content]
    system = before[0]["content"][0]["text"] if before else None
    first = next((part for part in content if "text" not in part), {})
    return ReceivedRequest(parts, system, first)


def _uri(part: Body, native: bool) -> str:
    uri: str = part["image"] if native else part["image_url"]["url"]
    return uri


def _decode(uri: str) -> Image.Image:
    data = base64.b64decode(uri.partition(";base64,")[2], validate=True)
    return Image.open(io.BytesIO(data)).convert("RGB")


def _bounds(sent: Mapping[str, Any], own: Bounds) -> Bounds:
    return sent.get("min_pixels", own[0]), sent.get("max_pixels", own[1])


def _resized(picture: Image.Image, bounds: Bounds) -> Image.Image:
    frame = model_frame(image_frame(*picture.size), PixelBounds(28, *bounds))
    return picture.resize((int(frame.width), int(frame.height)), Image.Resampling.BICUBIC)


def _choice(completion: Completion, content: Any, wanted: bool) -> Body:
    return {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "logprobs": {"content": _logprobs(completion)} if wanted else None,
        "finish_reason": "stop" if completion.complete else "length",
    }


def _logprobs(completion: Completion) -> list[Body]:
    """Return the tokens as OpenAI does, with the one that ended the answer, as vLLM does."""
    pieces = [(completion.text[t.start : t.end], t.logprob) for t in completion.tokens]
    if completion.complete:
        pieces.append(("<|im_end|>", -0.01))
    return [
        {"token": piece, "bytes": list(piece.encode()), "logprob": logprob, "top_logprobs": []}
        for piece, logprob in pieces
    ]


def _chat(completion: Completion, wanted: bool, counts: bool) -> Body:
    usage = {"prompt_tokens": completion.prompt_tokens, "completion_tokens": len(completion.tokens)}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [_choice(completion, completion.text, wanted)],
        "usage": usage if counts else None,
    }


def _native(completion: Completion, wanted: bool, counts: bool) -> Body:
    choice = _choice(completion, [{"text": completion.text}], wanted)
    usage = {"input_tokens": completion.prompt_tokens} if counts else {}
    return {"output": {"choices": [choice]}, "usage": usage, "request_id": "r-1"}


def _error(message: str, code: str) -> Body:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


def status(number: int, message: str = "no", code: str = "", **headers: str) -> Fault:
    """Return the fault of answering with an error status."""
    return lambda handler: handler.reply(number, _error(message, code), **headers)


def raw(data: bytes) -> Fault:
    """Return the fault of answering 200 with these bytes."""
    return lambda handler: handler.send(200, data)


def half(handler: Handler) -> None:
    """Send half of the announced body and hang up."""
    handler.send(200, b'{"choices": [{"mess', length=4000)
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def reset(handler: Handler) -> None:
    """Break the connection off with a TCP reset."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True
    handler.connection.close()


def drip(seconds: float, pause: float = 0.05) -> Fault:
    """Return the fault of a body whose bytes come one by one for so long."""

    def slowly(handler: Handler) -> None:
        handler.send(200, b"", length=10_000)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            handler.wfile.write(b" ")
            time.sleep(pause)
        handler.close_connection = True

    return slowly


@contextmanager
def serving(engine: Engine, behaviour: Behaviour) -> Iterator[Server]:
    """Serve `engine` on a free loopback port around the block."""
    server = Server(engine, behaviour)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Serve the shapes checkpoint on port 8000."""
    from grounding.engines.local.engine import LocalEngine
    from grounding.engines.local.loading import LoadOptions
    from grounding.settings import SHAPES

    engine = LocalEngine.load(str(SHAPES), LoadOptions(torch_threads=1))
    server = Server(engine, Behaviour(), 8000)
    print(f"{server.url} model {MODEL} key {KEY}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
