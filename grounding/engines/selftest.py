"""Tests an engine on known pictures: does the model see what is sent, and point where it is?

There are two pictures of one red circle each, of the smallest size that is sent and of the
largest. Their prompts differ by image tokens alone, so the difference of the token counts that
the engine reports equals that of the two grids, unless the pictures were resized on the way.

A model that sees the pictures finds both circles, so an answer without a box is a fault, and so is
one that does not end: it tells of structured output, thinking or a wrong chat template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from PIL import Image, ImageDraw

from grounding.engines.base import Completion, Engine, ModelRequest, Priority
from grounding.errors import EngineError, GroundingError
from grounding.geometry import Box, Frame, image_frame, model_frame
from grounding.media.views import View
from grounding.queries import Locate, Shape
from grounding.qwen.answers import read
from grounding.qwen.profiles import Profile
from grounding.qwen.queries.locate import write_prompt

NAME, RED, PAPER = "red circle", (220, 30, 30), (245, 245, 245)
RIGHT = 0.5
"""The IoU from which a box is right. A wrong frame gives less, as `_draw_circle` explains."""

MAX_NEW_TOKENS = 256
SHOWN = 60
"""Characters of an answer that a fault quotes."""

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
    """A view, where its one circle is, and how many image tokens the model makes of it."""

    view: View
    truth: Box
    tokens: int


def self_test(
    engine: Engine,
    *,
    cure: str = "See the worker's log",
    structured: bool = False,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> SelfTestReport:
    """Ask `engine` about two known pictures; `cure` is what to do where they are resized.

    `structured` says that the server is told to hold answers to their form. `max_new_tokens` is
    what tasks ask for: a server whose context is shorter refuses the larger picture, too. Raises
    what the engine's futures raise.
    """
    pair = make_trials(engine.profile)
    futures = engine.submit([_make_request(one, engine.profile, max_new_tokens) for one in pair])
    completions = [future.result() for future in futures]
    small, large = pair
    expected, seen = large.tokens - small.tokens, _subtract_counts(completions)
    overlaps = [
        _measure_overlap(completion, one, engine.profile)
        for completion, one in zip(completions, pair, strict=True)
    ]
    lines = (*_describe_sizes(pair, overlaps), _describe_counts(expected, seen))
    if seen is not None and seen != expected:
        return SelfTestReport(lines, _describe_resizing(expected, seen), cure)
    for completion, overlap in zip(completions, overlaps, strict=True):
        if overlap is None or not completion.complete:
            fault, remedy = _explain_no_box(completion, structured=structured)
            # Without counts, a picture that was shrunk may be why the circle is not seen.
            return SelfTestReport(lines, fault, remedy if seen else f"{remedy}. {cure}")
    if (worst := min(overlap or 0 for overlap in overlaps)) < RIGHT:
        family = f"Check that GROUNDING_PROFILE is the model's family ({engine.profile.name}?)"
        fault = f"the box of a {NAME} is beside it (IoU {worst:.2f})"
        return SelfTestReport(lines, fault, f"{family}. {cure}")
    return SelfTestReport(lines)


def shows_print(engine: Engine) -> bool:
    """Say whether the model sees the largest view that is read as it is sent.

    Such views are larger than others, and a server may resize what exceeds its own bounds. One that
    gives no counts, or fails, is taken to do so.
    """
    profile = engine.profile
    small, large = make_trials(profile.for_print())
    futures = engine.submit([_make_request(one, profile) for one in (small, large)])
    try:
        completions = [future.result() for future in futures]
    except GroundingError:
        return False
    return _subtract_counts(completions) == large.tokens - small.tokens


def make_trials(profile: Profile) -> tuple[Trial, Trial]:
    """Return the smallest picture that is sent to a model of `profile`, and the largest.

    The smallest is square and the largest is wide, so that swapped sides show as well.
    """
    square = model_frame(image_frame(1, 1), profile.bounds)
    wide = model_frame(image_frame(*LARGE), profile.bounds)
    return _draw_circle(square, profile.factor), _draw_circle(wide, profile.factor)


def _draw_circle(frame: Frame, factor: int) -> Trial:
    """Draw a circle near the far corner, where a wrong scale moves it most."""
    width, height = int(frame.width), int(frame.height)
    side = min(width, height) * 2 // 5
    right, low = width - width // 12, height - height // 12
    corners = (right - side, low - side, right, low)
    picture = Image.new("RGB", (width, height), PAPER)
    ImageDraw.Draw(picture).ellipse(corners, fill=RED)
    truth = Box.spanning(corners[:2], corners[2:], frame)
    view = View(picture, frame, image_frame(width, height))
    return Trial(view, truth, (width // factor) * (height // factor))


def _make_request(
    one: Trial, profile: Profile, max_new_tokens: int = MAX_NEW_TOKENS
) -> ModelRequest:
    frame = profile.answer_frame(one.truth.frame)
    text = write_prompt(Locate(Shape.BOX, classes=(NAME,)), frame, profile.prompts)
    return ModelRequest(
        (one.view, text), max_new_tokens, priority=Priority.INTERACTIVE, form="places"
    )


def _measure_overlap(completion: Completion, one: Trial, profile: Profile) -> float | None:
    """Return the IoU of the best box in the answer, None where it has no box."""
    frame = profile.answer_frame(one.truth.frame)
    found = read(completion.text, frame, completion.complete).findings
    boxes = [d.place.to(one.truth.frame) for d in found if isinstance(d.place, Box)]
    return max((box.iou(one.truth) for box in boxes), default=None)


def _subtract_counts(completions: list[Completion]) -> int | None:
    small, large = (completion.prompt_tokens for completion in completions)
    return None if small is None or large is None else large - small


def _describe_sizes(pictures: tuple[Trial, ...], overlaps: list[float | None]) -> list[str]:
    return [
        f"{one.view.pixels.width}×{one.view.pixels.height}: {one.tokens} picture tokens, "
        + ("no box" if overlap is None else f"IoU {overlap:.2f}")
        for one, overlap in zip(pictures, overlaps, strict=True)
    ]


def _describe_counts(expected: int, seen: int | None) -> str:
    found = "the server tells no counts" if seen is None else f"counted {seen}"
    return f"tokens between the two: expected {expected}, {found}"


def _describe_resizing(expected: int, seen: int) -> str:
    return (
        "the server resizes our pictures: the model saw other sizes than were sent "
        f"({seen} instead of {expected} tokens between the smallest and the largest)"
    )


THINKING = re.compile(r"\s*<think")

STRUCTURED = (
    "Set GROUNDING_STRUCTURED_OUTPUT=false, or start vLLM with "
    """--structured-outputs-config '{"backend": "guidance"}'"""
)
INSTRUCT = "Switch thinking off in the server's chat template, or serve an Instruct checkpoint"
TEMPLATE = (
    "Check that the server uses the checkpoint's own chat template, with the picture before the "
    "words, and that MODEL is a Qwen-VL checkpoint"
)


def _explain_no_box(completion: Completion, *, structured: bool) -> tuple[str, str]:
    """Return the fault of an answer without a box or without an end, and its cure."""
    words = " ".join(completion.text.split())
    shown = words if len(words) <= SHOWN else f"{words[:SHOWN]}…"
    if structured:
        how = "no box" if completion.complete else "no end"
        return f"structured output gives an answer with {how} ({shown!r})", STRUCTURED
    if THINKING.match(completion.text):
        return f"the model thinks instead of answering ({shown!r})", INSTRUCT
    if not words:
        return f"the answer about a {NAME} is empty", f"{INSTRUCT}. {TEMPLATE}"
    if not completion.complete:
        return f"the answer about one {NAME} does not end ({shown!r})", TEMPLATE
    return f"the model finds no {NAME} where one is: it says {shown!r}", TEMPLATE
