"""Takes out of Redis what others wrote under our keys and RQ's, so that it stops nobody for ever.

A key of another type, or a count that is no number, makes every command fail that meets it, and
each round of the reconciler with it. Redis counts the commands that it refuses: only when that
number has grown, all keys of the queue are looked at, some in each round, whichever process has it.
What is there is not ours, and is removed, with one line in the log for each; a job that has lost
its record by this fails at the next sweep. Who meets such a key need not wait for the rounds:
`ForeignKeys.remove_at_once` is what `connection` calls before it tries the command once more.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from grounding.jobs.keys import KEYS, PREFIX, SWEPT, TYPES, redis_key, text
from grounding.jobs.operating import scripts
from grounding.jobs.queues import RQ_TYPES

log = logging.getLogger(__name__)

COMMANDS = ("cmdstat_evalsha", "cmdstat_hincrby")
"""Commands that fail at a count that is no number; scripts that the server lacks do not count."""
LOOK = redis_key("look")
BATCH = 500
"""About so many keys are looked at in a round: a tenth of a second at most."""
AT_ONCE_SECONDS = 0.5
"""How long a command may be held up by a look: it goes through some ten thousand keys."""
SINGLE = [(PREFIX + name).encode() for name in KEYS.values() if "{" not in name]
SINGLE += [name.encode() for name in RQ_TYPES]
"""The keys that every round needs."""
UNDELIVERED = redis_key("undelivered", project="").encode()
COUNTS = ("counters", "totals", "configs", "unfinished")
"""Hashes of integers that scripts add to."""
JOB_NUMBERS = ("blob", "deaths", "suspected", "askers", "lost", "due", "held_until", "answered")
"""Fields of a job's record that scripts reckon with."""

_INTEGER = re.compile(rb"-?\d{1,18}")


class ForeignKeys:
    """What is not ours under the queue's keys."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._remove = scripts.REMOVE_FOREIGN.bind(redis)
        self._note = scripts.NOTE_LOOK.bind(redis)
        self._check = scripts.CHECK_JOBS.bind(redis)

    def remove(self) -> bool:
        """Go on with a look, or begin one if Redis has refused commands since; say if any was."""
        refused, (seen, cursor) = self._read_refused(), self._read_look()
        if not cursor and refused == seen:
            return False
        return self._look(refused, seen, cursor) > 0

    def remove_at_once(self) -> None:
        """Look until all keys were looked at, or the time is over: rounds do the rest."""
        until = time.monotonic() + AT_ONCE_SECONDS
        while time.monotonic() < until:
            refused, (seen, cursor) = self._read_refused(), self._read_look()
            if not cursor and refused == seen:
                return
            self._look(refused, seen, cursor)

    def _look(self, refused: int, seen: int, cursor: int) -> int:
        """Look at the next keys; return how many are removed."""
        names = [] if cursor else SINGLE
        seen = seen if cursor else refused
        batch: Any
        cursor, batch = self._redis.scan(cursor, match=f"{PREFIX}*", count=BATCH)
        names = [*names, *(name for name in batch if b"\n" not in name)]  # no key of ours
        found = self._check_types(names)
        self._check_numbers(names)
        self._note(place=f"{seen} {cursor}")
        if found:
            self._redis.delete(SWEPT)  # a job may have lost its record by it, or its place
        return found

    def _read_refused(self) -> int:
        errors: Any = self._redis.info("errorstats")
        wrong, unknown = (
            errors.get(f"errorstat_{name}", {}).get("count", 0)
            for name in ("WRONGTYPE", "NOSCRIPT")
        )
        calls: Any = self._redis.info("commandstats")
        failed = sum(calls.get(name, {}).get("failed_calls", 0) for name in COMMANDS)
        return int(wrong + failed - unknown)

    def _read_look(self) -> tuple[int, int]:
        try:
            held: Any = self._redis.get(LOOK)
            seen, cursor = (held or b"0 0").split()
            return int(seen), int(cursor)
        except (ResponseError, ValueError):  # it is another's too: looking begins anew
            self._redis.delete(LOOK)
            return -1, 0

    def _check_types(self, names: list[bytes]) -> int:
        """Remove those of `names` whose type is another's; return how many."""
        kinds_of = {name: kind for name in names if (kind := _type_of(name))}
        known, kinds = list(kinds_of), "\n".join(kinds_of.values())
        removed: Any = self._remove(names=b"\n".join(known), kinds=kinds)
        for name, kind in zip(removed[::2], removed[1::2], strict=True):
            log.error(
                "%s was a %s of another program, and is removed: see that nothing else writes to "
                "the queue's Redis",
                text(name),
                text(kind),
            )
        return len(removed) // 2

    def _check_numbers(self, names: list[bytes]) -> None:
        for name in names:
            family = _family(name)
            if family in COUNTS:
                rows: Any = self._redis.hgetall(name)
                strange = [field for field, value in rows.items() if not _INTEGER.fullmatch(value)]
                self._drop_fields(name, strange)
            elif family == "blob_bytes":
                held: Any = self._redis.get(name)
                if held is not None and not _INTEGER.fullmatch(held):
                    self._redis.delete(name)
            elif family == "finishes":
                times: Any = self._redis.lrange(name, 0, -1)
                if not all(map(_INTEGER.fullmatch, times)):
                    self._redis.delete(name)
        self._check_jobs([name for name in names if _family(name) == "job"])
        self._check_outboxes([name for name in names if _family(name) == "undelivered"])

    def _check_jobs(self, names: list[bytes]) -> None:
        removed = self._check(names=b"\n".join(names), fields=json.dumps(JOB_NUMBERS))
        if removed:
            log.error("%d values of tasks that are no numbers are removed", removed)

    def _check_outboxes(self, names: list[bytes]) -> None:
        """List the projects that have undelivered predictions, in case that list was another's."""
        projects = [name.removeprefix(UNDELIVERED) for name in names]
        if projects:
            self._redis.sadd(redis_key("outboxes"), *projects)

    def _drop_fields(self, name: bytes, fields: list[Any]) -> None:
        if fields:
            self._redis.hdel(name, *fields)
            log.error(
                "%s held %d values that are no numbers; they are removed", text(name), len(fields)
            )


def _type_of(name: bytes) -> str:
    """Return the type that a key should have; empty for one that is not ours."""
    return RQ_TYPES.get(text(name)) or TYPES.get(_family(name), "")


def _family(name: bytes) -> str:
    """Return the first word of a key behind the prefix."""
    return text(name).removeprefix(PREFIX).partition(":")[0]
