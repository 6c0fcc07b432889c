-- The end of an attempt: its slot becomes free, or its worker is lost.
-- include: binding, common, companions, fairness, lifecycle, rates, records, retention, slots, usage

-- The companions of a slot's job go back to their places in the queue. Their runs do not count as lost ones.
local function give_back_companions(slot)
  for _, companion in ipairs(companions_of(slot)) do
    local id, attempt = unpack(companion)
    local is_running = is_current(id, attempt, STATE.RUNNING)
    if is_running then set_job(id, {starts = int(job_of(id).starts - 1)}) end
    if is_running and has(job_of(id).slot) then requeue(id) else settle_charge(id, elapsed_s(id)) end
    remove_companion(slot, id, attempt)
  end
end

-- A companion of the slot's job is done. Returns as `release`.
local function release_companion(slot, id, attempt)
  if not remove_companion(slot, id, attempt) then return -1 end
  local job = job_of(id)
  local stopped_ms = job.state == STATE.CANCELLED and now_ms() - job.finished_at or -1
  settle_charge(id, elapsed_s(id))
  if is_current(id, attempt, STATE.RUNNING) and has(job.slot) then requeue(id) end
  offer_freed()
  if has(job.deleted) then delete_record(id) end
  return stopped_ms
end

-- The slot has stopped working on this attempt: give it its next job. Returns the time since the attempt was cancelled
-- in ms, or -1 if it was not, or did not hold the slot.
local function release(slot, id, attempt)
  local record, job = slot_of(slot), job_of(id)
  if record.job ~= id or record.attempt ~= tostring(attempt) then return release_companion(slot, id, attempt) end
  local stopped_ms = job.state == STATE.CANCELLED and now_ms() - job.finished_at or -1
  settle_charge(id, elapsed_s(id))
  give_back_companions(slot)  -- only those that the worker does not know of: Redis lost its last writes, or the reply
  unset_slot(slot, {'job', 'attempt'})
  if job.state == STATE.CANCELLED then redis.call('SREM', K.STOPPING, slot) end
  if has(record.pulls) then renew_lease(slot) end
  -- A record that still says queued or running: Redis lost its last writes, and with them the start or end of this run.
  local is_lost = is_current(id, attempt, STATE.QUEUED) or is_current(id, attempt, STATE.RUNNING)
  if is_lost and has(job.slot) then requeue(id) end
  admit_due_jobs(MAX_ADMITTED)
  fill_slot(slot)
  offer_freed()  -- another slot than this one may be able to take the job, or the next one of its key
  if has(job.deleted) then delete_record(id) end  -- the record was kept only until its worker stopped
  return stopped_ms
end

-- Keep what the trace of a job lacks: a run whose process died cannot report itself.
local function note_lost_run(id)
  local record = job_of(id)
  if not has(record.trace) or not has(record.started_at) then return end
  local runs = has(record.lost_runs) and cjson.decode(record.lost_runs) or {}
  local queued_at = has(record.queued_at) and record.queued_at or record.created_at
  table.insert(runs, {
    tonumber(queued_at), tonumber(record.started_at), math.floor(now_ms()), tonumber(record.attempt), record.slot})
  set_job(id, {lost_runs = cjson.encode(runs)})
end

-- The worker of this attempt is gone: run the job again, or give it up after too many attempts. Returns whether it had
-- begun the run.
local function lose(id, attempt)
  local record = job_of(id)
  if record.attempt ~= tostring(attempt) or not has(record.slot) then
    return false  -- a newer attempt exists, or the job waits already
  end
  local was_running = record.state == STATE.RUNNING
  if record.state ~= STATE.QUEUED and not was_running then
    settle_charge(id, elapsed_s(id))
    return false
  end
  -- Attempts are limited as well as starts: a worker may break before it starts the run.
  if tonumber(record.starts or 0) >= CFG.max_attempts or tonumber(attempt) >= 10 * CFG.max_attempts then
    add_lost_run(record, elapsed_s(id))
    settle_charge(id, 0)
    local why, reason = record.handed_back, 'the worker died in each of ' .. attempt .. ' attempts'
    if has(why) then reason = 'all ' .. attempt .. ' attempts failed; last error of the back end: ' .. why end
    fail(id, 'worker_lost', reason)
    redis.call('ZADD', K.DEAD, int(now_ms()), id)
    redis.call('HINCRBY', K.COUNTERS, 'dead_letters', 1)
  else
    note_lost_run(id)
    requeue(id)
  end
  return was_running
end

-- The process that computed a slot's job is gone: its companions run again as well, or are given up.
local function lose_companions(slot)
  for _, companion in ipairs(companions_of(slot)) do
    local id, attempt = unpack(companion)
    if lose(id, attempt) then redis.call('HINCRBY', K.COUNTERS, 'lost_runs', 1) end
    remove_companion(slot, id, attempt)
  end
end
