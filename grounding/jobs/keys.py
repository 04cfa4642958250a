"""The queue's keys in Redis, and Lua scripts that take their keys and arguments by name.

Also the pieces of Lua that several scripts share. The scripts themselves are in `scripts` and
`outbox.scripts`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

from redis import Redis
from redis.client import Pipeline

LAYOUT = 2
"""Number of this layout of keys. A release with another one shares none of its keys and queues."""

PREFIX = f"grounding:{LAYOUT}:"

KEYS: Mapping[str, str] = {
    # Of the whole queue.
    "pending": "pending",  # sorted set: unfinished jobs, by the Unix seconds of acceptance
    "unqueued": "unqueued",  # sorted set: pending jobs to queue, by the milliseconds from when
    "leased": "leased",  # set: jobs that a worker holds
    "deadlines": "deadlines",  # sorted set: interactive jobs, by the milliseconds until when wanted
    "counters": "counters",  # hash: running totals by name
    "answers": "answers",  # list: the last answers that the operator's page shows, each as JSON
    "form_token": "form_token",  # string: what forms of the operator's page carry
    "look": "look",  # string: refused commands when keys were last looked at, and SCAN's cursor
    "blob_bytes": "blob_bytes",  # integer: bytes of all blobs
    "configs": "configs",  # hash: unfinished jobs of each labelling config, by its digest
    "projects": "projects",  # sorted set: projects, by the milliseconds of their last use
    "unfinished": "unfinished",  # hash: unfinished jobs of each project that has some
    "outboxes": "outboxes",  # set: projects that may have undelivered predictions
    # Of one labelling config.
    "config": "config:{digest}",  # string: the XML text
    # Of one job.
    "job": "job:{key}",  # hash: the record
    "lease": "lease:{key}",  # string: the worker that holds the job
    "blob": "blob:{key}",  # string: task data that is too long for the record
    "waiters": "waiters:{key}",  # set: inboxes of the processes that wait for the job
    "thumbnail": "thumbnail:{key}",  # string: the small picture of an answer, a JPEG
    "progress": "progress:{key}",  # string: how many of a long job's questions are answered
    # Of one project.
    "totals": "totals:{project}",  # hash: running totals by name
    "undelivered": "undelivered:{project}",  # sorted set: outbox entries, by when each is due
    "finishes": "finishes:{project}",  # list: the milliseconds of its jobs' ends, latest first
    "failures": "failures:{project}",  # sorted set: tasks that failed, by the milliseconds when
    "config_error": "config_error:{project}",  # string: why its labelling config is refused
    "project": "project:{project}",  # hash: extra parameters and the last typed prompt
    # Of one task of a project.
    "failure": "failure:{project}:{task}",  # hash: why it failed, and what it takes to ask again
}
"""Every key that a script may name, behind `PREFIX`. Times are of Redis's own clock."""

TYPES: Mapping[str, str] = {
    family: kind
    for kind, families in {
        "hash": "counters configs unfinished job totals project failure",
        "zset": "pending unqueued deadlines projects undelivered failures",
        "set": "leased outboxes waiters workers",
        "list": "answers finishes inbox",
        "string": "form_token blob_bytes config lease blob thumbnail progress config_error worker"
        " latest backoff pause deliverer delivery migrated reconciler swept short kept look",
    }.items()
    for family in families.split()
}
"""Redis's type of each key, by its first word; also of those that no script names."""

FOR_EVER, GONE = -1, -2
"""What Redis says of the time that is left of a key that never expires, or is not there."""

SWEPT = PREFIX + "swept"
"""Exists until the reconciler's next sweep is due."""

PROJECT_SECONDS = 90 * 86_400
"""How long a project that nobody uses is remembered."""

NOW = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""
"""Returns the milliseconds of Redis's clock."""

COUNT = f"""
local function count(project, name, by)
  local totals = PREFIX .. 'totals:' .. project
  redis.call('HINCRBY', counters, name, by or 1)
  redis.call('HINCRBY', totals, name, by or 1)
  redis.call('EXPIRE', totals, {PROJECT_SECONDS})
end
"""
"""Adds `by`, or one, to a running total of the queue and of a project. Needs the key `counters`."""

ASKERS = """
local function add_asker()
  if asker == '' or redis.call('HINCRBY', job, 'asker:' .. asker, 1) == 1 then
    redis.call('HINCRBY', job, 'askers', 1)
  end
end
local function withdraw_asker()
  local by = (asker == '' or redis.call('HDEL', job, 'asker:' .. asker) == 1) and -1 or 0
  return redis.call('HINCRBY', job, 'askers', by)
end
local function withdraw_request()
  local others = tonumber(redis.call('HGET', job, 'asker:' .. asker) or '1') - 1
  if asker == '' or others < 1 then return withdraw_asker() end
  redis.call('HSET', job, 'asker:' .. asker, others)
  return others
end
"""
"""Counts the annotators who ask for a job, and returns how many are left when one withdraws.

Who asks twice is one asker, and stays one while one of two requests is withdrawn; one whose name is
unknown counts each time.
"""

INBOX_SECONDS = 120
"""How long an inbox stays that nobody empties, since its process has died."""
INBOX_LENGTH = 10_000
"""More than a living process ever leaves unread."""

