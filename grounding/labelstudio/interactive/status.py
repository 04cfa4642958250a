"""Writes messages for annotators: Label Studio's page shows none of our errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grounding.labelstudio.config.interface import LabelConfig, TextArea
from grounding.labelstudio.controls.base import Drop, Region, new_id
from grounding.labelstudio.data import LeftOut, clean

MAX_CHARS = 500

SHOWN_WORDS = 3
"""Words of the model that one message names."""

EXISTING = "existing"
"""The reason for what is on the page already; the other reasons are the worker's."""

FRACTIONS = "fractions"
IN_FRACTIONS = "the model answered in fractions instead of pixels"

_REASONS = {
    EXISTING: "already on the page",
    Drop.LOW_SCORE: "below the score threshold",
    Drop.TOO_MANY: "beyond max_regions",
    Drop.EXCLUDED: "where you clicked with Alt",
    Drop.TOO_SMALL: "smaller than a pixel",
    Drop.WRONG_SHAPE: "of another shape than asked for",
    Drop.NO_PLACE: "an action without a place",
}
"""What a message says about each reason after the number. What is left out as a duplicate is in
the answer all the same, and no word is said about it."""


def write_status(config: LabelConfig, text: str) -> list[Region]:
    """Return the result that puts `text` into the config's status area, or [] without one.

    The page accepts it without a click and replaces the area's previous text.
    """
    area = config.status_area()
    if area is None:
        return []
    return [text_result(area, clean(text)[:MAX_CHARS])]


def text_result(area: TextArea, text: str) -> Region:
    """Return the result that puts `text` into a text area."""
    return {
        "id": new_id(),
        "from_name": area.name,
        "to_name": area.to_name,
        "type": "textarea",
        "value": {"text": [text]},
    }


def summarize(found: int, left_out: LeftOut) -> str:
    """Return how many regions an answer has, and what is left out for which reason."""
    none = "nothing new" if left_out.counts.get(EXISTING) else "nothing"
    reasons = "; ".join(_explain(left_out))
    return f"{found or none} found" + (f" ({reasons})" if reasons else "")


def _explain(left_out: LeftOut) -> Iterator[str]:
    """Yield the reasons in words, the most telling first; those of another release are unknown."""
    counts = left_out.counts
    if unknown := counts.get(Drop.UNKNOWN_LABEL):
        yield _explain_unknown(unknown, left_out.words)
    if counts.get(FRACTIONS):
        yield IN_FRACTIONS
    yield from (f"{n} {words}" for reason, words in _REASONS.items() if (n := counts.get(reason)))


def _explain_unknown(count: int, words: Sequence[str]) -> str:
    if not words:
        return f"{count} without a label of this project"
    named = [f"'{word}'" for word in words[:SHOWN_WORDS]]
    if len(words) > SHOWN_WORDS:
        named.append("more")
    said = " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
    return (
        f"the model said {said}, which {'is no label' if len(words) == 1 else 'are no labels'} here"
    )


def explain_failure(code: str, reason: str) -> str:
    """Return why there is no answer, from an error's code and its text."""
    about_image = code.startswith(("image_", "url_"))
    return f"image not readable: {reason}" if about_image else reason
