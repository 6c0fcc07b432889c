-- Write the progress of a running attempt. `eta_s`: '' when unknown. `stage_percent`: '' when the stage has none.
-- `resumable`: '1' when the run can be interrupted and go on later, else ''; `not_resumable`: why it cannot.
-- Returns 0 when the attempt is over, 1 to go on, 2 to go on and draw previews because somebody asks for them, 3 to
--   stop after the present step.
-- include: common, events, memory, records, victims
local id, attempt, stage, step, steps, eta_s, stage_percent, resumable, not_resumable = unpack(ARGV)
go_on_without_memory()

if not is_current(id, attempt, STATE.RUNNING) then return 0 end
if not has(eta_s) then unset_job(id, {'eta_s'}) end
if not has(stage_percent) then unset_job(id, {'stage_percent'}) end
local was_preemptible, slot = is_preemptible(job_of(id)), job_of(id).slot
if not has(resumable) then
  if has(job_of(id).interrupt) then unreserve(slot) end
  unset_job(id, {'resumable', 'interrupt'})
end
set_job(id, {
  stage = stage, step = step, steps = steps, eta_at = int(now_ms()), eta_s = has(eta_s) and eta_s or nil,
  stage_percent = has(stage_percent) and stage_percent or nil, resumable = has(resumable) and resumable or nil,
  not_resumable = has(not_resumable) and not_resumable or nil,
})
if not was_preemptible ~= not is_preemptible(job_of(id)) then index_victim(slot) end
emit(id)
if has(job_of(id).interrupt) then return 3 end
return 1 + redis.call('EXISTS', K.PREVIEW_WANTED .. id)
