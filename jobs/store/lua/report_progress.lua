-- Write the progress of a running attempt. `eta_s`: '' when unknown. `stage_percent`: '' when the stage has none.
-- Returns 0 when the attempt is over, 1 to go on, 2 to go on and draw previews because somebody asks for them.
-- include: common, events, memory, records
local id, attempt, stage, step, steps, eta_s, stage_percent = unpack(ARGV)
go_on_without_memory()

if not is_current(id, attempt, STATE.RUNNING) then return 0 end
if not has(eta_s) then unset_job(id, {'eta_s'}) end
if not has(stage_percent) then unset_job(id, {'stage_percent'}) end
set_job(id, {
  stage = stage, step = step, steps = steps, eta_at = int(now_ms()), eta_s = has(eta_s) and eta_s or nil,
  stage_percent = has(stage_percent) and stage_percent or nil,
})
emit(id)
return 1 + redis.call('EXISTS', K.PREVIEW_WANTED .. id)
