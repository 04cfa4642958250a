"""Answers many requests at once, each as if it were alone: greedy decoding, in flight.

A request takes a *slot* of the key-value cache and becomes a *row*. Each step of the loop
(1) lets new rows enter: the model reads their prompts, at most about one picture a step, so that
    the rows that run wait for no more than that; a picture read before is copied, not read again;
(2) asks the model once for the next token of every row, and for those behind its draft: a guess
    at what follows, of which the row keeps as much as the model would have written anyway;
(3) hands out the answers that ended; the last row moves into each slot that became free.

No row waits for another's end, and a row's answer does not depend on the other rows: in float32
exactly, in bfloat16 nearly (matrix products of other shapes round differently, which may move a
coordinate by a pixel).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch

from grounding.engines.base import Completion, Priority
from grounding.engines.local.drafts import Drafter, Memory
from grounding.engines.local.encoder import Encoder, TokenizedRequest
from grounding.engines.local.endings import Endings, EndWatch
from grounding.engines.local.model_runner import Feed, ModelRunner, Scored, feed_words
from grounding.engines.local.slots import PrefixStore, SlotCache
from grounding.engines.local.static_batch import run_on_device
from grounding.errors import OutOfMemory

log = logging.getLogger(__name__)

PREFILL_TOKENS = 1536
"""Most tokens of new prompts that one step reads, but for a single longer one: one picture of the
default size and its words."""

DRAFT_TOKENS = 8
"""Longest draft; a longer one costs arithmetic in every step and is seldom right to its end."""

GROW_AFTER = 32
"""Answers without a full memory after which one more row is tried."""


@dataclass(frozen=True, slots=True)
class SlotOptions:
    """How many rows run: `bulk` at most, and `people` more for which an annotator waits.

    `prefix_bytes` bounds the pictures that are kept. Drafts are so long that a step feeds about
    `step_tokens` at most: as many as take hardly more time than one token of each row.
    """

    bulk: int = 8
    people: int = 1
    prefix_bytes: int = 512 * 2**20
    step_tokens: int = 40


def default_step_tokens(device: torch.device) -> int:
    """Return how many tokens a step may feed before arithmetic takes longer than the weights.

    A GPU multiplies some 250 tokens with a weight in the time in which it reads it, a CPU few.
    """
    return 256 if device.type == "cuda" else 40


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

    def begin(self, length: int, offset: int, first: Scored) -> None:
        """Take the answer's first token, now that the slot holds the whole prompt."""
        self.length, self.offset = length, offset
        self._add(first)

    def feed(self, guesses: int) -> Feed:
        """Return what the next step feeds: the answer's last token, and a draft of the next."""
        left = self.request.budget - len(self.ids)
        self._draft = self._drafter.propose(min(guesses, left - 1))
        fed = [self.ids[-1], *self._draft]
        return feed_words(fed, self.length, self.offset, len(fed))

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


