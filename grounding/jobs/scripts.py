"""Every change of a job's state, each one Lua script: Redis runs it whole or not at all.

The comment beside each says which crash that survives. `JobStore` names the keys and arguments.
"""

NOW = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

HOLD_MS = 90_000
"""How long a push closes a debt: no push takes longer."""
ANSWERED_MS = 180_000
"""When an answered debt falls due after all: Label Studio was seen to save ten a second."""

DEBT = f"""
local function is_closed(job, at)
  local closed = tonumber(redis.call('HGET', job, 'closed') or '0')
  return at < closed and closed <= now() + {HOLD_MS}
end
local function saving(job)
  local age = now() - (redis.call('HGET', job, 'answered') or '-inf')
  return 0 <= age and age < {ANSWERED_MS} and {ANSWERED_MS} - age or 0
end
"""
"""Whether a push closes a debt, and how long Label Studio may still be saving its answer.

Times beyond what either is given for are from before Redis's clock was set back.
"""

NOTIFY = """
local function notify(key)
  local watchers = 'g:watchers:' .. key
  for _, inbox in ipairs(redis.call('SMEMBERS', watchers)) do
    redis.call('RPUSH', inbox, key)
    redis.call('EXPIRE', inbox, 300)
  end
  redis.call('DEL', watchers)
end
"""
"""Adds a finished job's key to the inbox of each process that waits for it."""

FORGET = (
    NOTIFY
    + """
local function forget(job, key, pending, projects, counters, waited, blob, bytes, totals)
  local project = redis.call('HGET', job, 'project')
  redis.call('DECRBY', bytes, redis.call('HGET', job, 'blob') or 0)
  redis.call('DEL', job, blob)
  redis.call('ZREM', pending, key)
  redis.call('ZREM', waited, key)
  notify(key)
  redis.call('HINCRBY', projects, project, -1)
  for _, books in ipairs({counters, totals .. project}) do
    redis.call('HINCRBY', books, 'failed', 1)
    redis.call('HINCRBY', books, 'failed:nobody_waits', 1)
  end
end
"""
)
"""Drops a job without a trace but its count: the same question may be asked again at once."""

FINISHING = "#!lua flags=allow-oom\n"
"""Before scripts that must run though Redis has no memory left: they bring work to its end."""

# A web process killed after this script leaves a pending job, which the reconciler queues, and
# its debt, which delivery pays; one killed after raising a job leaves it to its place in the bulk.
# What is being pushed, or was a moment ago, is not owed again; what was answered a moment ago falls
# due only when Label Studio must have saved it. A project's bulk leaves room for people.
ACCEPT = (
    NOW
    + DEBT
    + """
local function wait()
  if ARGV[11] == '0' then return end
  redis.call('ZADD', KEYS[8], 'GT', now() + ARGV[11], ARGV[6])
  redis.call('HINCRBY', KEYS[1], 'askers', 1)
end
local function owe(state)
  if ARGV[12] == '' or state == 'failed' then return end
  if is_closed(KEYS[1], now()) then return end
  local due = now() + math.max(ARGV[12], saving(KEYS[1]))
  redis.call('HSET', KEYS[1], 'due', due)
  redis.call('ZADD', KEYS[9], state == 'done' and due or '+inf', ARGV[6])
end
local state = redis.call('HGET', KEYS[1], 'state')
if state then
  owe(state)
  if state == 'done' then redis.call('EXPIRE', KEYS[1], ARGV[10]) end
  if state == 'pending' or state == 'leased' then wait() end
  local front = ARGV[2] == 'interactive' and redis.call('HGET', KEYS[1], 'queue') == 'bulk'
  if front and state == 'pending' then
    redis.call('HSET', KEYS[1], 'queue', ARGV[2])
    return 'raised'
  end
  return state
end
local bound = ARGV[2] == 'bulk' and ARGV[5] or 2 * ARGV[5]
if tonumber(redis.call('HGET', KEYS[3], ARGV[3]) or '0') >= tonumber(bound) then
  redis.call('HINCRBY', KEYS[4], 'refused', 1)
  redis.call('HINCRBY', KEYS[5], 'refused', 1)
  return 'full'
end
local size = string.len(ARGV[8])
if size + (redis.call('GET', KEYS[7]) or 0) > tonumber(ARGV[9]) then
  redis.call('HINCRBY', KEYS[4], 'refused', 1)
  redis.call('HINCRBY', KEYS[5], 'refused', 1)
  return 'no_room'
end
if size > 0 then
  redis.call('SET', KEYS[6], ARGV[8], 'EX', ARGV[10])
  redis.call('INCRBY', KEYS[7], size)
  redis.call('HSET', KEYS[1], 'blob', size)
end
wait()
redis.call('HSET', KEYS[1], 'state', 'pending', 'queue', ARGV[2], 'project', ARGV[3],
           'payload', ARGV[4], 'accepted', ARGV[1], 'task', ARGV[7])
redis.call('ZADD', KEYS[2], ARGV[1], ARGV[6])
redis.call('HINCRBY', KEYS[3], ARGV[3], 1)
redis.call('HINCRBY', KEYS[4], 'accepted', 1)
owe('pending')
return 'new'
"""
)

