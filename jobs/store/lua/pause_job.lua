-- Pause a job: it keeps its place, and holds no slot until it is resumed. A running one stops after its present step,
-- if its run can be resumed.
-- Returns {'paused', 1 if this call paused it, else 0} | {'running', 1} (it will be paused)
--   | {'running', 0, why its run cannot stop} | {'starting'} (not known yet whether its run can stop)
--   | {'unknown'} | {its state, which does not allow it}
-- include: common, events, interrupts, lifecycle, memory, records, recovery
local id = unpack(ARGV)
go_on_without_memory()

local record = job_of(id)
local state, slot, attempt = record.state, record.slot, record.attempt
if not state then return {'unknown'} end
if state == STATE.PAUSED then return {state, 0} end
if state == STATE.RUNNING then
  if interrupt_run(id, INTERRUPT.PAUSE) then
    emit(id)
    return {state, 1}
  end
  if not has(record.stage) and not has(record.not_resumable) then return {'starting'} end
  return {state, 0, record.not_resumable or ''}
end
if state ~= STATE.QUEUED then return {state} end
set_aside(id)
-- The message was sent but no run has started: start_run will refuse it, so the slot is free now.
if has(slot) then release(slot, id, attempt) end
return {STATE.PAUSED, 1}