class InFlight:
    """A `DecodeLoop` whose rows come and go at every step."""

    def __init__(
        self,
        model: Any,
        encoder: Encoder,
        endings: Endings,
        options: SlotOptions | None = None,
    ) -> None:
        self._runner = ModelRunner(model, encoder)
        self._device = encoder.device
        self._endings = endings
        self._options = options or SlotOptions()
        self._prefixes = PrefixStore(self._options.prefix_bytes)
        self._memory = Memory()
        self._evicted: deque[TokenizedRequest] = deque()
        self._bulk = self._options.bulk
        """Rows of bulk now: fewer while the device's memory has no room for more."""
        self._answered = 0
        self._reset()

    def _reset(self) -> None:
        self._rows: list[Row] = []
        self._entering: list[Row] = []
        self._cache = SlotCache(self._device, self._options.bulk + self._options.people)

    @property
    def _most(self) -> int:
        return self._bulk + self._options.people

    @property
    def joins(self) -> bool:
        """New requests join what runs, so none needs to wait for others."""
        return True

    @property
    def room(self) -> int:
        """The free slots, those for people included."""
        return self._most - len(self._rows) - len(self._entering)

    def admit(self, requests: Sequence[TokenizedRequest]) -> int:
        """Take the first requests that have a slot; the last slots are for people."""
        for taken, request in enumerate(requests):
            if not self._fits(request):
                return taken
            watch = self._endings.watch(request)
            drafter = Drafter(self._memory, request.template)
            self._entering.append(Row(request, watch, drafter, self._endings.ends.eos))
        return len(requests)

    def _fits(self, request: TokenizedRequest) -> bool:
        if request.priority is Priority.INTERACTIVE:
            return self.room > 0
        alike = [one for one in (*self._rows, *self._entering) if not _is_urgent(one)]
        return self.room > 0 and len(alike) < self._bulk

    def evict(self, request: TokenizedRequest) -> None:
        """End a request at its next token."""
        self._evicted.append(request)

    def step(self) -> list[tuple[TokenizedRequest, Completion]]:
        """Give each row its next token, and return the answers that ended.

        Raises `OutOfMemory` where the rows do not fit, and `DeviceBroken` where no later request
        can be answered in this process.
        """
        self._remove_evicted()
        try:
            done = run_on_device(self._advance)
        except BaseException as exc:
            if isinstance(exc, OutOfMemory):
                self._shrink()
            self._reset()
            raise
        self._grow(len(done))
        for row in (*self._rows, *done):
            row.tell()
        return [(one.request, self._complete(one)) for one in done]

    @torch.inference_mode()
    def _advance(self) -> list[Row]:
        """Return the rows that ended: at their first token, or at the one that follows."""
        self._enter()
        done = self._leave()
        self._decode()
        return done + self._leave()

    # Entering

    def _enter(self) -> None:
        """Let rows enter: some whose prompts are read whole, and all whose picture is kept."""
        self._entering.sort(key=lambda one: one.request.priority)  # equals keep their order
        self._read_whole(self._choose_unread())
        self._read_rest([one for one in self._entering if one.request.prefix in self._prefixes])

    def _choose_unread(self) -> list[Row]:
        """Return the first rows whose pictures are not kept, each picture once."""
        chosen: list[Row] = []
        longest, keys = 0, set[bytes]()
        for row in self._entering:
            key = row.request.prefix
            if key in self._prefixes or key in keys:
                continue
            longest = max(longest, len(row.request.ids))
            # Short rows are padded to the longest.
            if chosen and longest * (len(chosen) + 1) > PREFILL_TOKENS:
                break
            chosen.append(row)
            keys |= {key} if key else set()
        return chosen

    def _read_whole(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        prompts = [self._runner.feed_prompt(one.request) for one in rows]
        pictures = [picture for one in rows for picture in one.request.pictures]
        self._begin(
            rows, [feed for feed, _ in prompts], [offset for _, offset in prompts], pictures
        )
        for slot, row in enumerate(rows, len(self._rows) - len(rows)):
            if row.request.prefix and self._options.prefix_bytes:
                kept = self._cache.save(slot, row.request.shared, row.offset)
                self._prefixes.keep(row.request.prefix, kept)

    def _read_rest(self, rows: Sequence[Row]) -> None:
        """Copy each row's pictures into its slot, and read the words that follow them."""
        if not rows:
            return
        found = [self._prefixes.find(one.request.prefix) for one in rows]
        kept = [one for one in found if one]
        for slot, prefix in enumerate(kept, len(self._rows)):
            self._cache.load(slot, prefix)
        feeds = [
            feed_words(row.request.ids[prefix.length :], prefix.length, prefix.offset, 1)
            for row, prefix in zip(rows, kept, strict=True)
        ]
        self._begin(rows, feeds, [prefix.offset for prefix in kept])

    def _begin(
        self,
        rows: Sequence[Row],
        feeds: Sequence[Feed],
        offsets: Sequence[int],
        pictures: Sequence[Any] = (),
    ) -> None:
        successors = self._runner.run(self._cache, len(self._rows), feeds, pictures)
        for row, offset, (first,) in zip(rows, offsets, successors, strict=True):
            row.begin(len(row.request.ids), offset, first)
            self._rows.append(row)
            self._entering.remove(row)

    # Running

    def _decode(self) -> None:
        if not self._rows:
            return
        fair = self._options.step_tokens // len(self._rows) - 1
        feeds = [one.feed(max(0, min(DRAFT_TOKENS, fair))) for one in self._rows]
        successors = self._runner.run(self._cache, 0, feeds)
        for row, scored in zip(self._rows, successors, strict=True):
            row.accept(scored)

    # Leaving

    def _remove_evicted(self) -> None:
        gone = set[TokenizedRequest]()
        while self._evicted:
            gone.add(self._evicted.popleft())
        if gone:
            self._entering = [one for one in self._entering if one.request not in gone]
            self._take_out([one for one in self._rows if one.request in gone])

    def _leave(self) -> list[Row]:
        done = [one for one in self._rows if one.done]
        self._take_out(done)
        for row in done:
            self._memory.keep(row.answer)
        return done

    def _take_out(self, leaving: Sequence[Row]) -> None:
        """Free the slots of some rows; the last row moves into each of them."""
        # From the end, so that the row that moves is one that stays.
        for slot in reversed([i for i, one in enumerate(self._rows) if one in leaving]):
            last = self._rows.pop()
            if slot < len(self._rows):
                self._cache.move(len(self._rows), slot, last.length)
                self._rows[slot] = last

    def _complete(self, row: Row) -> Completion:
        return self._endings.complete(row.request, row.ids, row.logprobs)

    # Bounds

    def _shrink(self) -> None:
        """Make do with half of the rows that were too many, and without the kept pictures.

        Where a row is too large alone, it was to blame, and the others may be as many as before.
        """
        self._prefixes.clear()
        rows = len(self._rows) + len(self._entering)
        self._bulk = min(self._bulk, rows // 2) if rows > 1 else self._options.bulk
        self._answered = 0
        log.warning("the device's memory is full; up to %d answers are written at once", self._bulk)

    def _grow(self, answered: int) -> None:
        """Try one more row after some answers without trouble: a few large pictures have gone."""
        self._answered += answered
        if self._bulk < self._options.bulk and self._answered >= GROW_AFTER:
            self._bulk += 1
            self._answered = 0


def _is_urgent(row: Row) -> bool:
    return row.request.priority is Priority.INTERACTIVE
