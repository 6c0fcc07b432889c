-- End a job from outside. Returns {'changed'|'over'|'unknown', slot whose worker still runs it or ''}
-- include: binding, common, lifecycle, memory, records, recovery
local id = unpack(ARGV)
go_on_without_memory()

local record = job_of(id)
local state, slot, attempt = record.state, record.slot, record.attempt
if not state then return {'unknown', ''} end
if is_over(state) then return {'over', ''} end
finish(id, STATE.CANCELLED)
if state == STATE.QUEUED and has(slot) then
  -- The message was sent but no run has started: start_run will refuse it, so the slot is free now.
  release(slot, id, attempt)
  return {'changed', ''}
end
if state == STATE.RUNNING and not has(record.leader) then redis.call('SADD', K.STOPPING, slot) end
offer_freed()
return {'changed', state == STATE.RUNNING and slot or ''}
