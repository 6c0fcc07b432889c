-- This delivery did not succeed; try again later. ARGV: id, attempt, owner, wait_ms, 1 when the object store is away.
-- Returns how many deliveries of this attempt have failed for another reason.
local id = ARGV[1]
local record = redis.call('HMGET', K.JOB .. id, 'delivery_owner', 'node', 'failures')
if not owns(id, ARGV[2], 'delivering') or record[1] ~= ARGV[3] then return tonumber(record[3] or 0) end
local again_at = int(now_ms() + ARGV[4])
redis.call('HDEL', K.JOB .. id, 'delivery_owner', 'next_look_at')
redis.call('ZADD', K.DELIVERING, again_at, id)
if ARGV[5] == '1' then
  redis.call('HSET', K.AWAY, record[2], again_at)
  return tonumber(record[3] or 0)
end
redis.call('HDEL', K.AWAY, record[2])
return redis.call('HINCRBY', K.JOB .. id, 'failures', 1)
