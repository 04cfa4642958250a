"""Every change of a job's state, each one Lua script: Redis runs it whole or not at all.

The comment above each script says which crash it survives. `keys.KEYS` describes the keys.
"""

from __future__ import annotations

from grounding.jobs.keys import (
    ASKERS,
    CLOSE,
    CLOSE_KEYS,
    COUNT,
    END,
    FORGET,
    GIVE_BACK,
    NOW,
    PROJECT_SECONDS,
    Script,
)
from grounding.jobs.operating.scripts import FAILURE, PACE, RUN
from grounding.jobs.outbox.scripts import ENTRY

GRACE_MS = 2000
"""How long a job may be on its way into RQ's queue, or from there to its lease."""
LEAVE_MS = 10_000
"""How long a job waits whose record the process that took it cannot read."""
LONGEST_MS = 60_000
"""More than a job ever waits to be queued. A longer wait is from before a clock was set back."""

# A web process killed after this script leaves a pending job, which the reconciler queues, and
# its outbox entry, which delivery pushes. One killed after raising a job leaves it in its place of
# the bulk queue. An entry that a push holds, or held a moment ago, does not become undelivered
# again; one that was answered a moment ago falls due when Label Studio must have saved it. Each
# project has twice as much room for interactive jobs as for its bulk.
ACCEPT = Script(
    f"""
local function prolong_wait()
  if timeout_ms == '0' then return end
  redis.call('ZADD', deadlines, 'GT', now() + timeout_ms, key)
  add_asker()
end
local function enter_outbox(state)
  if deliver_ms == '' or state == 'failed' or is_held(job, now()) then return end
  local due = now() + math.max(deliver_ms, saving(job))
  redis.call('HSET', job, 'due', due, 'undelivered', 1)
  redis.call('ZADD', undelivered, state == 'done' and due or '+inf', key)
  redis.call('EXPIRE', undelivered, {PROJECT_SECONDS})
  redis.call('SADD', outboxes, project)
end
local function refuse(why)
  count(project, 'refused')
  return why
end
redis.call('ZADD', projects, now(), project)
local state = redis.call('HGET', job, 'state')
if state then
  enter_outbox(state)
  if state == 'done' then redis.call('EXPIRE', job, result_ttl) end
  if state == 'done' or state == 'failed' then return state end
  redis.call('ZADD', pending, 'NX', now() / 1000, key) -- should it have been lost from there
  prolong_wait()
  local is_front = queue == 'interactive' and redis.call('HGET', job, 'queue') == 'bulk'
  if is_front and state == 'pending' then
    redis.call('HSET', job, 'queue', queue)
    return 'raised'
  end
  return state
end
local bound = queue == 'bulk' and max_pending or 2 * max_pending
if tonumber(redis.call('HGET', unfinished, project) or '0') >= tonumber(bound) then
  return refuse('full')
end
local size = string.len(data)
if size + (redis.call('GET', blob_bytes) or 0) > tonumber(max_blob_bytes) then
  return refuse('no_room')
end
if size > 0 then
  redis.call('SET', blob, data, 'EX', result_ttl)
  redis.call('INCRBY', blob_bytes, size)
  redis.call('HSET', job, 'blob', size)
end
if digest ~= '' then
  redis.call('HINCRBY', configs, digest, 1)
  redis.call('HSET', job, 'config', digest)
end
prolong_wait()
note_run()
local seconds = now() / 1000
redis.call('HSET', job, 'state', 'pending', 'format', format, 'queue', queue, 'project', project,
           'task', task, 'payload', payload, 'accepted', seconds)
redis.call('ZADD', pending, seconds, key)
redis.call('ZADD', unqueued, now() + {GRACE_MS}, key)
redis.call('HINCRBY', unfinished, project, 1)
count(project, 'accepted')
enter_outbox('pending')
return 'new'
""",
    keys="job blob pending unqueued deadlines counters unfinished configs blob_bytes"
    " projects undelivered outboxes",
    args="key queue project task format payload data digest max_pending max_blob_bytes result_ttl"
    " timeout_ms asker deliver_ms",
    uses=(NOW, COUNT, ASKERS, ENTRY, RUN),
)

