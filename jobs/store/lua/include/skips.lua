-- Jobs that let others go before them, to avoid loading a model or computing something again.
-- include: checkpoints, common, rates, records

-- For how long a waiting job has been skipped, ms.
local function skipped_ms(id)
  return now_ms() - (job_of(id).skipped_at or now_ms())
end

-- Note that a slot does not take this job, though it was its turn.
local function skip(id)
  if not job_of(id).skipped_at then set_job(id, {skipped_at = int(now_ms())}) end
end

-- Whether other jobs may still go before this one to avoid loading a model. Both the number and the time are bounded.
local function may_be_overtaken(id)
  return tonumber(job_of(id).skips or 0) < CFG.affinity_places and skipped_ms(id) < CFG.affinity_ms
end

-- The host whose slots a job waits for, because only this host has its checkpoint; nil for none. It does not wait for
-- longer than it took to compute what would be lost elsewhere.
local function awaited_host(id)
  local host, record = host_of_checkpoint(id), job_of(id)
  if not host then return nil end
  local kept_s = expected_s(record.model, (record.whole_work or record.work) - record.work)
  return skipped_ms(id) < math.min(CFG.affinity_ms, 1000 * kept_s) and host or nil
end
