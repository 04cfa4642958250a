"""Debts: which finished jobs Label Studio still lacks, and who may give them to it.

A job that Label Studio asked for in order to store it is owed from its acceptance. Two may pay:
the request that still waits for it, and delivery, which pushes. Never both:

    answering   marks the debt, writes the answer, then pays; refused while the debt is closed
    pushing     closes and holds the debt, pushes, then pays; refused once it was marked meanwhile

Whoever dies in between leaves a debt in doubt. It falls due again later, and delivery looks for
the prediction in Label Studio before it pushes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from redis import Redis
from redis.commands.core import Script

from grounding.jobs.scripts import ANSWERED_MS, DEBT, FINISHING, HOLD_MS, NOW
from grounding.jobs.store import (
    COUNTERS,
    DELIVERIES,
    FORGOTTEN,
    OWED,
    PROJECTS,
    TOTALS,
    Outcome,
    job_key,
)

PUSHED_MS = 30_000
"""How long a debt stays closed after its push: Label Studio may have asked just before."""
LOST_MS = 10_000
"""When a debt falls due again whose push has failed at Label Studio."""
LONGEST_MS = 600_000
"""More than a debt is ever made to wait."""

# A web process killed after this script may or may not have answered: a debt in doubt. A page
# that was opened during a bulk run has its task's answer, and the run's own would be a second; so
# would the page's be while Label Studio saves a run's, which others see only once all are saved.
ANSWER = (
    FINISHING
    + NOW
    + DEBT
    + """
local outcome = redis.call('HGET', KEYS[1], 'outcome')
if not outcome then return false end
if is_closed(KEYS[1], now() - ARGV[2]) then return false end
if saving(KEYS[1]) > 0 and redis.call('HGET', KEYS[1], 'answered_to') ~= ARGV[4] then
  return false
end
redis.call('HSET', KEYS[1], 'answered', now(), 'answered_to', ARGV[4])
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  redis.call('ZADD', KEYS[2], now() + ARGV[3], ARGV[1])
end
return outcome
"""
)

# Changes nothing but to drop what Redis has forgotten, and to shorten waits that are longer than
# any: they were given before Redis's clock was set back.
DUE = (
    FINISHING
    + NOW
    + """
local found = {}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now() + ARGV[4], '(+inf')) do
  redis.call('ZADD', KEYS[1], now(), key)
end
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now(), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
for i = 1, #due, 2 do
  local job = redis.call('HMGET', ARGV[2] .. due[i], 'task', 'outcome', 'closed', 'answered',
                         'lost')
  if job[2] then
    local doubted = (job[3] or job[4]) and '1' or '0'
    found[#found + 1] = {due[i], due[i + 1], job[1], job[2], doubted, job[5] or '0'}
  else
    redis.call('ZREM', KEYS[1], due[i])
    redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
    redis.call('HINCRBY', KEYS[3], ARGV[3], 1)
  end
end
return found
"""
)

# A process killed after this script may or may not have pushed: a debt in doubt. Refused where
# the debt is no longer as it was seen: answered, paid, or in another process's hands.
HOLD = (
    FINISHING
    + NOW
    + """
if redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= ARGV[2] then return false end
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
redis.call('HSET', KEYS[1], 'closed', now() + ARGV[3])
redis.call('ZADD', KEYS[2], now() + ARGV[3], ARGV[1])
return redis.call('ZSCORE', KEYS[2], ARGV[1])
"""
)

# A process killed before this script leaves a debt in doubt.
PAY = (
    FINISHING
    + NOW
    + """
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[1], 'lost')
redis.call('HINCRBY', KEYS[3], ARGV[2], 1)
redis.call('HINCRBY', KEYS[4], ARGV[2], 1)
if ARGV[3] ~= '' and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'closed', now() + ARGV[3])
end
return 1
"""
)

# A process killed before this script leaves a debt that falls due a little later.
PUT_BACK = (
    FINISHING
    + """
if redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
redis.call('HDEL', KEYS[1], 'closed')
return 1
"""
)

# As above, but that it may be stored, and what the push failed at: so it stays closed, and comes
# behind what else is due.
DOUBT = (
    FINISHING
    + NOW
    + """
if redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('ZADD', KEYS[2], now() + ARGV[3], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'closed', now() + ARGV[3])
  redis.call('HINCRBY', KEYS[1], 'lost', 1)
end
return 1
"""
)


Call = tuple[list[str], list[str | int]]
"""A script's keys and arguments."""


