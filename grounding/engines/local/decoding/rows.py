"""A row: one request on its way to its answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import zip_longest

from grounding.engines.base import Priority
from grounding.engines.local.decoding.drafts import Drafter
from grounding.engines.local.decoding.endings import EndWatch
from grounding.engines.local.decoding.feeds import Feed, Scored
from grounding.engines.local.encoder import TokenizedRequest


class Row:
    """One request on its way: what its slot holds, and the answer so far."""

    def __init__(
        self, request: TokenizedRequest, watch: EndWatch, drafter: Drafter, eos: Collection[int]
    ) -> None:
        self.request = request
        self.length = 0
        """Tokens in its slot: all but the answer's last, which the next step feeds."""
        self.offset = 0
        self.logprobs: list[float] = []
        self.done = False
        self.answer = drafter.text
        self._drafter = drafter
        self._draft: list[int] = []
        self._watch = watch
        self._eos = eos

    @property
    def ids(self) -> list[int]:
        """The answer's tokens."""
        return self.answer.tokens

    @property
    def is_urgent(self) -> bool:
        """Whether an annotator waits for it."""
        return self.request.priority is Priority.INTERACTIVE

    def draft(self, guesses: int) -> list[int]:
        """Return a guess at the next tokens, for the model to check in its next call."""
        left = self.request.budget - len(self.ids)
        self._draft = self._drafter.propose(min(guesses, left - 1))
        return self._draft

    def begin(self, offset: int, successors: Sequence[Scored]) -> None:
        """Take what follows the prompt, whose end and a draft were fed."""
        self.length, self.offset = len(self.request.ids) - 1, offset
        self.accept(successors)

    def feed(self, guesses: int) -> Feed:
        """Return what the next step feeds: the answer's last token, and a draft of the next."""
        fed = [self.ids[-1], *self.draft(guesses)]
        return Feed(fed, self.length, self.offset, len(fed))

    def accept(self, successors: Sequence[Scored]) -> None:
        """Take each fed token's successor, as long as what was fed is the answer itself."""
        for successor, guess in zip_longest(successors, self._draft):
            self.length += 1
            self._add(successor)
            if self.done or successor[0] != guess:
                return

    def tell(self) -> None:
        """Let whoever watches the answer hear what it is so far."""
        if self.request.on_tokens:
            self.request.on_tokens([one for one in self.ids if one not in self._eos])

    def _add(self, scored: Scored) -> None:
        token, logprob = scored
        self.answer.push(token)
        self.logprobs.append(logprob)
        self.done = token in self._eos or self._watch.push(token)
