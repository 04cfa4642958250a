"""What every engine promises: one question in, the model's words out.

An engine knows pixels and text. It knows no labels, boxes or Label Studio, and imports nothing
heavy here, so that a web process can name these types without loading torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from grounding.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from grounding.qwen.profiles import Profile


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One picture and what to ask about it.

    `pixels` is RGB and has exactly the size of the model frame: both sides are multiples of the
    profile's factor, so that no engine resizes again. `text` is put to the model as plain words;
    it cannot carry control tokens. The answer stops after `max_new_tokens`
    tokens, at least 1. With `urgent` a person waits for it.
    """

    pixels: Image
    text: str
    max_new_tokens: int
    urgent: bool = False

    def check(self, factor: int) -> None:
        """Raise `ImageError` unless the pixels are RGB, their sides multiples of `factor`."""
        image = self.pixels
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

    `complete` is False where the text was cut at `max_new_tokens`. `tokens` is empty where the
    engine gives no probabilities. `prompt_tokens` counts what the model read, picture and words;
    None where the engine does not tell.
    """

    text: str
    complete: bool
    tokens: tuple[Token, ...] = ()
    prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a model is on its way into memory; `done` is 0..1, or None where not known."""

    phase: Literal["downloading", "loading", "ready"]
    done: float | None = None
    detail: str = ""


class Engine(Protocol):
    """A model that answers questions about pictures."""

    @property
    def profile(self) -> Profile:
        """What the model's numbers mean, and how large its pictures may be."""
        ...

    def ask(self, question: ModelRequest) -> Completion:
        """Return the model's reply; blocks, and may be called from many threads at once.

        Raises `TaskError` where this question cannot be put to the model, `EngineError` where
        the model cannot be asked at present, `OutOfMemory` where the picture has no room.
        """
        ...

    def drain(self) -> None:
        """Wait for no better times from now on: what cannot be asked at once fails."""
        ...

    def close(self) -> None:
        """End the engine; what still waits fails with `EngineError`."""
        ...
