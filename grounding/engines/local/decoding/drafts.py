"""Guesses at an answer's next tokens, from what it and others before it look like.

Lists of places repeat their own form: after `{"bbox_2d": [` come numbers, and after these
`], "label": "`. The model checks a guess in the same call in which it writes its next token, and
only tokens that it would have written itself are kept, so a guess never changes an answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import chain

RUN = 4
"""Most tokens that are looked up to guess those that follow; fewer are, down to one."""

REMEMBERED = 32
"""Answers whose form is remembered."""


class Text:
    """Tokens, and where each run of one to `RUN` of them last occurred.

    A run of none is found at the beginning: an answer may begin as others did.
    """

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self.tokens: list[int] = []
        self._next: dict[tuple[int, ...], int] = {(): 0}
        for token in tokens:
            self.push(token)

    def push(self, token: int) -> None:
        """Add a token; runs that end before it can be continued from now on."""
        for run in self.ends():
            self._next[run] = len(self.tokens)
        self.tokens.append(token)

    def ends(self) -> list[tuple[int, ...]]:
        """Return the runs at the end, the longest first."""
        sizes = range(min(RUN, len(self.tokens)), 0, -1)
        return [tuple(self.tokens[-size:]) for size in sizes]

    def follow(self, run: tuple[int, ...], most: int) -> list[int]:
        """Return at most `most` tokens that followed `run` when it last occurred."""
        place = self._next.get(run)
        return [] if place is None else self.tokens[place : place + most]


class Memory:
    """The last few answers, the newest first."""

    def __init__(self) -> None:
        self.texts: deque[Text] = deque(maxlen=REMEMBERED)

    def keep(self, text: Text) -> None:
        """Remember an answer that has ended."""
        self.texts.appendleft(text)


class Drafter:
    """Guesses one answer's next tokens: by itself, by the answers before it, by a template."""

    def __init__(self, memory: Memory, template: Sequence[int] = ()) -> None:
        self.text = Text()
        self._memory = memory
        self._template = Text(template)

    def propose(self, most: int) -> list[int]:
        """Return at most `most` tokens that may follow what `text` holds."""
        if most < 1:
            return []
        for run in self.text.ends() or [()]:
            for text in chain((self.text,), self._memory.texts, (self._template,)):
                if found := text.follow(run, most):
                    return found
        return []
