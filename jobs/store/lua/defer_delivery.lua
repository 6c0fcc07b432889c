-- A delivery did not succeed: give its lease back and try again after `wait_ms`.
-- `away`: '1' when the object store does not answer. `why`: what the delivery waits for, for people.
-- Returns how many deliveries of this attempt failed for another reason.
-- include: common, delivery_problems, memory, records
local id, attempt, owner, wait_ms, away, why = unpack(ARGV)
go_on_without_memory()

local holder, node, failures = unpack(redis.call('HMGET', K.JOB .. id, 'delivery_owner', 'node', 'failures'))
failures = tonumber(failures or 0)
if not is_current(id, attempt, STATE.DELIVERING) or holder ~= owner then return failures end
local retry_at = int(now_ms() + wait_ms)
redis.call('HDEL', K.JOB .. id, 'delivery_owner', 'next_look_at')
redis.call('ZADD', K.DELIVERING, retry_at, id)
note_problem(id, why)
if away == '1' then
  redis.call('HSET', K.AWAY, node, retry_at)
  redis.call('HSET', K.AWAY_WHY, node, why)
  return failures
end
object_store_is_back(node)
return redis.call('HINCRBY', K.JOB .. id, 'failures', 1)
