"""What tests of the engine behind HTTP share."""

from __future__ import annotations

from typing import Any

from PIL import Image

from grounding.engines.base import Engine, ModelRequest
from grounding.engines.remote.engine import RemoteEngine
from grounding.factory import load_engine
from grounding.geometry import Frame
from grounding.queries import Locate, Shape
from grounding.qwen.prompts import question as wording
from grounding.settings import Settings
from tests.openai_server import KEY, MODEL, Server
from tools.shapes.scenes import Scene, scene

MIN_PIXELS, MAX_PIXELS = 12544, 19600
"""The shapes checkpoint's own bounds."""


def settings(server: Server, /, **changes: Any) -> Settings:
    """Return settings for `server`, with PNG and short patience."""
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


def question(seed: int, engine: Engine, *, urgent: bool = False, most: int = 128) -> ModelRequest:
    """Return a question about the scene of `seed`, whose first thing is asked for."""
    drawn: Scene = scene(seed)
    size = (140, 112) if seed % 2 else (112, 112)
    picture = drawn.draw().convert("RGB").resize(size, Image.Resampling.BICUBIC)
    return ModelRequest(picture, asking(drawn.things[0].name, engine, size), most, urgent)


def asking(name: str, engine: Engine, size: tuple[int, int]) -> str:
    """Return our own words for finding boxes of `name`."""
    frame = engine.profile.answer_frame(Frame("model", *size))
    return wording(Locate(Shape.BOX, classes=(name,)), frame, engine.profile.prompts)
