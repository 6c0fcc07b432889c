-- A slot's back end cannot run this attempt: the job goes back to its place in the queue, and the slot takes no new job
-- until its back end is well. `counted`: '1' when the run counts towards max_attempts. `why`: for people.
-- Returns the job's state now, or ''.
-- include: binding, memory, records, recovery
local id, attempt, slot, counted, why = unpack(ARGV)
go_on_without_memory()

local job, job_attempt = unpack(redis.call('HMGET', K.SLOT .. slot, 'job', 'attempt'))
if job == id and job_attempt == attempt then redis.call('HSET', K.SLOT .. slot, 'blocked', why) end
if is_current(id, attempt, STATE.RUNNING) then
  redis.call('HSET', K.JOB .. id, 'handed_back', why)
  if counted ~= '1' then redis.call('HINCRBY', K.JOB .. id, 'starts', -1) end
  lose(id, attempt)
end
release(slot, id, attempt)
fill_idle_slots()
return job_get(id, 'state') or ''
