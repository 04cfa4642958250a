"""Every change of a job's state, each one Lua script: Redis runs it whole or not at all.

The comment beside each says which crash that survives. `Ledger` names the keys and arguments.
"""

# A web process killed after this script leaves a pending job, which the reconciler queues.
ACCEPT = """
local state = redis.call('HGET', KEYS[1], 'state')
if state then
  local front = ARGV[2] == 'interactive' and redis.call('HGET', KEYS[1], 'lane') == 'bulk'
  if front and state == 'pending' then
    redis.call('HSET', KEYS[1], 'lane', ARGV[2])
    return 'raised'
  end
  return state
end
if tonumber(redis.call('HGET', KEYS[3], ARGV[3]) or '0') >= tonumber(ARGV[5]) then
  redis.call('HINCRBY', KEYS[4], 'refused', 1)
  redis.call('HINCRBY', KEYS[5], 'refused', 1)
  return 'full'
end
redis.call('HSET', KEYS[1], 'state', 'pending', 'lane', ARGV[2], 'project', ARGV[3],
           'payload', ARGV[4], 'accepted', ARGV[1], 'task', ARGV[7])
redis.call('ZADD', KEYS[2], ARGV[1], ARGV[6])
redis.call('HINCRBY', KEYS[3], ARGV[3], 1)
redis.call('HINCRBY', KEYS[4], 'accepted', 1)
return 'new'
"""

# A worker killed after this script leaves a lease that lapses; one killed before it, nothing.
CLAIM = """
if redis.call('HGET', KEYS[1], 'state') ~= 'pending' then return false end
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
redis.call('HSET', KEYS[1], 'state', 'leased')
redis.call('SADD', KEYS[3], ARGV[3])
local alone = redis.call('HGET', KEYS[1], 'alone')
redis.call('HINCRBY', KEYS[4], alone and 'attempts:worker_died' or 'attempts:asked', 1)
return {redis.call('HGET', KEYS[1], 'payload'), alone or '0'}
"""

# A worker killed before this script has a lease that lapses sooner: no more than that.
RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

# The first result wins: a worker that was taken for dead and finishes late changes nothing.
# One killed before this script leaves a lease that lapses; one killed after it, the result.
SETTLE = """
local state = redis.call('HGET', KEYS[1], 'state')
if not state or state == 'done' or state == 'dead' then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'outcome', ARGV[2])
redis.call('HDEL', KEYS[1], 'payload')
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('ZREM', KEYS[3], ARGV[4])
redis.call('SREM', KEYS[6], ARGV[4])
redis.call('DEL', KEYS[2])
local project = redis.call('HGET', KEYS[1], 'project')
redis.call('HINCRBY', KEYS[4], project, -1)
redis.call('HINCRBY', ARGV[6] .. project, ARGV[1], 1)
if ARGV[1] == 'dead' then
  redis.call('HINCRBY', ARGV[6] .. project, 'dead:' .. ARGV[5], 1)
  redis.call('LPUSH', KEYS[7], ARGV[4])
  redis.call('LTRIM', KEYS[7], 0, 99)
end
redis.call('HINCRBY', KEYS[5], ARGV[1], 1)
redis.call('HINCRBY', KEYS[5], ARGV[1] .. ':' .. ARGV[5], 1)
return 1
"""

# A worker killed after this script has died of this very job; before it, of some other.
START_ALONE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'solo', '1')
return 1
"""

# A worker killed between its releases leaves leases that lapse; a lapsed one is not given twice.
RELEASE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[1], 'solo')
redis.call('SREM', KEYS[3], ARGV[2])
redis.call('HSET', KEYS[1], 'state', 'pending')
return 1
"""

# Only a death of a job that ran alone counts against it: beside others, any could be to blame.
# A reconciler killed after this script leaves a pending job, which the next one queues.
LAPSE = """
if redis.call('HGET', KEYS[1], 'state') ~= 'leased' then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('SREM', KEYS[4], ARGV[1])
redis.call('HINCRBY', KEYS[3], 'lapsed', 1)
if redis.call('HDEL', KEYS[1], 'solo') == 1 then redis.call('HINCRBY', KEYS[1], 'deaths', 1) end
redis.call('HSET', KEYS[1], 'state', 'pending', 'alone', '1')
return tonumber(redis.call('HGET', KEYS[1], 'deaths') or '0')
"""
