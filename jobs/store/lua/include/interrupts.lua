-- Asking a run to give its slot back. It stores a checkpoint after its present step; a later attempt goes on from it.
-- include: records, victims

-- A stronger reason replaces a weaker one: the job of a worker that stops goes elsewhere, and a paused one nowhere.
local STRENGTH = {[INTERRUPT.PREEMPT] = 1, [INTERRUPT.DRAIN] = 2, [INTERRUPT.PAUSE] = 3}

-- Ask the run of a job to stop after its present step. Returns whether it will stop for this reason: not if it cannot
-- be resumed later, and not if it stops for a stronger reason already.
local function interrupt_run(id, why)
  local record = job_of(id)
  if record.state ~= STATE.RUNNING or record.resumable ~= '1' then return false end
  if (STRENGTH[record.interrupt] or 0) > STRENGTH[why] then return false end
  set_job(id, {interrupt = why})
  index_victim(record.slot)
  return true
end
