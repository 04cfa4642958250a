"""What an annotator wishes for, in our own words."""

from __future__ import annotations

from dataclasses import dataclass

from grounding.geometry import Box, Point
from grounding.labelstudio.interface import Control


@dataclass(frozen=True, slots=True)
class Wish:
    """What an annotator typed or drew, and who is to answer.

    `phrase` is the typed text; `around` the drawn place, in the percent frame, and `label` the
    label it was drawn with. `excluded` are points that the answer must leave out. `from_name` is
    the tag that it came from, and `controls` are those that answer: none where nothing was
    wished for.
    """

    phrase: str | None = None
    around: Point | Box | None = None
    label: str | None = None
    from_name: str | None = None
    controls: tuple[Control, ...] = ()
    excluded: tuple[Point, ...] = ()

    @property
    def typed(self) -> bool:
        """Whether it came from a text area: a text typed there, or one emptied."""
        return self.from_name is not None and self.around is None
