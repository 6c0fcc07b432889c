-- A delivery did not succeed: give its lease back and try again after `wait_ms`.
-- `away`: '1' when the object store does not answer. Returns how many deliveries of this attempt failed otherwise.
-- include: common, memory, records
local id, attempt, owner, wait_ms, away = unpack(ARGV)
go_on_without_memory()

local holder, node, failures = unpack(redis.call('HMGET', K.JOB .. id, 'delivery_owner', 'node', 'failures'))
failures = tonumber(failures or 0)
if not is_current(id, attempt, STATE.DELIVERING) or holder ~= owner then return failures end
local retry_at = int(now_ms() + wait_ms)
redis.call('HDEL', K.JOB .. id, 'delivery_owner', 'next_look_at')
redis.call('ZADD', K.DELIVERING, retry_at, id)
if away == '1' then
  redis.call('HSET', K.AWAY, node, retry_at)
  return failures
end
redis.call('HDEL', K.AWAY, node)
return redis.call('HINCRBY', K.JOB .. id, 'failures', 1)