# A process killed before this script leaves jobs that the reconciler queues once more: claims are
# exclusive, so the second entry of a job in RQ's queue does nothing.
MARK_QUEUED = Script(
    """
for key, entry in pairs(cjson.decode(entries)) do
  redis.call('ZREM', unqueued, key)
  local job = PREFIX .. 'job:' .. key
  if redis.call('EXISTS', job) == 1 then redis.call('HSET', job, 'entry', entry) end
end
""",
    keys="unqueued",
    args="entries",
)

# A worker killed after this script leaves a lease that expires; one killed before it, a job that
# the reconciler finds on its way. A record of another format stays for processes that read it.
CLAIM = Script(
    f"""
if redis.call('HGET', job, 'state') ~= 'pending' then return false end
local till = redis.call('ZSCORE', deadlines, key)
if now() > tonumber(till or 'inf') then
  forget('nobody_waits')
  return false
end
local format = redis.call('HGET', job, 'format')
local number = tonumber(format)
if number and (number < tonumber(oldest) or number > tonumber(newest)) then
  redis.call('ZADD', unqueued, now() + {LEAVE_MS}, key)
  return {{'left', format}}
end
redis.call('SET', lease, owner, 'PX', lease_ms) -- whatever else is there has no right to it
redis.call('HSET', job, 'state', 'leased')
redis.call('SADD', leased, key)
redis.call('ZREM', unqueued, key)
local payload, queue, alone, digest = unpack(
  redis.call('HMGET', job, 'payload', 'queue', 'alone', 'config'))
redis.call('HINCRBY', counters, alone and 'attempts:worker_died' or 'attempts:asked', 1)
local config = digest and redis.call('GET', PREFIX .. 'config:' .. digest)
local data = redis.call('GET', blob)
local left = till and tonumber(till) - now()
return {{'claimed', number and format or false, payload, queue, alone, left, data, config}}
""",
    keys=CLOSE_KEYS,
    args="key owner lease_ms oldest newest",
    uses=(NOW, COUNT, CLOSE, FORGET),
    finishing=True,
)

# The web process that asked may have died: the time alone shows that nobody waits any more. A job
# that a worker holds knows its time by itself; once each annotator who asked it has withdrawn, its
# worker sees that the record is gone. A web process killed before this script leaves a job that
# ends at its time.
CANCEL = Script(
    """
local till = redis.call('ZSCORE', deadlines, key)
local state = redis.call('HGET', job, 'state')
if till and not state then redis.call('ZREM', deadlines, key) end
if not till or not state then return 0 end
if when == 'now' and withdraw_asker() > 0 then return 0 end
if when == 'left' and withdraw_request() > 0 then return 0 end
if when == 'due' and (state ~= 'pending' or now() <= tonumber(till)) then return 0 end
forget('nobody_waits')
return 1
""",
    keys=CLOSE_KEYS,
    args="key when asker",
    uses=(NOW, COUNT, CLOSE, FORGET, ASKERS),
    finishing=True,
)

# A process killed after this script leaves an inbox that expires. It runs without free memory, too:
# an answer that is finished would otherwise wait for its request's deadline.
WATCH = Script(
    """
local state = redis.call('HGET', job, 'state')
if not state or state == 'done' or state == 'failed' then return 0 end
redis.call('SADD', waiters, inbox)
redis.call('EXPIRE', waiters, result_ttl)
return 1
""",
    keys="job waiters",
    args="inbox result_ttl",
    finishing=True,
)

# A worker killed before this script has a lease that expires sooner, and no more.
RENEW = Script(
    """
if redis.call('GET', lease) ~= owner then return 0 end
return redis.call('PEXPIRE', lease, lease_ms)
""",
    keys="lease",
    args="owner lease_ms",
    finishing=True,
)

