-- Begin or renew a delivery. Only one process at a time delivers a job.
-- Returns the number of this delivery, from 1, or 0 when it must not be made now.
-- include: common, delivery_problems, memory, records
local id, attempt, owner = unpack(ARGV)
go_on_without_memory()

-- One delivery of a host tries whether the object store is back. The others wait this long for its result, since the
-- process that tries may die.
local PROBE_MS = 5000

if not is_current(id, attempt, STATE.DELIVERING) then return 0 end
local now = now_ms()
local record = job_of(id)
local node, is_renewal = record.node, record.delivery_owner == owner
if has(record.delivery_owner) and not is_renewal and tonumber(record.next_look_at or 0) > now then return 0 end
if not is_renewal then
  local retry_at = redis.call('HGET', K.AWAY, node)
  if retry_at and tonumber(retry_at) > now then
    -- The object store is away: encoding now would be wasted.
    redis.call('ZADD', K.DELIVERING, retry_at, id)
    note_problem(id, redis.call('HGET', K.AWAY_WHY, node))
    return 0
  elseif retry_at then
    redis.call('HSET', K.AWAY, node, int(now + PROBE_MS))
  end
end
local lease_until = int(now + CFG.delivery_lease_ms)
local deliveries = tonumber(record.deliveries or 0) + (is_renewal and 0 or 1)
set_job(id, {delivery_owner = owner, next_look_at = lease_until, stored = '1', deliveries = int(deliveries)})
redis.call('ZADD', K.DELIVERING, lease_until, id)
return deliveries