CLOSE = f"""
local function close_job()
  local project, size, digest = unpack(redis.call('HMGET', job, 'project', 'blob', 'config'))
  redis.call('DECRBY', blob_bytes, size or 0)
  if digest and redis.call('HINCRBY', configs, digest, -1) <= 0 then
    redis.call('HDEL', configs, digest)
  end
  redis.call('DEL', lease, blob)
  redis.call('SREM', leased, key)
  for _, set in ipairs({{pending, unqueued, deadlines}}) do redis.call('ZREM', set, key) end
  project = project or ''
  if redis.call('HINCRBY', unfinished, project, -1) <= 0 then
    redis.call('HDEL', unfinished, project)
  end
  return project
end
local function wake_waiters()
  for _, inbox in ipairs(redis.call('SMEMBERS', waiters)) do
    redis.pcall('RPUSH', inbox, key)
    redis.pcall('LTRIM', inbox, -{INBOX_LENGTH}, -1)
    redis.pcall('EXPIRE', inbox, {INBOX_SECONDS})
  end
  redis.call('DEL', waiters)
end
"""
"""Takes a job out of everything that lists unfinished ones, and wakes the processes that wait."""
CLOSE_KEYS = (
    "job lease blob waiters pending unqueued leased deadlines counters unfinished configs"
    " blob_bytes "
)
"""The keys that `CLOSE` and `COUNT` need."""

FORGET = """
local function forget(code)
  local project = close_job()
  redis.call('DEL', job)
  count(project, 'failed')
  count(project, 'failed:' .. code)
  wake_waiters()
end
"""
"""Drops a job, and keeps only its count, so that the same request may be sent again at once."""

END = """
local function end_job(state, detail)
  local before = redis.call('HGET', job, 'state')
  if not before or before == 'done' or before == 'failed' then return nil end
  local project = close_job()
  redis.call('HSET', job, 'state', state, 'outcome', outcome)
  redis.call('HDEL', job, 'payload', 'blob', 'config', 'entry')
  redis.call('EXPIRE', job, ttl)
  note_finish(project)
  count(project, state)
  count(project, state .. ':' .. detail)
  return project, redis.call('HGET', job, 'task')
end
"""
"""Ends a job and returns its project and task; nil where it has ended: the first result wins.

Needs `note_finish` of `operating.scripts`.
"""

GIVE_BACK = """
local function give_back(wait_ms)
  if redis.call('GET', lease) ~= owner then return false end
  redis.call('DEL', lease)
  redis.call('HDEL', job, 'runs_alone')
  redis.call('SREM', leased, key)
  redis.call('HSET', job, 'state', 'pending')
  redis.call('ZADD', unqueued, now() + wait_ms, key)
  return true
end
"""
"""Puts a job back to pending, to be queued after `wait_ms`; false unless `owner` holds it."""


def text(value: bytes) -> str:
    """Return a name that Redis holds; one that others wrote may be no text, and is no one's."""
    return value.decode(errors="replace")


def number(value: bytes) -> int:
    """Return a count that Redis holds; 0 for one that others wrote and that is none."""
    try:
        return int(value)
    except ValueError:
        return 0


def json_object(value: object) -> dict[str, Any]:
    """Return a JSON object that Redis holds; an empty one where it is gone, or another's."""
    try:
        found = json.loads(value) if isinstance(value, bytes) else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def redis_key(name: str, **values: str) -> str:
    """Return the key called `name` in `KEYS`, with `values` for its placeholders."""
    return PREFIX + KEYS[name].format(**values)


class Script:
    """A Lua script whose keys and arguments have names, in Lua as in Python.

    `keys` and `args` are names separated by spaces, and each is a local variable of the script. A
    key's name stands in `KEYS`; its placeholders become parameters of the call. `uses` are pieces
    of Lua that come before `body`; they see the same names and the constant `PREFIX`. With
    `finishing` it also runs while Redis is out of memory, as whatever ends work must.
    """

    def __init__(
        self,
        body: str,
        *,
        keys: str,
        args: str = "",
        uses: Sequence[str] = (),
        finishing: bool = False,
    ) -> None:
        self.keys = tuple(keys.split())
        self.args = tuple(args.split())
        self.parameters = frozenset(self.args) | {
            name for key in self.keys for name in _placeholders(key)
        }
        shebang = ["#!lua flags=allow-oom"] if finishing else []
        names = [_locals(self.keys, "KEYS"), _locals(self.args, "ARGV")]
        prefix = f"local PREFIX = '{PREFIX}'"
        self.text = "\n".join([*shebang, prefix, *names, *uses, body])

    def bind(self, redis: Redis) -> BoundScript:
        """Return this script as a function over one connection pool."""
        return BoundScript(self, redis)

    def resolve(self, values: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
        """Return the keys and arguments for `values`; `TypeError` where names do not fit."""
        if wrong := self.parameters ^ values.keys():
            raise TypeError(f"a script is called with wrong or missing names: {sorted(wrong)}")
        keys = [PREFIX + KEYS[name].format_map(values) for name in self.keys]
        return keys, [values[name] for name in self.args]


class BoundScript:
    """A script over one connection pool; safe to share between threads."""

    def __init__(self, script: Script, redis: Redis) -> None:
        self._script = script
        self._registered = redis.register_script(script.text)

    def __call__(self, pipe: Pipeline | None = None, /, **values: str | float | bytes) -> Any:
        """Run the script at once, or add it to `pipe`; the names are those it declares."""
        keys, args = self._script.resolve(values)
        return self._registered(keys=keys, args=args, client=pipe)


def _placeholders(key: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(KEYS[key]) if name]


def _locals(names: Sequence[str], table: str) -> str:
    """Return the Lua statement that names the values of `table`."""
    if not names:
        return ""
    values = ", ".join(f"{table}[{number}]" for number in range(1, len(names) + 1))
    return f"local {', '.join(names)} = {values}"