# A worker that finishes a job after its lease expired, and after another did, changes nothing. One
# killed before this script leaves a lease that expires; one killed after it, the result, and an
# outbox entry that is due. Entries of results that Redis no longer keeps leave the outbox; the
# task's failure, the list of those.
FINISH = Script(
    f"""
local project, task = end_job('done', verdict)
if not project then return 0 end
local undelivered = PREFIX .. 'undelivered:' .. project
if redis.call('ZSCORE', undelivered, key) then
  local due = tonumber(redis.call('HGET', job, 'due') or '0')
  redis.call('ZADD', undelivered, math.max(due, now()), key)
  redis.call('EXPIRE', undelivered, {PROJECT_SECONDS})
end
forget_failure(project, task ~= 'null' and task or key)
local expired = redis.call('ZREMRANGEBYSCORE', undelivered, '-inf', now() - ttl * 1000)
if expired > 0 then count(project, 'delivery:expired', expired) end
for reason, n in pairs(cjson.decode(dropped)) do count(project, 'dropped:' .. reason, n) end
wake_waiters()
return 1
""",
    keys=CLOSE_KEYS,
    args="key outcome verdict ttl dropped",
    uses=(NOW, COUNT, CLOSE, PACE, END, FAILURE),
    finishing=True,
)

# As above. A failed job has nothing to deliver, and is kept for a shorter time than a done one; one
# that an annotator waited for until its answer has the reason, since a retry of the project cannot
# ask it again for them.
FAIL = Script(
    """
local waited = redis.call('ZSCORE', deadlines, key)
if waited then ttl = seen end
local record = redis.call('HMGET', job, 'task', 'payload', 'config', 'due')
local project = end_job('failed', code)
if not project then return 0 end
if not waited then note_failure(project, record) end
redis.call('ZREM', PREFIX .. 'undelivered:' .. project, key)
wake_waiters()
return 1
""",
    keys=CLOSE_KEYS,
    args="key outcome code ttl seen kept",
    uses=(NOW, COUNT, CLOSE, PACE, END, FAILURE),
    finishing=True,
)

# A worker killed after this script has died of this very job; before it, of some other.
START_ALONE = Script(
    """
if redis.call('GET', lease) ~= owner then return 0 end
redis.call('HSET', job, 'runs_alone', '1')
return 1
""",
    keys="job lease",
    args="owner",
    finishing=True,
)

# A worker killed between two releases leaves leases that expire. A released job is not blamed.
RELEASE = Script(
    "give_back(0)",
    keys="job lease leased unqueued",
    args="key owner",
    uses=(NOW, GIVE_BACK),
    finishing=True,
)

# As above, from a worker whose model's server is away. The job goes to the bulk queue, so that
# annotators do not wait behind it, and counts how often it may have been the cause. A worker killed
# before it queues the job leaves that to the reconciler.
POSTPONE = Script(
    f"""
if not give_back({GRACE_MS}) then return 0 end
redis.call('HSET', job, 'queue', 'bulk')
return redis.call('HINCRBY', job, 'suspected', suspect)
""",
    keys="job lease leased unqueued",
    args="key owner suspect",
    uses=(NOW, GIVE_BACK),
    finishing=True,
)

# Only the death of a job that ran alone counts against it: beside others, any may be the cause.
# A reconciler killed after this script leaves a pending job, which the next one queues; killed
# before it fails a job at its last death, it lets that one run alone once more.
EXPIRE = Script(
    """
if redis.call('HGET', job, 'state') ~= 'leased' then
  redis.call('SREM', leased, key)
  return 0
end
if redis.call('EXISTS', lease) == 1 then return 0 end
redis.call('SREM', leased, key)
redis.call('HINCRBY', counters, 'expired', 1)
if redis.call('HDEL', job, 'runs_alone') == 1 then redis.call('HINCRBY', job, 'deaths', 1) end
redis.call('HSET', job, 'state', 'pending', 'alone', '1')
redis.call('ZADD', unqueued, now(), key)
return tonumber(redis.call('HGET', job, 'deaths') or '0')
""",
    keys="job lease leased unqueued counters",
    args="key",
    uses=(NOW,),
    finishing=True,
)

