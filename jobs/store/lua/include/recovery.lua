-- The end of an attempt: its slot becomes free, or its worker is lost.
-- include: binding, common, fairness, lifecycle, rates, records, retention, slots

-- The slot has stopped working on this attempt: give it its next job.
local function release(slot, id, attempt)
  local job, job_attempt = unpack(redis.call('HMGET', K.SLOT .. slot, 'job', 'attempt'))
  if job ~= id or job_attempt ~= tostring(attempt) then return end
  settle_charge(id, elapsed_s(id))
  redis.call('HDEL', K.SLOT .. slot, 'job', 'attempt')
  if pulls(slot) then renew_lease(slot) end
  -- A record that still says queued or running: Redis lost its last writes, and with them the start or end of this run.
  local lost = is_current(id, attempt, STATE.QUEUED) or is_current(id, attempt, STATE.RUNNING)
  lost = lost and has(job_get(id, 'slot'))
  if lost then requeue(id) end
  fill_slot(slot)
  -- The job waits again, or its key may now run one more: another slot than this one may be able to take it.
  if lost or redis.call('HEXISTS', K.LIMITS, job_get(id, 'key')) == 1 then fill_idle_slots() end
  if has(job_get(id, 'deleted')) then delete_record(id) end  -- the record was kept only until its worker stopped
end

-- The worker of this attempt is gone: run the job again, or give it up after too many attempts.
local function lose(id, attempt)
  local state, newest, starts, slot = unpack(redis.call('HMGET', K.JOB .. id, 'state', 'attempt', 'starts', 'slot'))
  if newest ~= tostring(attempt) or not has(slot) then return end  -- a newer attempt exists, or the job waits already
  if state ~= STATE.QUEUED and state ~= STATE.RUNNING then return settle_charge(id, elapsed_s(id)) end
  -- Attempts are limited as well as starts: a worker may break before it starts the run.
  if tonumber(starts or 0) >= CFG.max_attempts or tonumber(attempt) >= 10 * CFG.max_attempts then
    settle_charge(id, elapsed_s(id))
    local why = job_get(id, 'handed_back')
    local reason = 'the worker died in each of ' .. attempt .. ' attempts'
    if has(why) then reason = 'all ' .. attempt .. ' attempts failed; last error of the back end: ' .. why end
    fail(id, 'worker_lost', reason)
    redis.call('ZADD', K.DEAD, int(now_ms()), id)
  else
    requeue(id)
  end
end
