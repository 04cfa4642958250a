"""Asks a picture whose answer is known: does the model see what is sent, and point where it is?

Two pictures of one red circle each are asked, one of the smallest size that is sent and one of
the largest. Their prompts differ by picture tokens alone, so the difference of the counts that
the engine reports is that of the two grids, unless somebody resized on the way.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageDraw

from grounding.engines.base import Completion, Engine, ModelRequest
from grounding.errors import EngineError
from grounding.geometry import Box, Frame, image_frame, model_frame
from grounding.queries import Locate, Shape
from grounding.qwen.answers import read
from grounding.qwen.profiles import Profile
from grounding.qwen.prompts import question

NAME, RED, PAPER = "red circle", (220, 30, 30), (245, 245, 245)
RIGHT = 0.5
"""The IoU from which a box is right. A wrong frame gives less: see `_circle`."""

MAX_NEW_TOKENS = 256
LARGE = (40_000, 30_000)
"""A picture above every upper bound, in pixels."""


@dataclass(frozen=True, slots=True)
class SelfTestReport:
    """What the self-test found: `fault` in words, empty where all is well, and its `cure`.

    `lines` say what was measured.
    """

    lines: tuple[str, ...]
    fault: str = ""
    cure: str = ""

    def check(self) -> None:
        """Raise `EngineError` (code `self_test_failed`) where there is a fault."""
        if self.fault:
            raise EngineError(
                f"self-test: {self.fault}",
                code="self_test_failed",
                hint=f"{self.cure}. GROUNDING_SELF_TEST=warn serves it all the same",
            )


@dataclass(frozen=True, slots=True)
class Trial:
    """A picture, where its one circle is, and how many image tokens the model makes of it."""

    picture: Image.Image
    truth: Box
    tokens: int


def self_test(engine: Engine, *, cure: str = "See the worker's log") -> SelfTestReport:
    """Ask `engine` about two known pictures; `cure` is what to do where they are resized.

    Raises what `engine.ask` raises.
    """
    small, large = trials(engine.profile)
    replies = [_ask(engine, one) for one in (small, large)]
    expected, seen = large.tokens - small.tokens, _difference(replies)
    overlaps = [
        _overlap(reply, one, engine.profile)
        for reply, one in zip(replies, (small, large), strict=True)
    ]
    lines = (*_sizes((small, large), overlaps), _counts(expected, seen))
    if seen is not None and seen != expected:
        return SelfTestReport(lines, _resized(expected, seen), cure)
    if fault := _misplaced(overlaps, proven=seen is not None and expected > 0):
        hint = (
            f"Check that GROUNDING_PROFILE is the model's family ({engine.profile.name}?). {cure}"
        )
        return SelfTestReport(lines, fault, hint)
    return SelfTestReport(lines)


def trials(profile: Profile) -> tuple[Trial, Trial]:
    """Return the smallest picture that is sent to a model of `profile`, and the largest.

    The smallest is square and the largest lying, so that sides that are mixed up show as well.
    """
    square = model_frame(image_frame(1, 1), *_bounds(profile))
    lying = model_frame(image_frame(*LARGE), *_bounds(profile))
    return _circle(square, profile.factor), _circle(lying, profile.factor)


def _bounds(profile: Profile) -> tuple[int, int, int]:
    return profile.factor, profile.min_pixels, profile.max_pixels


def _circle(frame: Frame, factor: int) -> Trial:
    """Draw a circle near the far corner, where a wrong scale moves it most."""
    width, height = int(frame.width), int(frame.height)
    side = min(width, height) * 2 // 5
    right, low = width - width // 12, height - height // 12
    corners = (right - side, low - side, right, low)
    picture = Image.new("RGB", (width, height), PAPER)
    ImageDraw.Draw(picture).ellipse(corners, fill=RED)
    truth = Box.spanning(corners[:2], corners[2:], frame)
    return Trial(picture, truth, (width // factor) * (height // factor))


def _ask(engine: Engine, one: Trial) -> Completion:
    frame = engine.profile.answer_frame(one.truth.frame)
    text = question(Locate(Shape.BOX, classes=(NAME,)), frame, engine.profile.prompts)
    return engine.ask(ModelRequest(one.picture, text, MAX_NEW_TOKENS, urgent=True))


def _overlap(reply: Completion, one: Trial, profile: Profile) -> float | None:
    """Return the IoU of the best box in the reply, None where it has no box."""
    found = read(reply.text, profile.answer_frame(one.truth.frame), reply.complete).detections
    boxes = [d.place.to(one.truth.frame) for d in found if isinstance(d.place, Box)]
    return max((box.iou(one.truth) for box in boxes), default=None)


def _difference(replies: list[Completion]) -> int | None:
    small, large = (reply.prompt_tokens for reply in replies)
    return None if small is None or large is None else large - small


def _sizes(pictures: tuple[Trial, ...], overlaps: list[float | None]) -> list[str]:
    return [
        f"{one.picture.width}×{one.picture.height}: {one.tokens} picture tokens, "
        + ("no box" if overlap is None else f"IoU {overlap:.2f}")
        for one, overlap in zip(pictures, overlaps, strict=True)
    ]


def _counts(expected: int, seen: int | None) -> str:
    found = "the server tells no counts" if seen is None else f"counted {seen}"
    return f"tokens between the two: expected {expected}, {found}"


def _resized(expected: int, seen: int) -> str:
    return (
        "the server resizes our pictures: the model saw other sizes than were sent "
        f"({seen} instead of {expected} tokens between the smallest and the largest)"
    )


def _misplaced(overlaps: list[float | None], *, proven: bool) -> str:
    """Say what is wrong with the boxes; a model that finds no circle is right if counts say so."""
    found = [overlap for overlap in overlaps if overlap is not None]
    if any(overlap < RIGHT for overlap in found):
        return f"the box of a {NAME} is beside it (IoU {min(found):.2f})"
    if not found and not proven:
        return f"the model found no {NAME}, and the server tells no token counts"
    return ""
