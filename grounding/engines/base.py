"""What every engine promises: model requests in, a future of the model's words for each.

An engine knows pixels and text. It knows no labels, boxes or Label Studio, and imports nothing
heavy here, so that a web process can name these types without loading torch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from grounding.errors import GroundingError, ImageError

if TYPE_CHECKING:
    from grounding.media.views import View
    from grounding.qwen.profiles import Profile

T = TypeVar("T")


AnswerForm = Literal["free", "places"]
"""What an answer may be held to: nothing, or a JSON list of boxes and points."""


class Priority(IntEnum):
    """Who waits for an answer; the lower number is served first."""

    INTERACTIVE = 0
    BULK = 1


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One thing to ask of the model: views, and the text about them.

    `parts` are views and texts in the order in which the model reads them, a text last; texts that
    follow each other form one. A view's pixels are RGB and both sides are multiples of the
    profile's factor, so that no engine resizes them. No text can carry control tokens: engines
    drop them, but for those around a tool's call in a `system` text, which replaces the system
    prompt of the chat template. The answer ends after
    `max_new_tokens` tokens, or before the first of the `stop` texts. A server may be told to hold
    the answer to its `form`. `template` is a text that the answer may resemble: it changes no
    answer, but may speed it up. `on_text` is called by an engine that writes by itself, in its
    thread, with the text so far, each time it has grown; it has to return at once. At `deadline`,
    seconds of `time.monotonic`, nobody waits for the answer any more. Raises `ValueError` where no
    text is last or the budget is below 1.
    """

    parts: tuple[View | str, ...]
    max_new_tokens: int
    system: str | None = None
    priority: Priority = Priority.BULK
    stop: tuple[str, ...] = ()
    form: AnswerForm = "free"
    template: str = ""
    on_text: Callable[[str], None] | None = field(default=None, compare=False)
    deadline: float = field(default=math.inf, compare=False)

    def __post_init__(self) -> None:
        """Check what the types cannot express."""
        if not self.parts or not isinstance(self.parts[-1], str):
            raise ValueError("the text of a request comes after its views")
        if self.max_new_tokens < 1:
            raise ValueError("a request allows at least one new token")

    @property
    def views(self) -> tuple[View, ...]:
        """The views, in order."""
        return tuple(part for part in self.parts if not isinstance(part, str))

    @property
    def text(self) -> str:
        """The texts, joined."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def runs(self) -> tuple[View | str, ...]:
        """The parts, with texts that follow each other joined."""
        runs: list[View | str] = []
        for part in self.parts:
            if isinstance(part, str) and runs and isinstance(runs[-1], str):
                runs[-1] += part
            else:
                runs.append(part)
        return tuple(runs)

    def check(self, factor: int) -> None:
        """Raise `ImageError` unless all pixels are RGB, their sides multiples of `factor`."""
        for view in self.views:
            image = view.pixels
            if image.mode != "RGB" or any(side % factor for side in image.size):
                raise ImageError(
                    f"the engine got {image.mode} pixels of {image.width}×{image.height}",
                    code="image_not_prepared",
                    hint=f"Send RGB whose sides are multiples of {factor}",
                )


@dataclass(frozen=True, slots=True)
class Token:
    """One token that the model wrote: its half-open character range and natural log-probability.

    A character may take several tokens; each of them then has that character in its range.
    """

    start: int
    end: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Completion:
    """The model's words: `text`, whether it ended by itself, and its tokens in order.

    `complete` is False where the text was cut at `max_new_tokens`, or where it went in circles.
    `tokens` is empty where the engine gives no probabilities. `prompt_tokens` counts what the
    model read, views and words; None where the engine does not report it.
    """

    text: str
    complete: bool
    tokens: tuple[Token, ...] = ()
    prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a model is loaded; `done` is a share from 0 to 1, None where it is unknown."""

    phase: Literal["downloading", "loading", "ready"]
    done: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """How full the memory of the model's device is, in bytes, whoever uses it."""

    device: str
    used: int
    total: int


@runtime_checkable
class OnDevice(Protocol):
    """An engine whose model is on a device of this machine."""

    def memory(self) -> DeviceMemory | None:
        """Return how full the device is; None where it does not tell."""
        ...


class Engine(Protocol):
    """A model that answers requests. All methods may be called from many threads at once."""

    @property
    def profile(self) -> Profile:
        """What the model's numbers mean, and how large its views may be."""
        ...

    def submit(self, requests: Sequence[ModelRequest]) -> list[Future[Completion]]:
        """Return a future for each request, in order; returns at once and never raises.

        Interactive requests are served before bulk ones, and equals in the order of submission.
        A future raises `TaskError` where the model cannot take this request, `EngineError`
        where the model cannot be reached or the engine is closed, `OutOfMemory` where the view
        does not fit the device's memory, `DeadlinePassed` where its deadline came first and the
        model is here. `cancel()` works until the outcome is set: a waiting
        request is dropped, a running one is evicted at the model's next token. The futures
        never report `running()`.
        """
        ...

    def drain(self) -> None:
        """Stop waiting for the model's recovery: from now on a failed try is final."""
        ...

    def close(self) -> None:
        """End the engine and its threads; what waits or runs fails with `EngineError`.

        Returns when the threads have ended. A second call does nothing.
        """
        ...


def resolve(future: Future[T], outcome: T | GroundingError) -> None:
    """Set the outcome of `future`; does nothing if it is cancelled or set already.

    An error is copied, because one object raised in two threads mixes their tracebacks.
    """
    with suppress(InvalidStateError):
        if isinstance(outcome, GroundingError):
            future.set_exception(copy.copy(outcome))
        else:
            future.set_result(outcome)


def on_cancel(future: Future[Any], act: Callable[[], None]) -> None:
    """Call `act` in the canceller's thread once `future` is cancelled.

    Also lets `concurrent.futures.wait` see the cancelled future as done, which it does only after
    the future's owner has acknowledged the cancellation.
    """

    def acknowledge(done: Future[Any]) -> None:
        if done.cancelled():
            done.set_running_or_notify_cancel()
            act()

    future.add_done_callback(acknowledge)
