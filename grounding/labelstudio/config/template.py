"""Prompts with places to fill: `{labels}`, and fields of a task's data such as `{city}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

LABELS = "labels"
"""The place for the labels' names; every other place is for a field of the task's data."""


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt as pieces: each a text, and the field that follows it, if any."""

    pieces: tuple[tuple[str, str | None], ...]

    @classmethod
    def read(cls, text: str) -> Template | None:
        """Return the template that `text` writes, or None where its braces make no sense.

        A brace that is meant as one is doubled, as in Python's format strings.
        """
        try:
            parts = list(Formatter().parse(text))
        except ValueError:
            return None
        # A place with a colon or an exclamation mark would have more to say than a name.
        if any(spec or conversion or name == "" for _, name, spec, conversion in parts):
            return None
        pieces = tuple((literal, name and name.strip()) for literal, name, _, _ in parts)
        return cls(pieces) if all(name != "" for _, name in pieces) else None

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of all places, each once."""
        return tuple(dict.fromkeys(name for _, name in self.pieces if name))

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the prompt with `values`, which has one for each of `fields`."""
        return "".join(text + (values[name] if name else "") for text, name in self.pieces)
