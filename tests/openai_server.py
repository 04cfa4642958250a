"""A small server that speaks OpenAI's chat completions and DashScope's own form, over real HTTP.

It runs a real engine: decodes the picture, resizes it as vLLM or DashScope would within the bounds
that it was told where that server reads them, and answers with text, log-probabilities and counts.
It can resize behind our back, and answer with faults. `python -m tests.openai_server` serves the
shapes checkpoint until it is ended.
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
from grounding.geometry import image_frame, model_frame

Body = dict[str, Any]
Fault = Callable[["Handler"], None]
Bounds = tuple[int, int]

CHAT, NATIVE = "/v1/chat/completions", "/api/v1/services/aigc/multimodal-generation/generation"
KEY, MODEL = "sk-test", "qwen2.5-vl-shapes"


@dataclass(slots=True)
class Behaviour:
    """How the server behaves; tests change it while it runs.

    `reads` is where it looks for pixel bounds; `own` are its bounds where it finds none, by
    default those that leave every picture alone, and `behind` are bounds that it uses whatever it
    was told. `faults` are what it does instead of answering, one request each; `seen` are the
    bodies that it got and `most` how many it had at once.
    """

    reads: Literal["request", "part", "nowhere"] = "request"
    own: Bounds = (28 * 28, 16384 * 28 * 28)
    behind: Bounds | None = None
    logprobs: bool = True
    counts: bool = True
    faults: Iterator[Fault | None] = field(default_factory=lambda: iter(()))
    seen: list[Body] = field(default_factory=list)
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


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
        """Answer a question, or do what the next fault says."""
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        how = self.server.behaviour
        with how.lock:
            how.seen.append(self.body)
            how.now += 1
            how.most = max(how.most, how.now)
            fault = next(how.faults, None)
        try:
            (fault or Handler.answer)(self)
        finally:
            with how.lock:
                how.now -= 1

    def answer(self) -> None:
        """Answer the question, or refuse it as such servers do."""
        self.reply(*self._answered(self.body))

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

    def _answered(self, body: Body) -> tuple[int, Body]:
        if self.headers["Authorization"] != f"Bearer {KEY}":
            return 401, _error("Incorrect API key provided", "invalid_api_key")
        if body["model"] != MODEL:
            return 404, _error(f"The model `{body['model']}` does not exist.", "model_not_found")
        native = self.path == NATIVE
        try:
            picture, text, said = _parts(body, native)
        except (KeyError, ValueError, OSError) as exc:
            return 400, _error(f"bad picture: {exc}", "invalid_request_error")
        how = self.server.behaviour
        fields = body["parameters"] if native else body
        told = fields.get("mm_processor_kwargs", {}) if how.reads == "request" else {}
        told = said if how.reads == "part" else told
        seen = _resized(picture, how.behind or _bounds(told, how.own))
        question = ModelRequest(seen, text, fields["max_tokens"])
        reply = self.server.engine.ask(question)
        wanted = how.logprobs and fields.get("logprobs", False)
        return 200, (_native if native else _chat)(reply, wanted, how.counts)


def _parts(body: Body, native: bool) -> tuple[Image.Image, str, Mapping[str, Any]]:
    """Return the picture, the text, and what the picture's part says besides."""
    (message,) = body["input"]["messages"] if native else body["messages"]
    first, second = message["content"]
    uri = first["image"] if native else first["image_url"]["url"]
    data = base64.b64decode(uri.partition(";base64,")[2], validate=True)
    return Image.open(io.BytesIO(data)).convert("RGB"), second["text"], first


def _bounds(told: Mapping[str, Any], own: Bounds) -> Bounds:
    return told.get("min_pixels", own[0]), told.get("max_pixels", own[1])


def _resized(picture: Image.Image, bounds: Bounds) -> Image.Image:
    frame = model_frame(image_frame(*picture.size), 28, *bounds)
    return picture.resize((int(frame.width), int(frame.height)), Image.Resampling.BICUBIC)


def _choice(reply: Completion, content: Any, wanted: bool) -> Body:
    return {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "logprobs": {"content": _logprobs(reply)} if wanted else None,
        "finish_reason": "stop" if reply.complete else "length",
    }


def _logprobs(reply: Completion) -> list[Body]:
    """Return the tokens as OpenAI does, with the one that ended the answer, as vLLM does."""
    pieces = [(reply.text[t.start : t.end], t.logprob) for t in reply.tokens]
    if reply.complete:
        pieces.append(("<|im_end|>", -0.01))
    return [
        {"token": piece, "bytes": list(piece.encode()), "logprob": logprob, "top_logprobs": []}
        for piece, logprob in pieces
    ]


def _chat(reply: Completion, wanted: bool, counts: bool) -> Body:
    usage = {"prompt_tokens": reply.prompt_tokens, "completion_tokens": len(reply.tokens)}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [_choice(reply, reply.text, wanted)],
        "usage": usage if counts else None,
    }


def _native(reply: Completion, wanted: bool, counts: bool) -> Body:
    choice = _choice(reply, [{"text": reply.text}], wanted)
    usage = {"input_tokens": reply.prompt_tokens} if counts else {}
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
    from grounding.settings import SHAPES

    server = Server(LocalEngine.load(str(SHAPES), torch_threads=1), Behaviour(), 8000)
    print(f"{server.url} model {MODEL} key {KEY}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
