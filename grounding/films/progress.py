"""How far a task's films are: questions that are answered, of how many as far as is known.

How many there are shows only on the way: each film is asked about in turn, and how many ends of
spans are looked at again depends on what was found. So the number of all is an estimate, and the
share that is answered never falls.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Listener = Callable[[int, int], None]


class Progress:
    """Tells a listener how many questions of `looks` looks at films are answered, and of how many.

    Looks that have not begun are taken to be as long as the usual one before them.
    """

    def __init__(self, tell: Listener, looks: int) -> None:
        self._tell = tell
        self._looks = looks
        self._begun = 0
        self._done = 0
        self._expected = 1
        self._told = (0, 1)

    def begin(self, questions: int) -> None:
        """Begin the next look, which takes so many questions as far as is known."""
        self._begun += 1
        self._expected = self._done + questions

    def expect(self, more: int) -> None:
        """Take the present look to have so many questions more, or fewer where it is below 0."""
        self._expected += more

    def add(self, questions: int) -> None:
        """Count questions that are answered, and tell."""
        self._done += questions
        total = math.ceil(max(self._done, self._expected) * self._looks / max(1, self._begun))
        done, before = self._told
        if done:
            total = min(total, self._done * before // done)
        self._told = (self._done, total)
        self._tell(*self._told)