# A worker killed after this script leaves a lease that lapses; one killed before it, nothing.
CLAIM = (
    FINISHING
    + NOW
    + FORGET
    + """
if redis.call('HGET', KEYS[1], 'state') ~= 'pending' then return false end
local till = redis.call('ZSCORE', KEYS[7], ARGV[3])
if now() > tonumber(till or 'inf') then
  forget(KEYS[1], ARGV[3], KEYS[5], KEYS[6], KEYS[4], KEYS[7], KEYS[8], KEYS[9], ARGV[4])
  return false
end
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
redis.call('HSET', KEYS[1], 'state', 'leased')
redis.call('SADD', KEYS[3], ARGV[3])
local alone = redis.call('HGET', KEYS[1], 'alone')
redis.call('HINCRBY', KEYS[4], alone and 'attempts:worker_died' or 'attempts:asked', 1)
local lane, waited = redis.call('HGET', KEYS[1], 'queue'), till and '1' or '0'
local payload, blob = redis.call('HGET', KEYS[1], 'payload'), redis.call('GET', KEYS[8])
return {payload, alone or '0', lane, waited, blob}
"""
)

# The web process that asked may be failed: a job that nobody waits for any more is known by its
# time alone. One that a worker holds runs to its end, and so does one that another asked as well.
CANCEL = (
    FINISHING
    + NOW
    + FORGET
    + """
local till = tonumber(redis.call('ZSCORE', KEYS[5], ARGV[1]) or 'inf')
if till == math.huge or redis.call('HGET', KEYS[1], 'state') ~= 'pending' then return 0 end
if ARGV[2] == 'due' and now() <= till then return 0 end
if ARGV[2] == 'now' and redis.call('HINCRBY', KEYS[1], 'askers', -1) > 0 then return 0 end
forget(KEYS[1], ARGV[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], ARGV[3])
return 1
"""
)

# A worker killed before this script has a lease that lapses sooner: no more than that.
RENEW = (
    FINISHING
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
)

# The first result wins: a worker that was taken for dead and finishes late changes nothing.
# One killed before this script leaves a lease that lapses; one killed after it, the result, and
# the debt fallen due with it. The dead owe nothing, and are kept for a shorter time than the done:
# only the end of a done job tells what Redis has forgotten, which is owed no more.
SETTLE = (
    FINISHING
    + NOW
    + NOTIFY
    + """
local state = redis.call('HGET', KEYS[1], 'state')
if not state or state == 'done' or state == 'failed' then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'outcome', ARGV[2])
redis.call('DECRBY', KEYS[9], redis.call('HGET', KEYS[1], 'blob') or 0)
redis.call('HDEL', KEYS[1], 'payload', 'blob')
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('ZREM', KEYS[3], ARGV[4])
redis.call('ZREM', KEYS[10], ARGV[4])
redis.call('SREM', KEYS[6], ARGV[4])
redis.call('DEL', KEYS[2], KEYS[8])
notify(ARGV[4])
local project = redis.call('HGET', KEYS[1], 'project')
redis.call('HINCRBY', KEYS[4], project, -1)
redis.call('HINCRBY', ARGV[6] .. project, ARGV[1], 1)
if ARGV[1] == 'failed' then
  redis.call('HINCRBY', ARGV[6] .. project, 'failed:' .. ARGV[5], 1)
  if ARGV[9] == '1' then
    redis.call('LPUSH', KEYS[7], ARGV[4])
    redis.call('LTRIM', KEYS[7], 0, 99)
  end
end
redis.call('HINCRBY', KEYS[5], ARGV[1], 1)
redis.call('HINCRBY', KEYS[5], ARGV[1] .. ':' .. ARGV[5], 1)
local owed = ARGV[7] .. project
if ARGV[1] == 'failed' then
  redis.call('ZREM', owed, ARGV[4])
  return 1
end
if redis.call('ZSCORE', owed, ARGV[4]) then
  local due = tonumber(redis.call('HGET', KEYS[1], 'due') or '0')
  redis.call('ZADD', owed, math.max(due, now()), ARGV[4])
end
local forgotten = redis.call('ZREMRANGEBYSCORE', owed, '-inf', now() - ARGV[3] * 1000)
if forgotten > 0 then
  redis.call('HINCRBY', KEYS[5], ARGV[8], forgotten)
  redis.call('HINCRBY', ARGV[6] .. project, ARGV[8], forgotten)
end
return 1
"""
)

# A worker killed after this script has died of this very job; before it, of some other.
START_ALONE = (
    FINISHING
    + """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'solo', '1')
return 1
"""
)

GIVE_BACK = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[1], 'solo')
redis.call('SREM', KEYS[3], ARGV[2])
redis.call('HSET', KEYS[1], 'state', 'pending')
"""

# A worker killed between its releases leaves leases that lapse; a lapsed one is not given twice.
RELEASE = FINISHING + GIVE_BACK + "return 1\n"

# The same, of a worker that found nobody to answer. The job goes to the bulk, lest people wait
# behind it, and counts how often it may have been to blame.
POSTPONE = (
    FINISHING
    + GIVE_BACK
    + """
redis.call('HSET', KEYS[1], 'queue', 'bulk')
return redis.call('HINCRBY', KEYS[1], 'suspected', ARGV[3])
"""
)

# Only a death of a job that ran alone counts against it: beside others, any could be to blame.
# A reconciler killed after this script leaves a pending job, which the next one queues; killed
# before it buries one at its last death, it lets that run alone once more.
EXPIRE = (
    FINISHING
    + """
if redis.call('HGET', KEYS[1], 'state') ~= 'leased' then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('SREM', KEYS[4], ARGV[1])
redis.call('HINCRBY', KEYS[3], 'expired', 1)
if redis.call('HDEL', KEYS[1], 'solo') == 1 then redis.call('HINCRBY', KEYS[1], 'deaths', 1) end
redis.call('HSET', KEYS[1], 'state', 'pending', 'alone', '1')
return tonumber(redis.call('HGET', KEYS[1], 'deaths') or '0')
"""
)
