"""Adopts what a release with layout 1 of the keys left in Redis. Those began with `g:`.

It runs in the reconciler's thread, so a rolling upgrade loses nothing. While a worker of the old
release lives, the jobs are left to it. After that, unfinished jobs without a live lease, finished
predictions that Label Studio lacks, and projects' parameters and prompts move over, in batches.
Each move is one script: a process killed between two leaves the rest to the next round of any
process. An old web server may still run: what it accepts moves too, it answers `[]`, and the outbox
delivers.
"""

from __future__ import annotations

import logging
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from grounding.jobs.keys import COUNT, NOW, PREFIX, PROJECT_SECONDS, Script, text
from grounding.jobs.payloads import FORMAT

log = logging.getLogger(__name__)

OLD = "g:"
OLD_QUEUES = ("bulk", "interactive")
MIGRATED = PREFIX + "migrated"
"""Exists for a while after the keys of all old projects were looked for."""
MIGRATED_SECONDS = 86_400
RUNNING_SECONDS = 60
"""The same while processes of the old release may still run."""
BATCH = 1000

# The fields of a record keep their names, but for `lane` (now `queue`), `solo` (a worker ran it
# alone), and `closed` (now `held_until`). Records of format 1 are records of format 2 that have
# their labelling config in the payload. A job that this release knows too is dropped, and stays
# undelivered if it was.
ADOPT_JOB = Script(
    f"""
local old, old_blob = '{OLD}job:' .. key, '{OLD}blob:' .. key
local state, project, queue, task, payload, accepted, size, solo, alone, deaths, suspected, due =
  unpack(redis.call('HMGET', old, 'state', 'project', 'lane', 'task', 'payload', 'accepted',
                    'blob', 'solo', 'alone', 'deaths', 'suspected', 'due'))
if state ~= 'pending' and state ~= 'leased' then
  redis.call('ZREM', '{OLD}pending', key)
  return 0
end
if redis.call('EXISTS', '{OLD}lease:' .. key) == 1 then return 0 end
project = project or ''
local is_new = redis.call('EXISTS', job) == 0
if is_new then
  redis.call('HSET', job, 'state', 'pending', 'format', format, 'queue', queue or 'bulk',
             'project', project, 'task', task or 'null', 'payload', payload or '',
             'accepted', accepted or now() / 1000, 'suspected', suspected or 0,
             'deaths', (deaths or 0) + (solo and 1 or 0))
  if alone or state == 'leased' then redis.call('HSET', job, 'alone', '1') end
  if redis.call('EXISTS', old_blob) == 1 then
    redis.call('RENAME', old_blob, blob)
    redis.call('INCRBY', blob_bytes, size or 0)
    redis.call('HSET', job, 'blob', size or 0)
  end
  redis.call('ZADD', pending, accepted or now() / 1000, key)
  redis.call('ZADD', unqueued, now(), key)
  redis.call('ZADD', projects, now(), project)
  redis.call('HINCRBY', unfinished, project, 1)
  count(project, 'accepted')
  local till = redis.call('ZSCORE', '{OLD}waited', key)
  if till then redis.call('ZADD', deadlines, till, key) end
end
local now_state = redis.call('HGET', job, 'state')
if redis.call('ZSCORE', '{OLD}owed:' .. project, key) and now_state ~= 'failed' then
  local undelivered = PREFIX .. 'undelivered:' .. project
  redis.call('HSETNX', job, 'due', due or now())
  redis.call('HSET', job, 'undelivered', 1)
  redis.call('ZADD', undelivered, 'NX', now_state == 'done' and now() or '+inf', key)
  redis.call('EXPIRE', undelivered, {PROJECT_SECONDS})
  redis.call('SADD', outboxes, project)
end
redis.call('DECRBY', '{OLD}blob_bytes', size or 0)
redis.call('DEL', old, old_blob)
redis.call('SREM', '{OLD}leased', key)
for _, set in ipairs({{'pending', 'waited', 'owed:' .. project}}) do
  redis.call('ZREM', '{OLD}' .. set, key)
end
redis.call('HINCRBY', '{OLD}projects', project, -1)
return is_new and 1 or 0
""",
    keys="job blob pending unqueued deadlines counters unfinished blob_bytes projects outboxes",
    args="key format",
    uses=(NOW, COUNT),
    finishing=True,
)

# What was answered or pushed and not confirmed stays unconfirmed, so that the outbox looks for the
# prediction before it pushes: an old process may be about to deliver it.
ADOPT_ENTRY = Script(
    f"""
local old, owed = '{OLD}job:' .. key, '{OLD}owed:' .. project
local due = redis.call('ZSCORE', owed, key)
local state, queue, held = unpack(redis.call('HMGET', old, 'state', 'lane', 'closed'))
if not due or state == 'pending' or state == 'leased' then return 0 end
redis.call('ZREM', owed, key)
if state ~= 'done' then return 0 end
if redis.call('EXISTS', job) == 0 then
  redis.call('RENAME', old, job)
  redis.call('HDEL', job, 'lane', 'closed')
  redis.call('HSET', job, 'queue', queue or 'bulk', 'format', format)
else
  for _, name in ipairs({{'answered', 'answered_to', 'lost'}}) do
    local value = redis.call('HGET', old, name)
    if value then redis.call('HSETNX', job, name, value) end
  end
end
if held then redis.call('HSETNX', job, 'held_until', held) end
local later = math.max(due, redis.call('HGET', job, 'due') or 0)
redis.call('HSET', job, 'due', later, 'undelivered', 1)
local now_state = redis.call('HGET', job, 'state')
if now_state == 'failed' then return 0 end
redis.call('ZADD', undelivered, 'GT', now_state == 'done' and due or '+inf', key)
redis.call('EXPIRE', undelivered, {PROJECT_SECONDS})
redis.call('SADD', outboxes, project)
redis.call('ZADD', projects, now(), project)
return 1
""",
    keys="job undelivered outboxes projects",
    args="key project format",
    uses=(NOW,),
    finishing=True,
)

