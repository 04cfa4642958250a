"""Answers many requests at once, each as if it were alone: greedy decoding, in flight.

A request takes a *slot* of the key-value cache and becomes a *row*. Each step of the loop
(1) lets new rows enter: the model reads their prompts, at most about one picture a step, so that
    the rows that run wait for no more than that; a picture read before is copied, not read again;
(2) asks the model once for the next token of every row, and for those behind its draft: a guess
    at what follows, of which the row keeps as much as the model would have written anyway;
(3) hands out the answers that ended; another row moves into each slot that became free.

No row waits for another's end. While an annotator waits, bulk goes on in some of the steps only.
A row's answer does not depend on the other rows, but for rounding: matrix products of other shapes
round differently. In float32 that moves log-probabilities by millionths, and no token that the
tests compare with `generate`'s; in bfloat16 it may move a coordinate by a pixel.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from grounding.engines.base import Completion, Priority
from grounding.engines.local.decoding.drafts import Drafter, Memory
from grounding.engines.local.decoding.endings import Endings
from grounding.engines.local.decoding.feeds import Feed
from grounding.engines.local.decoding.model_runner import ModelRunner
from grounding.engines.local.decoding.rows import Row
from grounding.engines.local.decoding.slots import PrefixStore, SlotCache
from grounding.engines.local.decoding.static_batch import run_on_device
from grounding.engines.local.decoding.static_steps import Bucket
from grounding.engines.local.encoder import Encoder, TokenizedRequest
from grounding.errors import OutOfMemory

log = logging.getLogger(__name__)

PREFILL_TOKENS = 1536
"""Most tokens of new prompts that one step reads, but for a single longer one: one picture of the
default size and its words."""

DRAFT_TOKENS = 8
"""Longest draft; a longer one costs arithmetic in every step and is seldom right to its end."""

BULK_TURN = 8
"""While an annotator waits, bulk has every step of this number: it slows down and never stops."""

GROW_AFTER = 32
"""Answers without a full memory after which one more row is tried."""


@dataclass(frozen=True, slots=True)
class SlotOptions:
    """How many rows run: `bulk` at most, and `people` more for which an annotator waits.

    `prefix_bytes` bounds the pictures that are kept. Drafts are so long that a step feeds about
    `step_tokens` at most: as many as take hardly more time than one token of each row. While an
    annotator waits, rows of bulk enter in their turn only; with `bulk_pauses` those that run wait
    for it too, because a step takes longer with each row. With `static`, steps have static shapes,
    for CUDA graphs.
    """

    bulk: int = 8
    people: int = 1
    prefix_bytes: int = 512 * 2**20
    step_tokens: int = 24
    bulk_pauses: bool = True
    static: bool = False

    @classmethod
    def on(
        cls, device: torch.device, bulk: int, prefix_bytes: int, *, static: bool = False
    ) -> SlotOptions:
        """Return what suits a device.

        A GPU multiplies some 250 tokens with a weight in the time in which it reads it, a CPU few.
        """
        is_gpu = device.type == "cuda"
        tokens = 256 if is_gpu else 24
        # The slots that a static step fills up must hold no other rows.
        pauses = not (is_gpu or static)
        return cls(bulk, max(1, bulk // 8), prefix_bytes, tokens, pauses, static)

    def guesses(self, rows: int) -> int:
        """Return the longest draft of each of so many rows."""
        return max(0, min(DRAFT_TOKENS, self.step_tokens // rows - 1))

    def buckets(self) -> list[Bucket]:
        """Return the shapes of static steps: slots double up to all of them."""
        most = self.bulk + self.people
        slots = [*(1 << power for power in range((most - 1).bit_length())), most]
        return [Bucket(one, 1 + self.guesses(one)) for one in slots]


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
        self._turn = 0
        self._reset()
        if self._options.static:
            self._runner.fix_shapes(self._options.buckets(), self._cache)

    def _reset(self) -> None:
        self._rows: list[Row] = []
        """Those for people before those of bulk, each in the slot of its place in the list."""
        self._entering: list[Row] = []
        most = self._options.bulk + self._options.people
        self._cache = SlotCache(self._device, most, fixed=self._options.static)

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
        alike = [one for one in (*self._rows, *self._entering) if not one.is_urgent]
        return self.room > 0 and len(alike) < self._bulk

    def expect(self, requests: Sequence[TokenizedRequest]) -> None:
        """Prepare the pictures of rows that enter and of requests that follow them."""
        unread: dict[bytes, TokenizedRequest] = {}
        gone = set(self._evicted.copy())
        entering = sorted(self._entering, key=lambda one: not one.is_urgent)
        for one in (*(row.request for row in entering), *requests):
            if one.prefix not in self._prefixes and one not in gone:
                unread.setdefault(one.prefix, one)
        self._runner.tower.expect([picture for one in unread.values() for picture in one.pictures])

    def evict(self, request: TokenizedRequest) -> None:
        """End a request at its next token."""
        self._evicted.append(request)

    def close(self) -> None:
        """End the threads that prepare pictures."""
        self._runner.tower.close()

    def step(self) -> list[tuple[TokenizedRequest, Completion]]:
        """Give each row its next token, and return the answers that ended.

        Raises `OutOfMemory` where the rows do not fit, and `DeviceBroken` where no later request
        can be answered in this process.
        """
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
        """Return the rows that ended: at their first tokens, or at those that follow."""
        self._remove_evicted()
        is_bulks_turn = self._is_bulks_turn()
        self._enter(is_bulks_turn)
        done = self._leave()
        pauses = self._options.bulk_pauses and not is_bulks_turn
        self._decode(self._rows[: self._people] if pauses else self._rows)
        return done + self._leave()

    def _is_bulks_turn(self) -> bool:
        """Say whether bulk goes on in this step: always, but while an annotator waits."""
        if not any(one.is_urgent for one in (*self._rows, *self._entering)):
            self._turn = 0
            return True
        self._turn = (self._turn + 1) % BULK_TURN
        return self._turn == 0

    @property
    def _people(self) -> int:
        """How many of the rows are for people; they are the first."""
        return sum(one.is_urgent for one in self._rows)

    # Entering

    def _enter(self, is_bulks_turn: bool) -> None:
        """Let rows enter: some whose prompts are read whole, and all whose picture is kept."""
        alike = [one for one in self._entering if one.is_urgent]
        if not alike and is_bulks_turn:
            alike = self._entering.copy()
        self._read_whole(self._choose_unread(alike))
        rest = [one for one in alike if one in self._entering]
        self._read_rest([one for one in rest if one.request.prefix in self._prefixes])

    def _choose_unread(self, entering: Sequence[Row]) -> list[Row]:
        """Return the first rows whose pictures are not kept, each picture once."""
        chosen: list[Row] = []
        longest, keys = 0, set[bytes]()
        for row in entering:
            key = row.request.prefix
            if key in self._prefixes or key in keys:
                continue
            # A step of few rows is dear, so while half of the slots are empty no row waits.
            if 2 * (len(self._rows) + len(chosen)) >= self._bulk and self._can_wait(row):
                keys.add(key)
                continue
            longest = max(longest, len(row.request.ids))
            # Short rows are padded to the longest.
            if chosen and longest * (len(chosen) + 1) > PREFILL_TOKENS:
                break
            chosen.append(row)
            keys |= {key} if key else set()
        return chosen

    def _can_wait(self, row: Row) -> bool:
        """Say whether another thread will have read a row's picture soon, and it is not urgent."""
        busy = map(self._runner.tower.is_busy_with, row.request.pictures)
        return any(busy) and not row.is_urgent

    def _read_whole(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        prompts = [self._runner.feed_prompt(one.request) for one in rows]
        feeds = [self._add_draft(row, one) for row, one in zip(rows, prompts, strict=True)]
        pictures = [picture for one in rows for picture in one.request.pictures]
        first = self._make_way(rows)
        self._begin(rows, first, feeds, pictures)
        for slot, row in enumerate(rows, first):
            if row.request.prefix and self._options.prefix_bytes:
                kept = self._cache.save(slot, row.request.shared, row.offset)
                self._prefixes.keep(row.request.prefix, kept)

    def _read_rest(self, rows: Sequence[Row]) -> None:
        """Copy each row's pictures into its slot, and read the words that follow them."""
        if not rows:
            return
        found = [self._prefixes.find(one.request.prefix) for one in rows]
        kept = [one for one in found if one]
        first = self._make_way(rows)
        for slot, prefix in enumerate(kept, first):
            self._cache.load(slot, prefix)
        feeds = [
            self._add_draft(row, Feed(row.request.ids[one.length :], one.length, one.offset, 1))
            for row, one in zip(rows, kept, strict=True)
        ]
        self._begin(rows, first, feeds)

    def _add_draft(self, row: Row, prompt: Feed) -> Feed:
        """Return a prompt's end with a draft of the answer's beginning."""
        return prompt.then(row.draft(DRAFT_TOKENS))

    def _make_way(self, rows: Sequence[Row]) -> int:
        """Return the first of free slots side by side for rows that enter, all of one priority.

        Where it is for people, rows of bulk move from there behind the others.
        """
        if not rows[0].is_urgent:
            return len(self._rows)
        first, end = self._people, self._people + len(rows)
        moving = self._rows[first:end]
        for target, row in enumerate(moving, max(len(self._rows), end)):
            self._cache.move(self._rows.index(row), target, row.length)
        self._rows[first:end] = []
        self._rows += moving
        return first

    def _begin(
        self,
        rows: Sequence[Row],
        first: int,
        feeds: Sequence[Feed],
        pictures: Sequence[Any] = (),
    ) -> None:
        successors = self._runner.run(self._cache, first, feeds, pictures)
        for row, feed, scored in zip(rows, feeds, successors, strict=True):
            row.begin(feed.offset, scored)
            self._entering.remove(row)
        self._rows[first:first] = rows

    # Running

    def _decode(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        shared_by = len(rows)
        if self._options.static:
            shared_by = next(one.slots for one in self._options.buckets() if one.slots >= shared_by)
        guesses = self._options.guesses(shared_by)
        feeds = [one.feed(guesses) for one in rows]
        successors = self._runner.step(self._cache, feeds)
        for row, scored in zip(rows, successors, strict=True):
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
        """Free the slots of some rows; the last row moves into each of them.

        Into the slot of a row for people the last of these moves, and the last of all into its own.
        """
        # From the end, so that a row that moves is one that stays.
        for slot in reversed([i for i, one in enumerate(self._rows) if one in leaving]):
            last = len(self._rows) - 1
            if self._rows[slot].is_urgent:
                last_of_people = self._people - 1
                self._move(last_of_people, slot)
                self._move(last, last_of_people)
            else:
                self._move(last, slot)
            self._rows.pop()

    def _move(self, source: int, target: int) -> None:
        if source != target:
            row = self._rows[target] = self._rows[source]
            self._cache.move(source, target, row.length)

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
