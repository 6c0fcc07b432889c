-- Write the progress of a running attempt. `eta_s`: '' when unknown. `stage_percent`: '' when the stage has none.
-- Returns 0 when the attempt is over, 1 to go on, 2 to go on and draw previews because somebody asks for them.
-- include: common, events, memory, records
local id, attempt, stage, step, steps, eta_s, stage_percent = unpack(ARGV)
go_on_without_memory()

if not is_current(id, attempt, STATE.RUNNING) then return 0 end
set_job(id, {stage = stage, step = step, steps = steps, eta_s = eta_s, eta_at = int(now_ms())})
if has(stage_percent) then
  set_job(id, {stage_percent = stage_percent})
else
  unset_job(id, {'stage_percent'})
end
emit(id)
return 1 + redis.call('EXISTS', K.PREVIEW_WANTED .. id)
