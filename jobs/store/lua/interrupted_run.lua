-- A run that was interrupted gives its slot back: its checkpoint is stored (`keep_checkpoint.lua`), or it has computed
-- nothing yet. The job goes back to its place in the queue, or is paused if that was the reason. The run does not count
-- as a lost one. `pauses`: '1' to pause it in any case, because it has come to its `pause_at_step`.
-- Returns {the job's state now or '', ms since it was cancelled or -1}
-- include: binding, common, lifecycle, memory, records, recovery
local id, attempt, slot, pauses = unpack(ARGV)
go_on_without_memory()

if is_current(id, attempt, STATE.RUNNING) then
  set_job(id, {starts = int(job_of(id).starts - 1)})
  if pauses == '1' then set_job(id, {interrupt = INTERRUPT.PAUSE, is_past_pause = '1'}) end
  requeue(id)
  -- The child, which is alive, reports this run and those before it.
  if has(job_of(id).lost_runs) then unset_job(id, {'lost_runs'}) end
end
local stopped_ms = release(slot, id, attempt)
offer_freed()
return {job_of(id).state or '', stopped_ms}
