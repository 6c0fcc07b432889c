-- A slot's back end cannot run this attempt: the job goes back to its place in the queue, and the slot takes no new job
-- until its back end is well. `counted`: '1' when the run counts towards max_attempts. `why`: for people.
-- Returns the job's state now, or '' if it was over before.
-- include: binding, common, lifecycle, memory, records, recovery
local id, attempt, slot, counted, why = unpack(ARGV)
go_on_without_memory()
reported_id = id

local holder, was_over = slot_of(slot), is_over(job_of(id).state)
if holder.job == id and holder.attempt == attempt then set_slot(slot, {blocked = why}) end
if is_current(id, attempt, STATE.RUNNING) then
  set_job(id, {handed_back = why})
  if counted ~= '1' then set_job(id, {starts = int(job_of(id).starts - 1)}) end
  lose(id, attempt)
  -- The child, which is alive, reports this run and those before it.
  if has(job_of(id).lost_runs) then unset_job(id, {'lost_runs'}) end
end
release(slot, id, attempt)
offer_freed()
return not was_over and job_of(id).state or ''
