"""Prompts with placeholders: `{labels}`, and fields of a task's data such as `{city}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

LABELS = "labels"
"""The placeholder for the labels' names; any other names a field of the task's data."""


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt in pieces: each is a text and the name of the placeholder after it, if any."""

    pieces: tuple[tuple[str, str | None], ...]

    @classmethod
    def read(cls, text: str) -> Template | None:
        """Return the template in `text`, or None if its braces are not valid.

        A literal brace is doubled, as in Python's format strings.
        """
        try:
            parts = list(Formatter().parse(text))
        except ValueError:
            return None
        # A placeholder is a name only: a colon or an exclamation mark would add a format.
        if any(spec or conversion or name == "" for _, name, spec, conversion in parts):
            return None
        pieces = tuple((literal, name and name.strip()) for literal, name, _, _ in parts)
        return cls(pieces) if all(name != "" for _, name in pieces) else None

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of all placeholders, each once."""
        return tuple(dict.fromkeys(name for _, name in self.pieces if name))

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the prompt with the placeholders replaced by `values`, one for each field."""
        return "".join(text + (values[name] if name else "") for text, name in self.pieces)
