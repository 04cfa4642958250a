"""Every change of an outbox entry, each one Lua script: Redis runs it whole or not at all.

The comment above each script says which crash it survives. `Outbox` says what an entry is.
"""

from __future__ import annotations

from grounding.jobs.keys import COUNT, NOW, Script

HOLD_MS = 90_000
"""How long a push keeps its entry from being answered: no push takes longer."""
ANSWERED_MS = 180_000
"""When an answered entry falls due after all: Label Studio was seen to save ten a second."""

ENTRY = f"""
local function is_held(job, at)
  local till = tonumber(redis.call('HGET', job, 'held_until') or '0')
  return at < till and till <= now() + {HOLD_MS}
end
local function saving(job)
  local age = now() - (redis.call('HGET', job, 'answered') or '-inf')
  return 0 <= age and age < {ANSWERED_MS} and {ANSWERED_MS} - age or 0
end
"""
"""Whether a push holds an outbox entry, and how long Label Studio may still save its answer.

Both in milliseconds. A longer time than either ever lasts is from before Redis's clock was set
back, and does not count.
"""

PUSHED_MS = 30_000
"""How long an entry stays held after its push: Label Studio may have asked just before."""
LOST_MS = 10_000
"""When an entry falls due again whose push has failed at Label Studio."""
LONGEST_MS = 600_000
"""More than an entry ever waits. A longer wait is from before Redis's clock was set back."""

# A web process killed after this script may or may not have answered: the entry is unconfirmed. A
# page that was opened during a bulk run has got its task's answer: the run's would be a second one.
# The same holds for a page that is opened while Label Studio saves a run's answers, since it shows
# none of them before all are saved.
ANSWER = Script(
    f"""
local outcome = redis.call('HGET', job, 'outcome')
if not outcome or is_held(job, now() - asked_ms) then return false end
if saving(job) > 0 and redis.call('HGET', job, 'answered_to') ~= to then return false end
redis.call('HSET', job, 'answered', now(), 'answered_to', to)
if redis.call('ZSCORE', undelivered, key) then
  redis.call('ZADD', undelivered, now() + {ANSWERED_MS}, key)
end
return outcome
""",
    keys="job undelivered",
    args="key asked_ms to",
    uses=(NOW, ENTRY),
    finishing=True,
)

# Changes nothing but to drop the entries of results that Redis no longer keeps, and to shorten
# waits from before Redis's clock was set back.
DUE = Script(
    f"""
for _, key in ipairs(
  redis.call('ZRANGEBYSCORE', undelivered, now() + {LONGEST_MS}, '(+inf')) do
  redis.call('ZADD', undelivered, now(), key)
end
local found = {{}}
local due = redis.call(
  'ZRANGEBYSCORE', undelivered, '-inf', now(), 'WITHSCORES', 'LIMIT', 0, limit)
for i = 1, #due, 2 do
  local task, outcome, held, answered, lost = unpack(redis.call('HMGET', PREFIX .. 'job:' .. due[i],
    'task', 'outcome', 'held_until', 'answered', 'lost'))
  if outcome then
    local unconfirmed = (held or answered) and '1' or '0'
    found[#found + 1] = {{due[i], due[i + 1], task, outcome, unconfirmed, lost or '0'}}
  else
    redis.call('ZREM', undelivered, due[i])
    count(project, 'delivery:expired')
  end
end
return found
""",
    keys="undelivered counters",
    args="project limit",
    uses=(NOW, COUNT),
    finishing=True,
)

# A process killed after this script may or may not have pushed: the entry is unconfirmed. Refused
# where the entry has changed since it was seen: answered, delivered, or held by another process.
HOLD = Script(
    f"""
if redis.call('ZSCORE', undelivered, key) ~= version then return false end
if redis.call('EXISTS', job) == 0 then return false end
redis.call('HSET', job, 'held_until', now() + {HOLD_MS})
redis.call('ZADD', undelivered, now() + {HOLD_MS}, key)
return redis.call('ZSCORE', undelivered, key)
""",
    keys="job undelivered",
    args="key version",
    uses=(NOW,),
    finishing=True,
)

# A process killed before this script leaves an unconfirmed entry. The job's record notes it, too,
# also where the entry is gone, since a list that is lost is written anew from the records.
MARK_DELIVERED = Script(
    """
redis.call('HDEL', job, 'undelivered')
if redis.call('ZREM', undelivered, key) == 0 then return 0 end
redis.call('HDEL', job, 'lost')
count(project, result)
if hold_ms ~= '' and redis.call('EXISTS', job) == 1 then
  redis.call('HSET', job, 'held_until', now() + hold_ms)
end
return 1
""",
    keys="job undelivered counters",
    args="key project result hold_ms",
    uses=(NOW, COUNT),
    finishing=True,
)

# A process killed before this script leaves an entry that falls due a little later.
PUT_BACK = Script(
    """
if redis.call('ZSCORE', undelivered, key) ~= version then return 0 end
redis.call('ZADD', undelivered, due, key)
redis.call('HDEL', job, 'held_until')
return 1
""",
    keys="job undelivered",
    args="key version due",
    finishing=True,
)

# As above, of an entry whose push may have been stored. It stays held, and comes behind others.
MARK_UNCONFIRMED = Script(
    """
if redis.call('ZSCORE', undelivered, key) ~= version then return 0 end
redis.call('ZADD', undelivered, now() + wait_ms, key)
if redis.call('EXISTS', job) == 1 then
  redis.call('HSET', job, 'held_until', now() + wait_ms)
  redis.call('HINCRBY', job, 'lost', 1)
end
return 1
""",
    keys="job undelivered",
    args="key version wait_ms",
    uses=(NOW,),
    finishing=True,
)

# Changes nothing but to drop projects without an entry. Those that wait for a worker do not count.
PROJECTS = Script(
    """
local found = {}
for _, project in ipairs(redis.call('SMEMBERS', outboxes)) do
  local undelivered = PREFIX .. 'undelivered:' .. project
  if redis.call('EXISTS', undelivered) == 0 then
    redis.call('SREM', outboxes, project)
  elseif redis.call('ZCOUNT', undelivered, '-inf', '(+inf') > 0 then
    found[#found + 1] = project
  end
end
return found
""",
    keys="outboxes",
    finishing=True,
)
