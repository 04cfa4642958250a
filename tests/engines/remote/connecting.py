"""What tests of the remote engine share."""

from __future__ import annotations

from typing import Any

from PIL import Image

from grounding.engines.base import Completion, Engine, ModelRequest, Priority
from grounding.engines.remote.engine import RemoteEngine
from grounding.factory import load_engine
from grounding.geometry import Frame
from grounding.queries import Locate, Shape
from grounding.qwen.queries.locate import write_prompt as wording
from grounding.settings import Settings
from grounding.testing import ask_one, make_view
from tests.engines.openai_server import KEY, MODEL, Server
from tools.shapes.scenes import Scene, scene

MIN_PIXELS, MAX_PIXELS = 12544, 19600
"""The shapes checkpoint's own bounds."""

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE


def settings(server: Server, /, **changes: Any) -> Settings:
    """Return settings for `server`, with PNG and a short time for retries."""
    chosen = {
        "engine": "openai",
        "server": "vllm",
        "openai_base_url": server.url,
        "openai_api_key": KEY,
        "model": MODEL,
        "min_pixels": MIN_PIXELS,
        "max_pixels": MAX_PIXELS,
        "image_format": "png",
        "server_retry_timeout": 30,
    }
    return Settings.load(**(chosen | changes))


def connect(server: Server, /, **changes: Any) -> RemoteEngine:
    """Return the engine that the settings choose for `server`."""
    engine = load_engine(settings(server, **changes), lambda **_: None)
    assert isinstance(engine, RemoteEngine)
    return engine


def make_request(
    seed: int, engine: Engine, *, priority: Priority = BULK, most: int = 128
) -> ModelRequest:
    """Return a request for the first thing in the scene of `seed`, of at most `most` tokens."""
    drawn: Scene = scene(seed)
    size = (140, 112) if seed % 2 else (112, 112)
    picture = drawn.draw().convert("RGB").resize(size, Image.Resampling.BICUBIC)
    text = _wording(drawn.things[0].name, engine, size)
    return ModelRequest((make_view(picture), text), most, priority=priority)


def ask(engine: Engine, seed: int, *, most: int = 128) -> Completion:
    """Return the engine's completion of one request."""
    return ask_one(engine, make_request(seed, engine, most=most))


def _wording(name: str, engine: Engine, size: tuple[int, int]) -> str:
    """Return our own words for finding boxes of `name`."""
    frame = engine.profile.answer_frame(Frame("model", *size))
    return wording(Locate(Shape.BOX, classes=(name,)), frame, engine.profile.prompts)
