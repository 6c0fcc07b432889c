-- ARGV: id, attempt, slot, owner, device, run (unique to this execution), then field, value … of
-- facts of the slot.
-- Returns the record, or 0 when this attempt may not run. A repeat of the same call answers the same.
local id, attempt, slot = ARGV[1], ARGV[2], ARGV[3]
if owns(id, attempt, 'running') and job_get(id, 'run') == ARGV[6] then return redis.call('HGETALL', K.JOB .. id) end
local facts = redis.call('HMGET', K.SLOT .. slot, 'owner', 'job', 'attempt')
if facts[1] ~= ARGV[4] or facts[2] ~= id or facts[3] ~= attempt or not owns(id, attempt, 'queued') then return 0 end
redis.call('ZREM', K.ASSIGNED, id)
if #ARGV > 6 then redis.call('HSET', K.SLOT .. slot, unpack(ARGV, 7)) end
redis.call('HINCRBY', K.JOB .. id, 'starts', 1)
redis.call('HDEL', K.JOB .. id, 'start_by')  -- kept: a job that runs again has no deadline any more
redis.call('HSET', K.JOB .. id, 'started_at', int(now_ms()), 'device', ARGV[5], 'run', ARGV[6])
if pulls(slot) then
  redis.call('HDEL', K.SLOT .. slot, 'open')
  renew(slot)
end
set_state(id, 'running')
emit(id)
return redis.call('HGETALL', K.JOB .. id)
