-- One delivery at a time. ARGV: id, attempt, owner. Returns the number of this delivery, or 0 when not to deliver.
local id, owner = ARGV[1], ARGV[3]
if not owns(id, ARGV[2], 'delivering') then return 0 end
local now = now_ms()
local record = redis.call('HMGET', K.JOB .. id, 'delivery_owner', 'next_look_at')
if has(record[1]) and record[1] ~= owner and tonumber(record[2] or 0) > now then return 0 end
local look_at = int(now + CFG.delivery_lease_ms)
redis.call('HSET', K.JOB .. id, 'delivery_owner', owner, 'next_look_at', look_at, 'stored', '1')
redis.call('ZADD', K.DELIVERING, look_at, id)
if record[1] == owner then return tonumber(job_get(id, 'deliveries')) end  -- renewed
return redis.call('HINCRBY', K.JOB .. id, 'deliveries', 1)
