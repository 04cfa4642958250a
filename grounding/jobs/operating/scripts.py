"""What operators see of projects and do to them: each script runs whole or not at all.

Also the pieces with which the scripts of `jobs.scripts` note what is seen here. The comment above
each script says which crash it survives.
"""

from __future__ import annotations

from grounding.jobs.keys import CLOSE, CLOSE_KEYS, COUNT, FORGET, NOW, PROJECT_SECONDS, Script
from grounding.jobs.outbox.scripts import ENTRY

PACE_JOBS = 100
PACE_SECONDS = 300
"""A project's pace is that of so many of its last jobs, of so many seconds."""

PACE = f"""
local function note_finish(project)
  local finishes = PREFIX .. 'finishes:' .. project
  redis.call('LPUSH', finishes, now())
  redis.call('LTRIM', finishes, 0, {PACE_JOBS - 1})
  redis.call('EXPIRE', finishes, {PACE_SECONDS})
end
"""
"""Notes that a job of the project has ended. Needs `NOW`."""

RUN_PAUSE_MS = 120_000
"""Jobs that come later than this after a project's last one are a new run of it."""

RUN = f"""
local function note_run()
  if redis.call('HEXISTS', unfinished, project) == 1 then return end
  local last = redis.call('LINDEX', PREFIX .. 'finishes:' .. project, 0)
  if last and now() - last < {RUN_PAUSE_MS} then return end
  local totals = PREFIX .. 'totals:' .. project
  local done, failed = unpack(redis.call('HMGET', totals, 'done', 'failed'))
  redis.call('HSET', totals, 'before_run', (done or 0) + (failed or 0))
end
"""
"""Notes how many jobs of the project had ended before its present run began. Needs `NOW`."""

MAX_FAILURES = 1000
"""Failed tasks of one project that are kept; one more drops the oldest."""
MAX_PAYLOAD_BYTES = 16_384
"""Longest payload that is kept to ask a failed task again; an ordinary one has a tenth of that."""

FAILURE = f"""
local function forget_failure(project, task)
  if redis.call('ZREM', PREFIX .. 'failures:' .. project, task) == 1 then
    redis.call('DEL', PREFIX .. 'failure:' .. project .. ':' .. task)
  end
end
local function note_failure(project, record)
  local task, payload, config, due = unpack(record)
  local failures = PREFIX .. 'failures:' .. project
  task = task ~= 'null' and task or key
  for _, old in ipairs(
    redis.call('ZRANGEBYSCORE', failures, '-inf', now() - kept * 1000, 'LIMIT', 0, 100)) do
    forget_failure(project, old)
  end
  redis.call('ZADD', failures, now(), task)
  for _, old in ipairs(redis.call('ZRANGE', failures, 0, -{MAX_FAILURES + 1})) do
    forget_failure(project, old)
  end
  local failure = PREFIX .. 'failure:' .. project .. ':' .. task
  redis.call('DEL', failure)
  redis.call('HSET', failure, 'key', key, 'outcome', outcome, 'delivers', due and '1' or '0')
  if payload and string.len(payload) <= {MAX_PAYLOAD_BYTES} then
    redis.call('HSET', failure, 'payload', payload, 'config', config or '')
    if config then redis.call('EXPIRE', PREFIX .. 'config:' .. config, kept) end
  end
  redis.call('EXPIRE', failure, kept)
  redis.call('EXPIRE', failures, kept)
end
"""
"""Keeps why a task failed, and what it takes to ask it again. Needs `NOW`, and `kept` in seconds.

`record` has a job's task, payload, config and due time, as they were before its end. A task that
has no id is known by its job.
"""

# A web process killed between two of these leaves the rest of the project's jobs waiting. What a
# worker holds is finished, but for the long jobs, which say how far they are: their workers see
# that the record is gone. What somebody waits for stays.
DROP = Script(
    """
local state, owner, queue = unpack(redis.call('HMGET', job, 'state', 'project', 'queue'))
if owner ~= project or queue == 'interactive' then return 0 end
local is_long = state == 'leased' and redis.call('DEL', progress) == 1
if state ~= 'pending' and not is_long then return 0 end
redis.call('ZREM', undelivered, key)
forget('cancelled')
return 1
""",
    keys=CLOSE_KEYS + "undelivered progress",
    args="key project",
    uses=(COUNT, CLOSE, FORGET),
    finishing=True,
)

