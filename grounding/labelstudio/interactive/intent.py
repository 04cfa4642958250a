"""What an annotator asks for right now."""

from __future__ import annotations

from dataclasses import dataclass

from grounding.geometry import Box, Point
from grounding.labelstudio.config.interface import Control

MAX_PHRASE_CHARS = 1000
"""Characters of one prompt."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What an annotator typed or drew, and the controls that answer it.

    `phrase` is the typed text. `around` is the drawn place, in the percent frame, and `label` the
    label it was drawn with. `excluded` are points, in the percent frame, that the answer leaves
    out. `from_name` is the tag that the text or the place came from. `controls` are those that
    answer; without any, nothing was asked.
    """

    phrase: str | None = None
    around: Point | Box | None = None
    label: str | None = None
    from_name: str | None = None
    controls: tuple[Control, ...] = ()
    excluded: tuple[Point, ...] = ()

    @property
    def typed(self) -> bool:
        """Whether it came from a text area: a text typed there, or one that was emptied."""
        return self.from_name is not None and self.around is None
