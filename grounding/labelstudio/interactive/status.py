"""What an answer leaves out, and messages for annotators: the page shows none of our errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grounding.labelstudio.config.interface import LabelConfig, TextArea
from grounding.labelstudio.controls.base import Drop, Region, new_id
from grounding.labelstudio.data import clean

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


MAX_REASONS = 16
MAX_WORDS = 4
"""Words of the model that are kept: one more than a message names."""
MAX_WORD_CHARS = 40
WORDS = "words"
"""The key of the words in the stored form; all others are reasons."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many findings are left out for which reason, and what the model called them.

    `counts` has a number by reason, such as a `Drop`. `words` are the model's own words that name
    no label, on one line each. It is stored beside a prediction and never in it. Its size is
    bounded, because a model may write anything, and it is read with tolerance, because another
    release may have written it.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, counts: Mapping[str, int], words: Iterable[str]) -> LeftOut:
        """Return these counts and words, cleaned and within the bounds."""
        some = sorted(counts.items())[:MAX_REASONS]
        short = (clean(word)[:MAX_WORD_CHARS].rstrip() for word in words)
        named = dict.fromkeys(filter(None, short))
        return cls({str(reason): n for reason, n in some if n}, tuple(named)[:MAX_WORDS])

    @classmethod
    def read(cls, stored: object) -> LeftOut:
        """Return what `stored` gave; what is not of its form is left out. Never raises."""
        if not isinstance(stored, Mapping):
            return cls()
        words = stored.get(WORDS)
        counts = {reason: n for reason, n in stored.items() if _is_count(n)}
        listed = words if isinstance(words, list) else []
        return cls.of(counts, [word for word in listed if isinstance(word, str)])

    def stored(self) -> dict[str, Any]:
        """Return the form that `read` reads: plain JSON, empty where nothing is left out."""
        return {**self.counts, **({WORDS: list(self.words)} if self.words else {})}

    def plus(self, counts: Mapping[str, int]) -> LeftOut:
        """Return this with more left out."""
        added = {reason: self.counts.get(reason, 0) + n for reason, n in counts.items()}
        return LeftOut({**self.counts, **added}, self.words)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


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