# A web process killed after this script leaves the failure listed, and the task may be asked again.
REOPEN = Script(
    """
if redis.call('HGET', job, 'state') ~= 'failed' then return 0 end
return redis.call('DEL', job)
""",
    keys="job",
    finishing=True,
)

# A process killed before this script leaves a failure that goes when the task is answered.
FORGET_FAILURE = Script(
    """
forget_failure(project, task)
""",
    keys="",
    args="project task",
    uses=(FAILURE,),
    finishing=True,
)

# A worker killed after this script leaves a picture that expires. Not while memory is short.
KEEP_ANSWER = Script(
    """
redis.call('SET', thumbnail, picture, 'EX', seconds)
redis.call('LPUSH', answers, answer)
redis.call('EXPIRE', answers, seconds)
local old = redis.call('LRANGE', answers, most, -1)
redis.call('LTRIM', answers, 0, most - 1)
for _, row in ipairs(old) do
  local is_json, one = pcall(cjson.decode, row)
  if is_json and type(one) == 'table' and type(one.key) == 'string' then
    redis.call('DEL', PREFIX .. 'thumbnail:' .. one.key)
  end
end
""",
    keys="answers thumbnail",
    args="key answer picture most seconds",
)

# It runs without free memory, too: Cancel is what then makes room.
FORM_TOKEN = Script(
    """
redis.call('SET', form_token, fresh, 'NX')
redis.call('EXPIRE', form_token, seconds)
return redis.call('GET', form_token)
""",
    keys="form_token",
    args="fresh seconds",
    finishing=True,
)

# Checks and removes in one step: meanwhile somebody may have made it the queue's own again. `names`
# are whole keys, one a line, and `kinds` the types that they should have, in the same order.
REMOVE_FOREIGN = Script(
    """
local kind, removed = string.gmatch(kinds, '[^\\n]+'), {}
for name in string.gmatch(names, '[^\\n]+') do
  local wanted, found = kind(), redis.call('TYPE', name).ok
  if found ~= 'none' and found ~= wanted then
    redis.call('DEL', name)
    removed[#removed + 1] = name
    removed[#removed + 1] = found
  end
end
return removed
""",
    keys="",
    args="names kinds",
    finishing=True,
)

# Looks at job records, whose keys are one a line. Returns how many of the fields with which scripts
# reckon were no numbers, and went. A list that was another's is gone with all that it named, so
# that unfinished jobs are listed again, and finished ones that were not delivered. Label Studio may
# have got one of these meanwhile, so that it is asked first: they are unconfirmed. A list that is
# another's still refuses, and is removed later in this look: the refusal makes the next one.
CHECK_JOBS = Script(
    f"""
local removed, numbers = 0, cjson.decode(fields)
for name in string.gmatch(names, '[^\\n]+') do
  local held = redis.call('HMGET', name, 'state', 'project', 'due', 'undelivered', 'held_until',
    unpack(numbers))
  for at, field in ipairs(numbers) do
    if held[at + 5] and not string.match(held[at + 5], '^%-?%d[%d.e+]*$') then
      removed = removed + redis.call('HDEL', name, field)
    end
  end
  local state, project, due, lacks, till = unpack(held)
  local key = string.sub(name, string.len(PREFIX .. 'job:') + 1)
  local is_unfinished = state == 'pending' or state == 'leased'
  if is_unfinished then redis.pcall('ZADD', pending, 'NX', now() / 1000, key) end
  if project and (is_unfinished and due or state == 'done' and lacks) then
    local undelivered, at = PREFIX .. 'undelivered:' .. project, '+inf'
    if state == 'done' then at = (is_held(name, now()) and till or now()) + saving(name) end
    if redis.pcall('ZADD', undelivered, 'NX', at, key) == 1 and state == 'done' then
      redis.call('HSETNX', name, 'held_until', now())
    end
    redis.call('EXPIRE', undelivered, {PROJECT_SECONDS})
    redis.pcall('SADD', outboxes, project)
  end
end
return removed
""",
    keys="pending outboxes",
    args="names fields",
    uses=(NOW, ENTRY),
    finishing=True,
)

# A process killed before this script repeats a part of the look. It runs without free memory, too.
NOTE_LOOK = Script(
    """
redis.call('SET', look, place)
""",
    keys="look",
    args="place",
    finishing=True,
)
