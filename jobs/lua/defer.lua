-- This delivery did not succeed; try again later. ARGV: id, attempt, owner, wait_ms.
local id = ARGV[1]
if not owns(id, ARGV[2], 'delivering') or job_get(id, 'delivery_owner') ~= ARGV[3] then return 0 end
redis.call('HDEL', K.JOB .. id, 'delivery_owner', 'next_look_at')
redis.call('ZADD', K.DELIVERING, int(now_ms() + ARGV[4]), id)
return 1
