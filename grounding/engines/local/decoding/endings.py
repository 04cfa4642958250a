"""Where an answer ends, and what it then says: end tokens, budgets, stop texts, repetition."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import GenerationConfig, PreTrainedTokenizerBase

from grounding.engines.base import Completion, Token
from grounding.engines.detokenizer import Detokenizer, cut, find_stop
from grounding.engines.local.encoder import TokenizedRequest
from grounding.errors import SettingError

PASSAGE = range(16, 65)
TIMES = 4


@dataclass(frozen=True, slots=True)
class Ends:
    """The ids that end an answer, and the one that fills the row behind it."""

    eos: frozenset[int]
    pad: int

    @classmethod
    def of(cls, config: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> Ends:
        """Return the ends that the checkpoint's generation config and tokenizer name."""
        named = config.eos_token_id
        eos = set(named) if isinstance(named, list) else {named}
        eos = {i for i in (*eos, tokenizer.eos_token_id) if i is not None}
        if not eos:
            raise SettingError("the checkpoint names no token that ends an answer")
        pads = (tokenizer.pad_token_id, config.pad_token_id, min(eos))
        return cls(frozenset(eos), next(i for i in pads if i is not None))

    def cut(self, row: Sequence[int], budget: int) -> tuple[list[int], bool]:
        """Return the ids before the first end, at most `budget`, and whether an end was met."""
        for place, token in enumerate(row[:budget]):
            if token in self.eos:
                return list(row[:place]), True
        return list(row[:budget]), False


class StopText:
    """Watches one row for the texts that end it, a token at a time."""

    def __init__(self, stop: Sequence[str], detokenizer: Detokenizer) -> None:
        self._stop = stop
        self._detokenizer = detokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._longest = max(map(len, stop))
        self._tail = ""

    def push(self, token: int) -> bool:
        """Add the row's next token, and say whether a stop text is complete."""
        tail = self._tail + self._decoder.decode(self._detokenizer.bytes_of(token))
        self._tail = tail[-self._longest :]
        return find_stop(tail, self._stop) is not None


class Repetition:
    """Watches one row for a passage that it writes `TIMES` times on end: it would never stop.

    A passage has `PASSAGE` tokens: a place and its name take about 35, and what is shorter may
    well come often, in the empty cells of a table.
    """

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=PASSAGE.stop - 1)
        self._alike = [0] * len(PASSAGE)
        """For each length: how many tokens in a row are those of one passage before."""

    def push(self, token: int) -> bool:
        """Add the row's next token, and say whether it goes in circles."""
        recent = self._recent
        for i, size in enumerate(PASSAGE):
            same = size <= len(recent) and recent[-size] == token
            self._alike[i] = self._alike[i] + 1 if same else 0
        recent.append(token)
        return any(
            alike >= size * (TIMES - 1) for alike, size in zip(self._alike, PASSAGE, strict=True)
        )


class EndWatch:
    """Watches one answer, a token at a time, for the first of all its ends but the end token."""

    def __init__(self, request: TokenizedRequest, detokenizer: Detokenizer) -> None:
        self._left = request.budget
        self._stop = StopText(request.stop, detokenizer) if request.stop else None
        self._repetition = Repetition()

    def push(self, token: int) -> bool:
        """Add the answer's next token, and say whether it is the last one."""
        self._left -= 1
        stopped = self._stop is not None and self._stop.push(token)
        return self._repetition.push(token) or stopped or self._left == 0


@dataclass(frozen=True, slots=True)
class Endings:
    """Tells where answers of one checkpoint end, and what they say."""

    ends: Ends
    detokenizer: Detokenizer

    def watch(self, request: TokenizedRequest) -> EndWatch:
        """Return the watch over the answer to a request."""
        return EndWatch(request, self.detokenizer)

    def complete(
        self, request: TokenizedRequest, row: Sequence[int], logprobs: Sequence[float]
    ) -> Completion:
        """Return what the ids of `row` say up to their end; `logprobs` has one for each id."""
        ids, whole = self.ends.cut(row, request.budget)
        text, ranges = self.detokenizer.decode(ids)
        tokens = (
            Token(start, end, logprob)
            for (start, end), logprob in zip(ranges, logprobs, strict=False)
        )
        return cut(Completion(text, whole, tuple(tokens), len(request.ids)), request.stop)
