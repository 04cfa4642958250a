"""What an annotator wishes for, in our own words, and for whom a prompt is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grounding.geometry import Box, Point
from grounding.labelstudio.config.interface import Control
from grounding.labelstudio.interactive.commands import read_command
from grounding.labelstudio.labels import named

MAX_PHRASE_CHARS = 1000


@dataclass(frozen=True, slots=True)
class Intent:
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


def addressed(prompt: str, controls: Sequence[Control]) -> tuple[Control, ...]:
    """Return those of the controls that a prompt is for.

    They draw the shape that its verb asks for, where any does; and of them those that it names a
    label of, where it names any.
    """
    command = read_command(prompt)
    drawing = [c for c in controls if c.shape]
    fitting = [c for c in drawing if c.shape is command.shape] or drawing
    return tuple([c for c in fitting if named(command.thing, c.labels)] or fitting)
