"""A model that does what a picture's colour says: red is the deed, green and blue the number.

No setting of the product selects it: the tests start workers through their own `worker.py`.
"""

from __future__ import annotations

import base64
import ctypes
import io
import json
import os
import signal
import time
from collections.abc import Sequence
from enum import IntEnum

from PIL import Image

from grounding.engines.base import Completion, ModelRequest
from grounding.engines.local.scheduler import Watchdog
from grounding.errors import DeviceBroken, OutOfMemory
from grounding.qwen.profiles import PROFILES
from grounding.testing import ScriptedEngine

SIDE = 280
"""Side of a picture in pixels, which the model sees unscaled."""
HANG_SECONDS = 600
PROFILE = PROFILES["qwen2.5-vl"].bounded(min_pixels=SIDE**2, max_pixels=SIDE**2)


class Deed(IntEnum):
    """What the model does at a picture."""

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
"""Bytes that the model keeps for good with each picture that makes it grow."""
_kept: list[bytes] = []


def picture(number: int, deed: Deed = Deed.ANSWER) -> str:
    """Return a picture that carries `number`, below 40,000, as a data URI."""
    image = Image.new("P", (SIDE, SIDE))  # of one colour: in a fifth of the time that RGB takes
    image.putpalette([deed, number // 256, number % 256])
    data = io.BytesIO()
    image.save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def number_of(prediction: dict[str, object]) -> int:
    """Return the number of the picture that a prediction answers, read from its box."""
    (region,) = prediction["result"]  # type: ignore[misc]
    value = region["value"]
    width, height = (round(value[side] * SIDE / 100) for side in ("width", "height"))
    return (height - 10) * 200 + width - 10


def engine(calls: str, *, seconds: float, job_timeout: float) -> ScriptedEngine:
    """Return the engine; its batches take `seconds`, each call adds `pid number` to `calls`."""

    def answer(batch: Sequence[ModelRequest]) -> list[Completion]:
        orders = [_read_order(request) for request in batch]
        _note(calls, [number for _, number in orders])
        if any(deed is Deed.OVERFLOW for deed, _ in orders):
            raise OutOfMemory("no room for this picture")
        time.sleep(seconds)
        for deed, _ in orders:
            _do(deed)
        return [
            Completion(_words(deed, number), complete=deed is not Deed.STOP_SHORT)
            for deed, number in orders
        ]

    return ScriptedEngine(answer, PROFILE, watchdog=Watchdog(job_timeout))


def _read_order(request: ModelRequest) -> tuple[Deed, int]:
    """Return what the picture says: the deed, and the number."""
    red, green, blue = request.views[0].pixels.getpixel((0, 0))  # type: ignore[misc]
    return Deed(red), green * 256 + blue


def _note(calls: str, numbers: Sequence[int]) -> None:
    lines = "".join(f"{os.getpid()} {number}\n" for number in numbers)
    file = os.open(calls, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, lines.encode())
    os.close(file)


def _do(deed: Deed) -> None:
    match deed:
        case Deed.FAIL:
            raise ZeroDivisionError("scripted")
        case Deed.HANG:
            ctypes.PyDLL(None).sleep(HANG_SECONDS)  # native code that keeps the interpreter's lock
        case Deed.DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        case Deed.BREAK:
            raise DeviceBroken("scripted")
        case Deed.GROW:
            _kept.append(b"x" * GROWTH)


def _words(deed: Deed, number: int) -> str:
    if deed is Deed.BABBLE:
        return "I would rather not say"
    box = [0, 0, 10 + number % 200, 10 + number // 200]
    words = json.dumps([{"bbox_2d": box, "label": "cat"}])
    return f'{words[:-1]}, {{"bbox_2d": [3, 4' if deed is Deed.STOP_SHORT else words
