"""What an answer left out and why, as it travels from the worker to the annotator's page.

It is stored beside a prediction and never in it. Its size is bounded, because a model may write
anything, and it is read with tolerance, because another release may have written it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from grounding.labelstudio.data import clean

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
    no label, on one line each.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, counts: Mapping[str, int], words: Iterable[str]) -> LeftOut:
        """Return these counts and words, cleaned and within the bounds."""
        some = sorted(counts.items())[:MAX_REASONS]
        named = dict.fromkeys(filter(None, (clean(word)[:MAX_WORD_CHARS] for word in words)))
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
