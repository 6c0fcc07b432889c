-- The start of an attempt.
-- include: common, events, records, slots, states

-- queued → running: the worker of a slot begins an attempt. `device`: where it computes, for people. `run`: unique to
-- this execution.
local function start_attempt(id, slot, device, run)
  redis.call('ZREM', K.ASSIGNED, id)
  unset_job(id, {'start_by', 'preempted'})  -- the deadline was met; a later run of this job has none
  set_job(id, {starts = int((job_of(id).starts or 0) + 1), started_at = int(now_ms()), device = device, run = run})
  if has(field_of(K.SLOT .. slot, 'pulls')) then
    unset_slot(slot, {'open'})
    renew_lease(slot)
    set_job(id, {not_resumable = 'a worker over HTTP computes it'})
  end
  set_state(id, STATE.RUNNING)
  emit(id)
end
