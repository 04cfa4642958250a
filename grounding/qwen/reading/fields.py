"""The entries of a record: what their keys mean, and the label, text and score among them."""

from __future__ import annotations

from typing import NamedTuple

from grounding.qwen.reading.values import Group, Key, Number, String, Value, Word
from grounding.qwen.reading.vocabulary import Role, meaning

CONSTANTS = {"null", "none", "true", "false", "nil", "undefined"}


class Name(NamedTuple):
    """A label and where it stands, if that is near what it labels."""

    text: str
    span: tuple[int, int] | None = None


class Field(NamedTuple):
    """One entry of a record: what its key means (see `Meaning`), the key, the value."""

    role: Role
    folded: str
    rank: int
    corners: bool
    sizes: bool
    key: Key
    value: Value

    @property
    def span(self) -> tuple[int, int]:
        """From the key's start to the value's end."""
        return self.key.start, self.value.end


def fields_of(group: Group) -> list[Field]:
    """Return the entries of `group` that have a key, in order."""
    return [Field(*meaning(key.text), key, value) for key, value in group.entries if key]


def spoken(value: Value) -> str | None:
    """Return the words that a value says: its own, or the English ones of several."""
    if isinstance(value, Group):
        return _one_of_several(value)
    if isinstance(value, Word) and value.text.lower() in CONSTANTS:
        return None
    return value.text.strip() or None


def _one_of_several(group: Group) -> str | None:
    if group.numbers or any(isinstance(value, Group) for _, value in group.entries):
        return None
    if any(key for key, _ in group.entries):
        named = [item for item in fields_of(group) if item.role is Role.LABEL]
        return spoken(min(named, key=lambda item: item.rank).value) if named else None
    texts = labels_of(group)
    return next((text for text in texts if text.isascii()), texts[0] if texts else None)


def labels_of(value: Value) -> list[str]:
    """Return the strings of a list of strings."""
    if not isinstance(value, Group):
        return []
    return [v.text.strip() for _, v in value.entries if isinstance(v, String) and v.text.strip()]


def scores_in(value: Value) -> list[float]:
    """Return the scores in 0..1 that a value gives, one or a list; "87%" is 0.87."""
    if isinstance(value, Group):
        return [score for score in value.numbers if 0 <= score <= 1]
    score = _score(value)
    return [] if score is None else [score]


def _score(value: Number | String | Word) -> float | None:
    text = value.text.strip()
    percent = text.endswith("%")
    try:
        score = float(text.removesuffix("%")[:40])
    except ValueError:
        return None
    score = score * 0.01 if percent else score
    return score if 0 <= score <= 1 else None