class DeliveryResult(StrEnum):
    """What became of a debt."""

    ANSWERED = "answered"
    """Label Studio was given it as it asked."""
    PUSHED = "pushed"
    """Delivery gave it, and Label Studio said so."""
    FOUND = "found"
    """It was in doubt, and Label Studio has it."""
    REFUSED = "refused"
    """Label Studio will not have it: its task is gone, above all."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A finished job that Label Studio lacks, or with `unconfirmed` may lack, as it was seen.

    `mark` is its state in Redis: who changes the debt meanwhile changes the mark. `lost` counts
    the pushes of it, and the looks for it, that nobody knows the end of.
    """

    key: str
    project: str
    task: int
    prediction: Mapping[str, Any]
    unconfirmed: bool
    lost: int
    due: str
    mark: str


class Outbox:
    """All debts over one Redis connection pool; safe to share between threads."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._answer = redis.register_script(ANSWER)
        self._due = redis.register_script(DUE)
        self._hold = redis.register_script(HOLD)
        self._pay = redis.register_script(PAY)
        self._put_back = redis.register_script(PUT_BACK)
        self._doubt = redis.register_script(DOUBT)

    def answer(
        self, keys: Iterable[str], project: str, *, asked: float, to: str
    ) -> dict[str, Outcome]:
        """Return what came of those of `keys` that may be answered now, their debts marked.

        `asked` is how many seconds ago Label Studio asked, `to` the kind of its request. What
        was pushed since, or shortly before, or answered of late to a request of another kind, is
        left out: Label Studio has it or is about to. Equal requests get equal answers.
        """
        wanted = list(dict.fromkeys(keys))
        args: list[str | int] = [int(asked * 1000), ANSWERED_MS, to]
        calls: list[Call] = [([job_key(key), OWED + project], [key, *args]) for key in wanted]
        found = zip(wanted, self._each(self._answer, calls), strict=True)
        return {key: Outcome(**json.loads(raw)) for key, raw in found if raw is not None}

    def mark_delivered(self, keys: Iterable[str], project: str, how: DeliveryResult) -> None:
        """Strike these debts, and count them; one that is struck already is not counted."""
        shared = [OWED + project, COUNTERS, TOTALS + project]
        closed = PUSHED_MS if how in (DeliveryResult.PUSHED, DeliveryResult.FOUND) else ""
        args = [DELIVERIES + how, closed]
        self._each(self._pay, (([job_key(key), *shared], [key, *args]) for key in keys))

    def due(self, project: str, limit: int) -> list[OutboxEntry]:
        """Return the debts of `project` that are due, the oldest first, at most `limit`."""
        args: list[str | int] = [limit, job_key(""), FORGOTTEN, LONGEST_MS]
        rows: Any = self._due(keys=[OWED + project, COUNTERS, TOTALS + project], args=args)
        return [_debt(project, *row) for row in rows]

    def hold(self, entries: Sequence[OutboxEntry]) -> list[OutboxEntry]:
        """Hold `entries` for a push, and return those that still are as they were seen."""
        calls: list[Call] = [(_keys(entry), [entry.key, entry.mark, HOLD_MS]) for entry in entries]
        marks = zip(entries, self._each(self._hold, calls), strict=True)
        return [replace(entry, mark=mark.decode()) for entry, mark in marks if mark is not None]

    def put_back(self, entries: Iterable[OutboxEntry]) -> None:
        """Give up the hold on `entries`, which were not pushed: they are due as before."""
        calls: list[Call] = [
            (_keys(entry), [entry.key, entry.mark, entry.due]) for entry in entries
        ]
        self._each(self._put_back, calls)

    def mark_unconfirmed(self, entries: Iterable[OutboxEntry], *, ended: bool) -> None:
        """Note that nobody knows what became of a push of `entries`; they are due in a while.

        In a longer one unless the push has `ended`: what is looked for must be stored by then.
        """
        wait = LOST_MS if ended else HOLD_MS
        calls: list[Call] = [(_keys(entry), [entry.key, entry.mark, wait]) for entry in entries]
        self._each(self._doubt, calls)

    def projects(self) -> list[str]:
        """Return the projects that have a debt of a finished job."""
        names: Any = self._redis.hkeys(PROJECTS)
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.zcount(OWED + name.decode(), "-inf", "(+inf")
        counts = zip(names, pipe.execute(), strict=True)
        return [name.decode() for name, count in counts if count]

    def _each(self, script: Script, calls: Iterable[Call]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for keys, args in calls:
            script(keys=keys, args=args, client=pipe)
        return list(pipe.execute())


def _keys(entry: OutboxEntry) -> list[str]:
    return [job_key(entry.key), OWED + entry.project]


def _debt(
    project: str, key: bytes, mark: bytes, task: bytes, outcome: bytes, *state: bytes
) -> OutboxEntry:
    unconfirmed, lost = (int(word) for word in state)
    prediction = json.loads(outcome)["prediction"]
    due = mark.decode()
    return OutboxEntry(
        key.decode(), project, int(task), prediction, bool(unconfirmed), lost, due, due
    )
