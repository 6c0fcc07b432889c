-- End a job from outside. Returns {'changed'|'over'|'unknown', slot whose worker still runs it or ''}
-- include: common, lifecycle, memory, records, recovery
local id = unpack(ARGV)
go_on_without_memory()

local state, slot, attempt = unpack(redis.call('HMGET', K.JOB .. id, 'state', 'slot', 'attempt'))
if not state then return {'unknown', ''} end
if is_over(state) then return {'over', ''} end
finish(id, STATE.CANCELLED)
if state == STATE.QUEUED and has(slot) then
  -- The message was sent but no run has started: start_run will refuse it, so the slot is free now.
  release(slot, id, attempt)
  return {'changed', ''}
end
return {'changed', state == STATE.RUNNING and slot or ''}
