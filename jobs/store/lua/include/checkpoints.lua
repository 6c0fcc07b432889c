-- Checkpoints of runs: how much of a job is done when its run ends early, and what is left of it.
-- include: common, rates, records

-- The newest checkpoint of a job ({step, attempt, at_ms, node, key}), or nil.
local function checkpoint_of(id)
  local text = job_of(id).checkpoint
  return has(text) and cjson.decode(text) or nil
end

-- The only host where a run of this job can go on from its checkpoint; nil for none, or if any host can.
local function host_of_checkpoint(id)
  local checkpoint = checkpoint_of(id)
  return checkpoint and checkpoint.key == '' and checkpoint.node or nil
end

-- Seconds of the present run whose work is lost if it ends now: those after its checkpoint.
local function unkept_s(id)
  local checkpoint, elapsed = checkpoint_of(id), elapsed_s(id)
  if not checkpoint or checkpoint.attempt ~= tonumber(job_of(id).attempt) then return elapsed end
  return math.min(elapsed, math.max(0, (now_ms() - checkpoint.at_ms) / 1000))
end

-- The job goes on after this step: note it, and the work that is left. Not for jobs that wait: their work is counted.
local function set_step(id, step)
  local record = job_of(id)
  local whole, steps = record.whole_work or record.work, math.max(1, tonumber(record.steps or 1))
  local left = tostring(whole * math.max(0, steps - step) / steps)
  set_job(id, {step = int(step), whole_work = whole, work = left})
end
