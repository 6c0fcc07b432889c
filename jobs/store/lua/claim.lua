-- One delivery at a time. ARGV: id, attempt, owner. Returns the number of this delivery, or 0 when not to deliver.
local id, owner = ARGV[1], ARGV[3]
-- While one tries whether the object store is back, the others wait so long: it may have died, or been cancelled.
local PROBE_MS = 5000
if not owns(id, ARGV[2], 'delivering') then return 0 end
local now = now_ms()
local record = redis.call('HMGET', K.JOB .. id, 'delivery_owner', 'next_look_at', 'node')
if has(record[1]) and record[1] ~= owner and tonumber(record[2] or 0) > now then return 0 end
if record[1] ~= owner then
  -- The object store is away: one delivery of the host tries it, the others wait without encoding in vain.
  local again_at = redis.call('HGET', K.AWAY, record[3])
  if again_at and tonumber(again_at) > now then
    redis.call('ZADD', K.DELIVERING, again_at, id)
    return 0
  elseif again_at then
    redis.call('HSET', K.AWAY, record[3], int(now + PROBE_MS))
  end
end
local look_at = int(now + CFG.delivery_lease_ms)
redis.call('HSET', K.JOB .. id, 'delivery_owner', owner, 'next_look_at', look_at, 'stored', '1')
redis.call('ZADD', K.DELIVERING, look_at, id)
if record[1] == owner then return tonumber(job_get(id, 'deliveries')) end  -- renewed
return redis.call('HINCRBY', K.JOB .. id, 'deliveries', 1)
