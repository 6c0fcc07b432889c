-- queued → running: a worker begins an attempt. `run` is unique to this execution: a repeated call with the same one
-- gets the same answer. `facts`: of the slot.
-- Returns the record, or 0 when this attempt may not run.
-- include: common, events, memory, records, slots, states
local id, attempt, slot, owner, device, run = unpack(ARGV)
local facts = {unpack(ARGV, 7)}
go_on_without_memory()

if is_current(id, attempt, STATE.RUNNING) and job_get(id, 'run') == run then
  return redis.call('HGETALL', K.JOB .. id)
end
local slot_owner, job, job_attempt = unpack(redis.call('HMGET', K.SLOT .. slot, 'owner', 'job', 'attempt'))
if slot_owner ~= owner or job ~= id or job_attempt ~= attempt then return 0 end
if not is_current(id, attempt, STATE.QUEUED) then return 0 end
redis.call('ZREM', K.ASSIGNED, id)
if facts[1] then redis.call('HSET', K.SLOT .. slot, unpack(facts)) end
redis.call('HINCRBY', K.JOB .. id, 'starts', 1)
redis.call('HDEL', K.JOB .. id, 'start_by')  -- the deadline was met; a later run of this job has none
redis.call('HSET', K.JOB .. id, 'started_at', int(now_ms()), 'device', device, 'run', run)
if pulls(slot) then
  redis.call('HDEL', K.SLOT .. slot, 'open')
  renew_lease(slot)
end
set_state(id, STATE.RUNNING)
emit(id)
return redis.call('HGETALL', K.JOB .. id)