# A value that this release has stays. An old web server may still read the old hash, so that one
# stays until it expires, marked as adopted.
ADOPT_PROJECT = Script(
    f"""
local old = '{OLD}project:' .. name
if redis.call('HSETNX', old, 'adopted', '1') == 0 then return 0 end
for _, field in ipairs({{'params', 'prompt'}}) do
  local value = redis.call('HGET', old, field)
  if value then redis.call('HSETNX', project, field, value) end
end
redis.call('EXPIRE', project, {PROJECT_SECONDS})
return 1
""",
    keys="project",
    args="name",
    finishing=True,
)

# Drops an old project that has nothing left to adopt, and the last one's counters with it.
DROP_PROJECT = Script(
    f"""
if redis.call('EXISTS', '{OLD}pending', '{OLD}owed:' .. project) > 0 then return end
redis.call('DEL', '{OLD}totals:' .. project)
redis.call('HDEL', '{OLD}projects', project)
if redis.call('EXISTS', '{OLD}projects') == 0 then
  for _, name in ipairs({{'counters', 'failed', 'troubles', 'blob_bytes', 'leased', 'waited'}}) do
    redis.call('DEL', '{OLD}' .. name)
  end
end
""",
    keys="",
    args="project",
    finishing=True,
)


class Migration:
    """What layout 1 of the keys holds, as this release takes it over."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._adopt_job = ADOPT_JOB.bind(redis)
        self._adopt_entry = ADOPT_ENTRY.bind(redis)
        self._adopt_project = ADOPT_PROJECT.bind(redis)
        self._drop_project = DROP_PROJECT.bind(redis)
        self._cursor = 0
        self._is_foreign = False

    def run(self) -> int:
        """Adopt one batch, and return how many jobs and predictions it had.

        Where nothing is left this costs one round trip. The old prefix is so short that another
        program may have it: keys of other types are left alone, and nothing is adopted any more.
        """
        if self._is_foreign:
            return 0
        try:
            return self._adopt()
        except ResponseError as exc:
            if "WRONGTYPE" not in str(exc):
                raise
            self._is_foreign = True
            log.error("%s… is of another program: nothing of an older release is taken over", OLD)
            return 0

    def _adopt(self) -> int:
        pipe = self._redis.pipeline(transaction=False)
        pipe.exists(OLD + "pending", OLD + "projects")
        pipe.exists(MIGRATED)
        is_there, is_migrated = pipe.execute()
        if not is_migrated:
            self._adopt_projects()
            self._redis.set(MIGRATED, 1, ex=RUNNING_SECONDS if is_there else MIGRATED_SECONDS)
        if not is_there or self._has_old_worker():
            return 0
        adopted = self._adopt_jobs() + self._adopt_entries()
        if adopted:
            log.info("took over %d jobs and predictions of an older release", adopted)
        self._drop_old_queues()
        return adopted

    def _has_old_worker(self) -> bool:
        """Say whether a worker of the old release lives, by its last status."""
        names: Any = self._redis.smembers(OLD + "workers")
        if not names:
            return False
        told: Any = self._redis.mget([f"{OLD}worker:{text(name)}" for name in names])
        return any(status is not None and b'"failed"' not in status for status in told)

    def _adopt_jobs(self) -> int:
        keys: Any = self._redis.zrange(OLD + "pending", 0, BATCH - 1)
        pipe = self._redis.pipeline(transaction=False)
        for key in keys:
            self._adopt_job(pipe, key=text(key), format=FORMAT)
        return sum(pipe.execute())

    def _adopt_entries(self) -> int:
        """Adopt the outbox entries of some projects; then drop those that have nothing left."""
        rows: Any
        self._cursor, rows = self._redis.hscan(OLD + "projects", self._cursor, count=BATCH)
        projects = [text(name) for name in rows]
        pipe = self._redis.pipeline(transaction=False)
        for project in projects:
            pipe.zrange(f"{OLD}owed:{project}", 0, BATCH - 1)
        found = dict(zip(projects, pipe.execute(), strict=True))
        for project, keys in found.items():
            for key in keys:
                self._adopt_entry(pipe, key=text(key), project=project, format=FORMAT)
        adopted = int(sum(pipe.execute()))
        for project in projects:
            self._drop_project(pipe, project=project)
        pipe.execute()
        return adopted

    def _adopt_projects(self) -> None:
        pipe = self._redis.pipeline(transaction=False)
        start = OLD + "project:"
        for name in self._redis.scan_iter(start + "*", count=BATCH):
            project = text(name).removeprefix(start)
            self._adopt_project(pipe, project=project, name=project)
        pipe.execute()

    def _drop_old_queues(self) -> None:
        """Drop the entries of the old RQ queues, which no worker reads any more."""
        for queue in OLD_QUEUES:
            while entries := self._take_entries(queue):
                self._redis.delete(*(f"rq:job:{text(entry)}" for entry in entries))
            self._redis.delete(f"rq:queue:{queue}:intermediate", f"rq:wip:{queue}")
            self._redis.srem("rq:queues", f"rq:queue:{queue}")

    def _take_entries(self, queue: str) -> list[bytes]:
        entries: Any = self._redis.lpop(f"rq:queue:{queue}", BATCH)
        return entries or []
