-- Resume a paused job: it waits again, at its old place. A run that was to stop goes on.
-- Returns {'resumed', 1 if this call resumed it, else 0} | {'unknown', ''} | {'over', its state}
-- include: binding, common, events, memory, queue, records, states, victims
local id = unpack(ARGV)
go_on_without_memory()

local record, now = job_of(id), now_ms()
if not record.state then return {'unknown', ''} end
if is_over(record.state) then return {'over', record.state} end
if record.interrupt == INTERRUPT.PAUSE then
  -- The pause may have taken the place of a weaker reason, which still holds.
  local slot = slot_of(record.slot)
  local why = has(slot.draining) and INTERRUPT.DRAIN or has(slot.reserved) and INTERRUPT.PREEMPT
  if why then set_job(id, {interrupt = why}) else unset_job(id, {'interrupt'}) end
  index_victim(record.slot)
  emit(id)
  return {'resumed', 1}
end
if record.state ~= STATE.PAUSED then return {'resumed', 0} end
redis.call('ZREM', K.DEADLINES, id)
set_job(id, {paused_ms = int((record.paused_ms or 0) + now - record.paused_at)})
if has(record.trace) then set_job(id, {queued_at = int(now)}) end
if has(record.start_within) then set_job(id, {start_by = int(may_start_at(record) + record.start_within)}) end
unset_job(id, {'paused_at', 'resume_by', 'start_within', 'preview_step'})
redis.call('DEL', K.PREVIEW .. id)
set_state(id, STATE.QUEUED)
enqueue(id)
emit(id)
offer_job(id)
return {'resumed', 1}
