"""How long the model takes, counted in Redis where every web process can tell it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping

from redis.exceptions import RedisError

from grounding.engines.base import Engine, Question, Reply
from grounding.jobs.ledger import Ledger
from grounding.qwen.profiles import Profile

log = logging.getLogger(__name__)

BOUNDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds of the histogram's buckets, in seconds."""
FIELD = "model:"
NS = 1e-9


class Metered:
    """An `Engine` that counts how long each question waited for its answer."""

    def __init__(self, engine: Engine, ledger: Ledger) -> None:
        self._engine = engine
        self._ledger = ledger

    @property
    def profile(self) -> Profile:
        """The engine's own."""
        return self._engine.profile

    def ask(self, question: Question) -> Reply:
        """Return what the engine returns, or raise what it raises."""
        begun = time.monotonic_ns()
        try:
            return self._engine.ask(question)
        finally:
            self._count(time.monotonic_ns() - begun)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _count(self, took: int) -> None:
        bucket = next((str(bound) for bound in BOUNDS if took * NS <= bound), "+Inf")
        try:
            self._ledger.count(FIELD + bucket, 1)
            self._ledger.count(FIELD + "ns", took)
        except RedisError as exc:  # a number less in the statistics; the answer matters more
            log.debug("a duration was not counted: %s", exc)


def histogram(counted: Mapping[str, int]) -> Iterator[tuple[str, float]]:
    """Yield each bucket's bound and how many answers took no longer, from the ledger's counters."""
    total = 0
    for bound in (*map(str, BOUNDS), "+Inf"):
        total += counted.get(FIELD + bound, 0)
        yield bound, total
