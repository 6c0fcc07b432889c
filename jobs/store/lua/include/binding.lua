-- Giving waiting jobs to slots.
-- include: common, events, fairness, lifecycle, queue, records, selection, slots

-- Put the job's Celery message into the slot's queue, as kombu does it. Does nothing for a slot that pulls.
local function send_message(id, attempt, slot)
  if MESSAGE == '' or pulls(slot) then return end
  local values = {[GAP.JOB_ID] = id, [GAP.ATTEMPT] = attempt, [GAP.RETRIES] = int(attempt - 1), [GAP.SLOT] = slot}
  redis.call('LPUSH', slot, (MESSAGE:gsub('@%a@', values)))
end

-- Give a job to a slot and send its message. Returns the attempt.
local function bind(slot, id)
  take_turn(id, slot)
  dequeue(id)
  redis.call('SREM', K.IDLE, slot)
  local attempt = int(redis.call('HINCRBY', K.JOB .. id, 'attempt', 1))
  local now = now_ms()
  redis.call('HSET', K.JOB .. id, 'slot', slot, 'assigned_at', int(now))
  redis.call('HSET', K.SLOT .. slot, 'job', id, 'attempt', attempt)
  redis.call('HDEL', K.SLOT .. slot, 'open')  -- a slot that pulls gets one job for each request
  redis.call('ZADD', K.ASSIGNED, int(now + CFG.resend_after_ms), id)
  emit(id)
  send_message(id, attempt, slot)
  return attempt
end

-- Give a slot its next job, or index it as idle. Returns the job and its attempt, or nil.
local function fill_slot(slot)
  local facts = slot_facts(slot)
  if not has(facts[OWNER]) or has(facts[JOB]) then return nil end
  local obstacle = obstacle_of(slot, facts)
  while not obstacle do
    local id = next_job(slot, facts[MODELS])
    if not id then break end
    local start_by = job_get(id, 'start_by')
    if not has(start_by) or tonumber(start_by) > now_ms() then return id, bind(slot, id) end
    expire(id)
  end
  -- A paused slot stays indexed, so that it is filled when the operator resumes it.
  if not obstacle or obstacle == OBSTACLE.PAUSED or obstacle == OBSTACLE.QUEUE_PAUSED then
    redis.call('SADD', K.IDLE, slot)
  else
    redis.call('SREM', K.IDLE, slot)
  end
end

-- Fill every idle slot, those that have `model` in memory first.
local function fill_idle_slots(model)
  local loaded, others = {}, {}
  for _, slot in ipairs(redis.call('SMEMBERS', K.IDLE)) do
    local resident = ',' .. (model and redis.call('HGET', K.SLOT .. slot, 'resident') or '') .. ','
    local is_loaded = model and resident:find(',' .. model .. ',', 1, true)
    table.insert(is_loaded and loaded or others, slot)
  end
  for _, slot in ipairs(loaded) do fill_slot(slot) end
  for _, slot in ipairs(others) do fill_slot(slot) end
end
