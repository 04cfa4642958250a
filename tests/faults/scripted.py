"""A model that the colour of a picture controls: red is the behavior, green and blue the number.

No setting selects it: the tests start workers through their own `worker.py`.
"""

from __future__ import annotations

import base64
import ctypes
import io
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from PIL import Image

from grounding.engines.base import Completion, ModelRequest
from grounding.engines.local.scheduler import Watchdog
from grounding.errors import DeviceBroken, OutOfMemory
from grounding.qwen.profiles import PROFILES
from grounding.testing import ScriptedEngine

SIDE = 280
"""Side of a picture in pixels; the model sees it unscaled."""
HANG_SECONDS = 600
PROFILE = PROFILES["qwen2.5-vl"].bounded(min_pixels=SIDE**2, max_pixels=SIDE**2)


class Behavior(IntEnum):
    """What the model does with a picture."""

    ANSWER = 0
    BABBLE = 1
    FAIL = 2
    HANG = 3
    DIE = 4
    OVERFLOW = 5
    BREAK = 6
    STOP_SHORT = 7
    GROW = 8


GROWTH = 10 * 2**20
"""Bytes that each picture with `GROW` adds to the memory for good."""
_kept: list[bytes] = []


def picture(number: int, behavior: Behavior = Behavior.ANSWER) -> str:
    """Return a picture that encodes `number`, below 40,000, as a data URI."""
    image = Image.new("P", (SIDE, SIDE))  # a palette takes a fifth of the time of RGB
    image.putpalette([behavior, number // 256, number % 256])
    data = io.BytesIO()
    image.save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def number_of(prediction: Mapping[str, Any]) -> int:
    """Return the number that the box of a prediction encodes."""
    (region,) = prediction["result"]
    value = region["value"]
    width, height = (round(float(value[side]) * SIDE / 100) for side in ("width", "height"))
    return (height - 10) * 200 + width - 10


def engine(calls: str, *, seconds: float, job_timeout: float) -> ScriptedEngine:
    """Return the engine; its batches take `seconds`, each call adds `pid number` to `calls`."""

    def answer(batch: Sequence[ModelRequest]) -> list[Completion]:
        orders = [_read_order(request) for request in batch]
        _note(calls, [number for _, number in orders])
        if any(behavior is Behavior.OVERFLOW for behavior, _ in orders):
            raise OutOfMemory("no room for this picture")
        time.sleep(seconds)
        for behavior, _ in orders:
            _do(behavior)
        return [
            Completion(_text(behavior, number), complete=behavior is not Behavior.STOP_SHORT)
            for behavior, number in orders
        ]

    return ScriptedEngine(answer, PROFILE, watchdog=Watchdog(job_timeout))


def _read_order(request: ModelRequest) -> tuple[Behavior, int]:
    """Return what the picture says: the behavior, and the number."""
    red, green, blue = request.views[0].pixels.getpixel((0, 0))  # type: ignore[misc]
    return Behavior(red), green * 256 + blue


def _note(calls: str, numbers: Sequence[int]) -> None:
    lines = "".join(f"{os.getpid()} {number}\n" for number in numbers)
    file = os.open(calls, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, lines.encode())
    os.close(file)


def _do(behavior: Behavior) -> None:
    match behavior:
        case Behavior.FAIL:
            raise ZeroDivisionError("scripted")
        case Behavior.HANG:
            ctypes.PyDLL(None).sleep(HANG_SECONDS)  # native code that holds the interpreter's lock
        case Behavior.DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        case Behavior.BREAK:
            raise DeviceBroken("scripted")
        case Behavior.GROW:
            _kept.append(b"x" * GROWTH)


def _text(behavior: Behavior, number: int) -> str:
    if behavior is Behavior.BABBLE:
        return "I would rather not say"
    box = [0, 0, 10 + number % 200, 10 + number // 200]
    text = json.dumps([{"bbox_2d": box, "label": "cat"}])
    return f'{text[:-1]}, {{"bbox_2d": [3, 4' if behavior is Behavior.STOP_SHORT else text