# Changes nothing but to drop what is not pending any more, and to shorten waits from before Redis's
# clock was set back. A reconciler killed after it leaves the jobs to the next one.
DUE = Script(
    f"""
for _, key in ipairs(redis.call('ZRANGEBYSCORE', unqueued, now() + {LONGEST_MS}, '+inf')) do
  redis.call('ZADD', unqueued, now(), key)
end
local found = {{}}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', unqueued, '-inf', now(), 'LIMIT', 0, limit)) do
  local state, queue = unpack(redis.call('HMGET', PREFIX .. 'job:' .. key, 'state', 'queue'))
  if state == 'pending' then
    found[#found + 1] = key
    found[#found + 1] = queue or ''
  else
    redis.call('ZREM', unqueued, key)
  end
end
return found
""",
    keys="unqueued",
    args="limit",
    uses=(NOW,),
    finishing=True,
)

# A slot may be about to claim the job, which takes it out again. One that died has left it here.
# A stale entry of a job that was queued again since is not its latest, and does not count.
NOTE_IN_TRANSIT = Script(
    f"""
local state, latest = unpack(redis.call('HMGET', job, 'state', 'entry'))
if state ~= 'pending' or latest ~= entry then return 0 end
return redis.call('ZADD', unqueued, 'NX', now() + {GRACE_MS}, key)
""",
    keys="job unqueued",
    args="key entry",
    uses=(NOW,),
    finishing=True,
)

# As above, of jobs that are nowhere in RQ. One whose record is gone, by hand or by eviction, or not
# ours fails. One that a worker holds is listed as held. Returns how many fail.
NOTE_MISSING = Script(
    f"""
local lost = 0
for _, key in ipairs(cjson.decode(missing)) do
  local state = redis.pcall('HGET', PREFIX .. 'job:' .. key, 'state')
  if state == 'pending' then
    redis.call('ZADD', unqueued, 'NX', now() + {GRACE_MS}, key)
  elseif state == 'leased' then
    redis.call('SADD', leased, key)
  elseif redis.call('ZREM', pending, key) == 1 then
    redis.call('ZREM', unqueued, key)
    redis.call('ZREM', deadlines, key)
    lost = lost + 1
    redis.call('HINCRBY', counters, 'failed', 1)
    redis.call('HINCRBY', counters, 'failed:record_lost', 1)
    -- Nobody knows its project and config now, so they are counted anew from an empty queue.
    if redis.call('EXISTS', pending) == 0 then
      redis.call('DEL', unfinished, configs, blob_bytes)
    end
  end
end
return lost
""",
    keys="pending unqueued deadlines leased counters unfinished configs blob_bytes",
    args="missing",
    uses=(NOW,),
    finishing=True,
)

# A process killed between two of these leaves the rest to the next one.
FORGET_PROJECTS = Script(
    f"""
local before = now() - {PROJECT_SECONDS} * 1000
local old = redis.call('ZRANGEBYSCORE', projects, '-inf', before, 'LIMIT', 0, limit)
for _, project in ipairs(old) do
  if redis.call('HEXISTS', unfinished, project) == 1 then
    redis.call('ZADD', projects, now(), project)
  else
    redis.call('ZREM', projects, project)
    redis.call('SREM', outboxes, project)
    for _, name in ipairs({{'totals:', 'undelivered:', 'finishes:'}}) do
      redis.call('DEL', PREFIX .. name .. project)
    end
  end
end
""",
    keys="projects unfinished outboxes",
    args="limit",
    uses=(NOW,),
    finishing=True,
)
