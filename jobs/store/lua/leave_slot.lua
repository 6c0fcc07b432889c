-- A worker stops and gives up its slot. Its job goes back to the queue; this run does not count as a lost one.
-- Returns the job it held, or ''.
-- include: binding, common, fairness, lifecycle, memory, offers, rates, records, recovery
local slot, owner = unpack(ARGV)
go_on_without_memory()

local record = slot_of(slot)
local id, attempt = record.job, record.attempt
if record.owner ~= owner then return '' end
give_back_companions(slot)
remove_slot(slot)
if has(id) then
  local is_running = is_current(id, attempt, STATE.RUNNING)
  if is_running then set_job(id, {starts = int(job_of(id).starts - 1)}) end
  if is_running or is_current(id, attempt, STATE.QUEUED) then requeue(id) else settle_charge(id, elapsed_s(id)) end
end
offer_freed()
return id or ''
