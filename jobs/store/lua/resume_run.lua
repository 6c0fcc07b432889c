-- A run goes on after this step of the job, or begins anew (0) because no checkpoint fits.
-- include: checkpoints, memory, records, victims
local id, attempt, step = unpack(ARGV)
go_on_without_memory()

if not is_current(id, attempt, STATE.RUNNING) then return end
set_step(id, tonumber(step))
index_victim(job_of(id).slot)
if tonumber(step) > 0 then
  set_job(id, {resumed_from_step = step})
else
  unset_job(id, {'checkpoint', 'resumed_from_step'})
end
